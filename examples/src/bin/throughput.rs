//! A benchmark: what moving data through a disk and through a TCP connection takes.
//!
//! | command line | what it does |
//! |---|---|
//! | `disk` | writes its first disk, flushes, and reads it |
//! | `sink ip=10.0.0.1/24` | takes what is sent to port 9, and tells the sender how much it was |
//! | `send=10.0.0.1 ip=10.0.0.2/24` | sends to a sink |
//!
//! `mib=N` says how much is moved. Before each part it waits for a line on its console, so that somebody else can look at other figures before and
//! after; with `now` it does not. Each part ends with a line such as `MOVED disk write 16777216 bytes in 31415926 ns with 2718 hypercalls`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{boxed::Box, vec};
use core::{error, net::Ipv4Addr};
use domu_sdk::{
    block::{Disk, SECTOR},
    console, executor, hypercall,
    net::{Stack, TcpListener, TcpStream},
    println, shutdown, start,
    time::Instant,
};

/// Bytes that are handed over at once.
const PIECE: usize = 256 << 10;

type Outcome = Result<(), Box<dyn error::Error>>;

#[domu_sdk::main]
async fn main() -> Outcome {
    executor::spawn(shutdown::obey());
    let bytes = start::parameter("mib").and_then(|text| text.parse().ok()).unwrap_or(16_u64) << 20;
    if start::parameter("disk").is_some() {
        disk(bytes).await
    } else if start::parameter("sink").is_some() {
        sink().await
    } else {
        let server =
            start::parameter("send").ok_or("give one of disk, sink, send=ADDRESS on the command line")?;
        send(server.parse().map_err(|_| "send= is no address")?, bytes).await
    }
}

/// What was when a part began.
struct Part {
    name: &'static str,
    time: Instant,
    calls: u64,
}

impl Part {
    /// Waits for a line, and begins.
    async fn begin(name: &'static str) -> Self {
        println!("READY {name}");
        let mut key = [0];
        while start::parameter("now").is_none() && !matches!(key, [b'\r' | b'\n']) {
            console::read(&mut key).await;
        }
        Self { name, time: Instant::now(), calls: hypercall::count() }
    }

    fn end(self, bytes: u64) {
        let (time, calls) = (self.time.elapsed().as_nanos(), hypercall::count() - self.calls);
        println!("MOVED {} {bytes} bytes in {time} ns with {calls} hypercalls", self.name);
    }
}

async fn disk(bytes: u64) -> Outcome {
    let disk = Disk::first().await?;
    let bytes = bytes.min(disk.info().sectors * SECTOR as u64);
    let mut data = vec![0x5a; PIECE];
    let pieces = || (0..bytes / SECTOR as u64).step_by(PIECE / SECTOR);
    let part = Part::begin("disk write").await;
    for sector in pieces() {
        disk.write(sector, &data).await?;
    }
    disk.flush().await?;
    part.end(bytes);
    let part = Part::begin("disk read").await;
    for sector in pieces() {
        disk.read(sector, &mut data).await?;
    }
    part.end(bytes);
    Ok(disk.close().await?)
}

async fn sink() -> Outcome {
    let stack = Stack::start().await?;
    println!("sink: {} on port 9", stack.wait_for_address().await);
    let mut listener = TcpListener::bind(&stack, 9, 1)?;
    let mut data = vec![0; PIECE];
    loop {
        let stream = listener.accept().await?;
        let calls = hypercall::count();
        let mut bytes = 0_u64;
        while let Ok(count @ 1..) = stream.read(&mut data).await {
            bytes += count as u64;
        }
        // The connection ends in the background; the sender may be gone by then.
        stream.write_all(&bytes.to_le_bytes()).await?;
        println!("sink: {bytes} bytes with {} hypercalls", hypercall::count() - calls);
    }
}

async fn send(server: Ipv4Addr, bytes: u64) -> Outcome {
    let stack = Stack::start().await?;
    stack.wait_for_address().await;
    let data = vec![0x5a; PIECE];
    let part = Part::begin("network").await;
    let stream = TcpStream::connect(&stack, server, 9).await?;
    for _ in 0..bytes / PIECE as u64 {
        stream.write_all(&data).await?;
    }
    stream.finish().await?;
    let mut told = [0; 8];
    stream.read_exact(&mut told).await?;
    part.end(u64::from_le_bytes(told));
    if u64::from_le_bytes(told) == bytes { Ok(()) } else { Err("the sink got less than was sent".into()) }
}
