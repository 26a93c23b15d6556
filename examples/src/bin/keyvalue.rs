//! A key-value store: a disk, served over TCP on port 7000. What it has acknowledged survives the end of the domain at any moment.
//!
//! One request a line, one answer a line:
//!
//! | request | answer |
//! |---|---|
//! | `set KEY VALUE` | `ok`, once it is durable |
//! | `get KEY` | `value VALUE` or `none` |
//! | `del KEY` | `ok` or `none` |
//! | `count` | `value N` |
//! | anything else | `error …` |
//!
//! How the pairs are kept is told in `examples/src/journal.rs`. Its disk is the domain's first, its address `ip=` of the command line.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{boxed::Box, format, string::ToString, sync::Arc, vec::Vec};
use core::{error, fmt::Debug, time::Duration};
use domu_sdk::{
    block::Disk,
    executor,
    net::{self, Stack, TcpListener, TcpStream},
    println, shutdown,
    sync::Mutex,
    time,
};
use examples::journal::{Journal, KEY_MAX, Refusal, VALUE_MAX};

/// Longest line of a request.
const LINE_MAX: usize = KEY_MAX + VALUE_MAX + 8;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(300);

/// The store. Changes are made one at a time.
type Store = Arc<Mutex<Journal<Disk>>>;

#[domu_sdk::main]
async fn main() -> Result<(), Box<dyn error::Error>> {
    executor::spawn(shutdown::obey());
    let journal = Journal::open(Disk::first().await?).await?;
    println!("keyvalue: {} keys, generation {}", journal.len(), journal.generation());
    let store = Arc::new(Mutex::new(journal));
    let stack = Stack::start().await?;
    println!("keyvalue: {} on port 7000", stack.wait_for_address().await);
    let mut listener = TcpListener::bind(&stack, 7000, 4)?;
    loop {
        let stream = listener.accept().await?;
        let store = store.clone();
        executor::spawn(async move {
            if let Err(error) = serve(&stream, &store).await {
                println!("keyvalue: {:?}: {error}", stream.peer());
            }
        });
    }
}

/// Answers a client's lines until it sends no more.
async fn serve(stream: &TcpStream, store: &Store) -> net::Result {
    let mut held = Vec::new();
    loop {
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            let mut answer = answer(store, line.trim_ascii_end()).await;
            answer.push(b'\n');
            stream.write_all(&answer).await?;
        }
        if held.len() > LINE_MAX {
            stream.write_all(b"error the line is too long\n").await?;
            return stream.finish().await;
        }
        let mut piece = [0; 1024];
        match time::timeout(PATIENCE, stream.read(&mut piece)).await {
            Some(Ok(count @ 1..)) => held.extend_from_slice(&piece[..count]),
            Some(Ok(0)) | None => return stream.finish().await,
            Some(Err(error)) => return Err(error),
        }
    }
}

async fn answer(store: &Store, line: &[u8]) -> Vec<u8> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (verb, key, value) = (words.next().unwrap_or(&[]), words.next(), words.next());
    let mut store = store.lock().await;
    match (verb, key, value) {
        (b"get", Some(key), None) => match store.get(key) {
            Some(value) => [b"value ", value].concat(),
            None => b"none".to_vec(),
        },
        (b"set", Some(key), Some(value)) => said(store.set(key, value).await.map(|()| true)),
        (b"del", Some(key), None) => said(store.remove(key).await),
        (b"count", None, None) => format!("value {}", store.len()).into_bytes(),
        _ => b"error not a request; use set KEY VALUE, get KEY, del KEY or count".to_vec(),
    }
}

fn said<E: Debug>(outcome: Result<bool, Refusal<E>>) -> Vec<u8> {
    match outcome {
        Ok(true) => b"ok".to_vec(),
        Ok(false) => b"none".to_vec(),
        Err(Refusal::Length) => b"error a key or a value is empty or too long".to_vec(),
        Err(Refusal::Full) => b"error there is no room".to_vec(),
        Err(refusal) => format!("error {refusal:?}").to_string().into_bytes(),
    }
}
