//! An HTTP server: says who it is, and sends bodies of any length.
//!
//! `GET /` tells the domain, its address and what went through its interface; `GET /bytes/N` sends N bytes, byte number *n* being the
//! low byte of *n* times 7. Everything else is not found. Without `ip=` on the command line it asks for its address (DHCP).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{format, string::String, vec, vec::Vec};
use core::time::Duration;
use domu_sdk::{
    executor,
    net::{Error, Result, Stack, TcpListener, TcpStream},
    println, shutdown, start, time,
};

/// Longest request that is read.
const REQUEST_MAX: usize = 4096;
/// Longest body.
const BODY_MAX: u64 = 1 << 30;
/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(10);

#[domu_sdk::main]
async fn main() -> Result {
    executor::spawn(shutdown::obey());
    let stack = Stack::start().await?;
    println!("http: {} on port 80", stack.wait_for_address().await);
    let mut listener = TcpListener::bind(&stack, 80, 8)?;
    loop {
        let stream = listener.accept().await?;
        let stack = stack.clone();
        executor::spawn(async move {
            if let Err(error) = serve(&stack, &stream).await {
                println!("http: {error}");
            }
        });
    }
}

async fn serve(stack: &Stack, stream: &TcpStream) -> Result {
    let request = time::timeout(PATIENCE, request(stream)).await.ok_or(Error::Refused)??;
    let mut words = request.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    println!("http: {method} {path}");
    match path.strip_prefix("/bytes/").map(str::parse::<u64>) {
        Some(Ok(count)) if method == "GET" && count <= BODY_MAX => bytes(stream, count).await?,
        None if method == "GET" && path == "/" => {
            let domain = start::domain_id().map_or(0, |id| id.0);
            let body = format!("hello from domain {domain}, {:?}, {:?}\n", stack.address(), stack.counts());
            stream.write_all(&head("200 OK", body.len() as u64)).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        _ => stream.write_all(&head("404 Not Found", 0)).await?,
    }
    stream.finish().await
}

/// The first line of a request; the rest is read and ignored.
async fn request(stream: &TcpStream) -> Result<String> {
    let mut text = vec![0; REQUEST_MAX];
    let mut held = 0;
    loop {
        let count = stream.read(&mut text[held..]).await?;
        held += count;
        if count == 0 || held == REQUEST_MAX || text[..held].windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let line = text[..held].split(|byte| *byte == b'\r').next().unwrap_or(&[]);
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn head(status: &str, length: u64) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes()
}

async fn bytes(stream: &TcpStream, count: u64) -> Result {
    stream.write_all(&head("200 OK", count)).await?;
    let mut piece = vec![0; 16 << 10];
    let mut done = 0;
    while done < count {
        let len = piece.len().min((count - done) as usize);
        for (at, byte) in piece[..len].iter_mut().enumerate() {
            *byte = ((done + at as u64) * 7) as u8;
        }
        stream.write_all(&piece[..len]).await?;
        done += len as u64;
    }
    Ok(())
}
