//! A TCP client: sends numbers to an echo server and checks that the same ones come back.
//!
//! `server=10.0.0.1` is whom it talks to, `mib=N` how much it sends. It ends with a line that starts with `RESULT`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{sync::Arc, vec};
use core::{net::Ipv4Addr, time::Duration};
use domu_sdk::{
    executor,
    net::{Error, Result, Stack, TcpStream},
    println, start,
    time::{self, Instant},
};

/// Bytes that are handed over at once.
const PIECE: usize = 32 << 10;

#[domu_sdk::main]
async fn main() {
    match run().await {
        Ok(()) => {}
        Err(error) => println!("RESULT: fail, {error}"),
    }
    // Dom0 has read the line before the domain ends.
    time::sleep(Duration::from_millis(10)).await;
}

async fn run() -> Result {
    let server = start::parameter("server").unwrap_or("10.0.0.1");
    let server: Ipv4Addr = server.parse().map_err(|_| Error::Setting(server.into()))?;
    let mib: u64 = start::parameter("mib").and_then(|text| text.parse().ok()).unwrap_or(4);
    let stack = Stack::start().await?;
    println!("client: {}", stack.wait_for_address().await);
    let stream = connect(&stack, server).await?;
    println!("client: connected to {:?}", stream.peer());
    let stream = Arc::new(stream);
    let total = mib << 20;
    let begin = Instant::now();
    executor::spawn(send(stream.clone(), total));
    let sum = receive(&stream, total).await?;
    let time = begin.elapsed();
    println!("client: {:?}", stack.counts());
    println!("RESULT: pass, {total} bytes came back, sum {sum:#018x}, {} ms", time.as_millis());
    Ok(())
}

/// Connects; the server may not be up yet.
async fn connect(stack: &Stack, server: Ipv4Addr) -> Result<TcpStream> {
    let mut last = Error::Refused;
    for _ in 0..10 {
        match time::timeout(Duration::from_secs(2), TcpStream::connect(stack, server, 7)).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = error,
            None => last = Error::Refused,
        }
        time::sleep(Duration::from_millis(200)).await;
    }
    Err(last)
}

/// The bytes of 64-bit word `index` of the stream: different everywhere, so that nothing can be lost, doubled or exchanged.
fn word(index: u64) -> [u8; 8] {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).to_le_bytes()
}

async fn send(stream: Arc<TcpStream>, total: u64) {
    let mut buffer = vec![0; PIECE];
    for piece in 0..total / PIECE as u64 {
        let first = piece * (PIECE / 8) as u64;
        for (at, bytes) in buffer.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&word(first + at as u64));
        }
        if let Err(error) = stream.write_all(&buffer).await {
            return println!("RESULT: fail, sending: {error}");
        }
    }
    if let Err(error) = stream.finish().await {
        println!("RESULT: fail, finishing: {error}");
    }
}

/// Takes and checks everything; the sum of all words.
async fn receive(stream: &TcpStream, total: u64) -> Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut sum = 0u64;
    for piece in 0..total / PIECE as u64 {
        stream.read_exact(&mut buffer).await?;
        let first = piece * (PIECE / 8) as u64;
        for (at, bytes) in buffer.chunks_exact(8).enumerate() {
            let index = first + at as u64;
            if bytes != word(index) {
                println!("RESULT: fail, word {index} came back as {bytes:x?}");
                return Err(Error::Broken);
            }
            sum = sum.rotate_left(1).wrapping_add(u64::from_le_bytes(word(index)));
        }
        if piece % 128 == 127 {
            println!("client: {} MiB", ((piece + 1) * PIECE as u64) >> 20);
        }
    }
    let rest = stream.read(&mut buffer[..1]).await?;
    if rest == 0 { Ok(sum) } else { Err(Error::Broken) }
}
