//! The smallest useful guest: says where it is, ticks every second, and echoes what is typed. It is as
//! large as the toolstack wishes.
//!
//! `ticks=N` on the command line ends it after N ticks; without it, it runs until it is told to shut down.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::time::Duration;
use domu_sdk::{
    console, executor,
    hypercall::version,
    memory::{self, balloon},
    print, println, shutdown, start, time,
};

#[domu_sdk::main]
async fn main() {
    introduce();
    executor::spawn(echo());
    executor::spawn(shutdown::obey());
    executor::spawn(balloon::follow(balloon::TARGET));
    let ticks = start::parameter("ticks").and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
    for tick in 1..=ticks {
        time::sleep(Duration::from_secs(1)).await;
        println!("tick {tick}");
    }
    println!("bye");
}

fn introduce() {
    println!("hello from a Rust guest");
    match version::version() {
        Ok((major, minor)) => {
            println!("xen {major}.{minor}{}", version::extra_version().unwrap_or_default());
        }
        Err(error) => println!("xen_version failed: {error}"),
    }
    println!("capabilities: {}", version::capabilities().unwrap_or_default());
    println!("features: {:#010x}", version::features(0).unwrap_or(0));
    let usage = memory::usage();
    println!("memory: {} MiB, {} MiB free", usage.total / 256, usage.free / 256);
    println!("command line: {:?}", start::command_line());
    println!("date: {} seconds since 1970", time::date().as_secs());
}

/// Sends every typed byte back.
async fn echo() {
    let mut buffer = [0; 64];
    loop {
        let count = console::read(&mut buffer).await;
        for &byte in &buffer[..count] {
            match byte {
                b'\r' | b'\n' => println!(),
                byte => print!("{}", char::from(byte)),
            }
        }
    }
}
