//! Writes keys into the example `keyvalue`, which is killed meanwhile, and looks after each of its lives whether all that was acknowledged
//! is there.
//!
//! Of a change that was under way when the connection ended nobody knows whether it was made: then either is right. It ends with a line that
//! starts with `RESULT`.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{format, string::String, vec, vec::Vec};
use core::{net::Ipv4Addr, time::Duration};
use domu_sdk::{
    net::{Error, Result, Stack, TcpStream},
    println, start, time,
};

/// Keys, which are written again and again.
const KEYS: usize = 40;
/// Acknowledged changes in all.
const CHANGES: u64 = 500;
/// How long an answer may take. A server that is killed says nothing any more, and one that is only slow is asked again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a key.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The last change that was acknowledged; 0 for none.
    sure: u64,
    /// A change that was asked for and not acknowledged.
    open: Option<u64>,
}

#[domu_sdk::main]
async fn main() {
    match run().await {
        Ok(changes) => println!("RESULT: pass, {changes} changes"),
        Err(error) => println!("RESULT: fail, {error}"),
    }
    // Dom0 has read the line before the domain ends.
    time::sleep(Duration::from_millis(10)).await;
}

async fn run() -> Result<u64> {
    let server = start::parameter("server").unwrap_or("10.0.0.1");
    let server: Ipv4Addr = server.parse().map_err(|_| Error::Setting(server.into()))?;
    let stack = Stack::start().await?;
    let mut known = vec![Known::default(); KEYS];
    let (mut change, mut acknowledged) = (0, 0);
    loop {
        let Some(Ok(mut server)) = time::timeout(PATIENCE, Server::connect(&stack, server)).await else {
            continue;
        };
        match check(&mut server, &mut known).await {
            Ok(true) => println!("all there"),
            Ok(false) => return Err(Error::Broken),
            Err(_) => continue,
        }
        while acknowledged < CHANGES {
            change += 1;
            let key = change as usize % KEYS;
            known[key].open = Some(change);
            match server.ask(&format!("set key{key} {}", value(change))).await.as_deref() {
                Ok("ok") => known[key] = Known { sure: change, open: None },
                Ok(other) => {
                    println!("set said {other:?}");
                    return Err(Error::Broken);
                }
                Err(_) => break,
            }
            acknowledged += 1;
            if acknowledged % 10 == 0 {
                println!("now {acknowledged} acknowledged");
            }
        }
        if acknowledged == CHANGES && check(&mut server, &mut known).await.is_ok_and(|fine| fine) {
            return Ok(change);
        }
    }
}

/// A value that tells its change, and is of a length of its own.
fn value(change: u64) -> String {
    format!("{change}:{}", "v".repeat(change as usize * 37 % 900))
}

/// Compares all keys; what is found is sure from now on.
async fn check(server: &mut Server, known: &mut [Known]) -> Result<bool> {
    for (key, known) in known.iter_mut().enumerate() {
        let found = server.ask(&format!("get key{key}")).await?;
        let is = |change: u64| match change {
            0 => found == "none",
            change => found.strip_prefix("value ") == Some(&value(change)),
        };
        match known.open {
            Some(open) if is(open) => known.sure = open,
            _ if is(known.sure) => {}
            _ => {
                let found: String = found.chars().take(20).collect();
                println!("key{key} is {found:?}, not of change {} or {:?}", known.sure, known.open);
                return Ok(false);
            }
        }
        known.open = None;
    }
    Ok(true)
}

struct Server {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Server {
    async fn connect(stack: &Stack, address: Ipv4Addr) -> Result<Self> {
        Ok(Self { stream: TcpStream::connect(stack, address, 7000).await?, held: Vec::new() })
    }

    /// Sends a line and waits for the answer's.
    async fn ask(&mut self, line: &str) -> Result<String> {
        let exchange = async {
            self.stream.write_all(format!("{line}\n").as_bytes()).await?;
            loop {
                if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.held.drain(..=end).collect();
                    return Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
                }
                let mut piece = [0; 1024];
                match self.stream.read(&mut piece).await? {
                    0 => return Err(Error::Closed),
                    count => self.held.extend_from_slice(&piece[..count]),
                }
            }
        };
        time::timeout(PATIENCE, exchange).await.unwrap_or(Err(Error::Closed))
    }
}
