//! A TCP echo server: sends back what it gets, on port 7.
//!
//! `ip=10.0.0.1/24` on the command line is its address; without it, it asks (DHCP).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec;
use domu_sdk::{
    executor,
    net::{Result, Stack, TcpListener, TcpStream},
    println, shutdown,
};

#[domu_sdk::main]
async fn main() -> Result {
    executor::spawn(shutdown::obey());
    let stack = Stack::start().await?;
    println!("echo: {} on port 7", stack.wait_for_address().await);
    let mut listener = TcpListener::bind(&stack, 7, 4)?;
    loop {
        let stream = listener.accept().await?;
        let reporting = stack.clone();
        executor::spawn(async move {
            match echo(&stream).await {
                Ok(bytes) => println!("echo: {bytes} bytes sent back; {:?}", reporting.counts()),
                Err(error) => println!("echo: {error}"),
            }
        });
    }
}

async fn echo(stream: &TcpStream) -> Result<u64> {
    let mut buffer = vec![0; 32 << 10];
    let mut total = 0;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            stream.finish().await?;
            return Ok(total);
        }
        stream.write_all(&buffer[..count]).await?;
        total += count as u64;
    }
}
