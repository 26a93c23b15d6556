//! A small operating system: runs programs in user mode, several at a time, and answers their system calls.
//!
//! The program is the module that came with the kernel (`ramdisk=` in the configuration), a static ELF file. It may write to the console,
//! ask for the number of its process, and end; with the numbers that Linux gives these calls. What it must not do ends it, and nothing else.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{boxed::Box, string::String, vec::Vec};
use core::error;
use domu_sdk::{
    print, println, start,
    user::{Answer, Call, Process, Stop},
};

const WRITE: u64 = 1;
const GETPID: u64 = 39;
const EXIT: u64 = 60;
/// The negative of "no such call".
const ENOSYS: u64 = -38_i64 as u64;
/// The negative of "bad address".
const EFAULT: u64 = -14_i64 as u64;

fn answer(pid: u64, call: &mut Call<'_>) -> Answer {
    let [first, address, len, ..] = call.arguments;
    Answer::Return(match call.number {
        WRITE => match call.bytes(address, len) {
            Ok(bytes) => {
                print!("{}", String::from_utf8_lossy(&bytes));
                len
            }
            Err(_) => EFAULT,
        },
        GETPID => pid,
        EXIT => return Answer::Exit(first as i32),
        _ => ENOSYS,
    })
}

#[domu_sdk::main]
fn main() -> Result<(), Box<dyn error::Error>> {
    let elf = start::module().ok_or("there is no module; name one with ramdisk= in the configuration")?;
    // One that greets, one that computes, and two that do what they must not.
    let parts = ["greet", "registers", "null", "privileged"];
    let loaded =
        (1..).zip(parts).map(|(pid, part)| Ok((pid, Process::load_with(elf, &["program", part], &[])?)));
    let mut processes: Vec<(u64, Process)> = loaded.collect::<Result<_, domu_sdk::user::LoadError>>()?;
    // They take turns: each runs until it asks for something, or an event interrupts it.
    while !processes.is_empty() {
        processes.retain_mut(|(pid, process)| match process.resume() {
            Stop::Event => true,
            Stop::Fault(fault) => {
                println!("process {pid} was ended: {fault}");
                false
            }
            Stop::Call => match answer(*pid, &mut process.call()) {
                Answer::Return(value) => {
                    process.answer(value);
                    true
                }
                Answer::Exit(status) => {
                    println!("process {pid} ended with status {status}");
                    false
                }
            },
        });
    }
    println!("all processes have ended");
    Ok(())
}
