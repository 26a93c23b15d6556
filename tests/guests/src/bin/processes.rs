//! Runs programs in user mode, and looks at how each one ends.
//!
//! The program is the module that came with the kernel; what it can do is told in `tests/user`. Each check prints a line as those of
//! `selftest` do.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{
    format,
    string::{String, ToString},
};
use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use domu_sdk::{
    abi::trap,
    executor,
    memory::{self, space::Protection},
    print, println, start, time,
    user::{Answer, Call, End, Fault, Process, Stop},
};
use test_guests::report;

type Check = Result<(), String>;

/// What the program asks for, with the numbers that Linux gives.
const WRITE: u64 = 1;
const GETPID: u64 = 39;
const EXIT: u64 = 60;
/// The negative of "no such call".
const ENOSYS: u64 = -38_i64 as u64;
/// The negative of "bad address".
const EFAULT: u64 = -14_i64 as u64;

/// Turns of a task that runs beside the programs; what they see as the number of their process.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// The three system calls.
fn answer(call: &mut Call<'_>) -> Answer {
    match call.number {
        WRITE => Answer::Return(write(call)),
        GETPID => Answer::Return(TURNS.load(Ordering::Relaxed)),
        EXIT => Answer::Exit(call.arguments[0] as i32),
        _ => Answer::Return(ENOSYS),
    }
}

fn write(call: &Call<'_>) -> u64 {
    let [_, address, len, ..] = call.arguments;
    let Ok(bytes) = call.bytes(address, len) else { return EFAULT };
    print!("{}", String::from_utf8_lossy(&bytes));
    len
}

fn process(part: &str) -> Result<Process, String> {
    let elf = start::module().ok_or("there is no module")?;
    Process::load_with(elf, &["program", part], &[]).map_err(|error| error.to_string())
}

fn ends(part: &str, expected: End) -> Check {
    let end = process(part)?.run(answer);
    if end == expected { Ok(()) } else { Err(format!("{part} ended with {end:?}, expected {expected:?}")) }
}

/// The part faults with this vector; for a page fault, with these bits of the error code (2: writing, 16: executing).
fn faults(part: &str, vector: u8, bits: u64) -> Check {
    match process(part)?.run(answer) {
        End::Faulted(fault) if fault.vector == vector && fault.error_code & 0x12 == bits => {
            println!("{part}: {fault}");
            Ok(())
        }
        end => Err(format!("{part} ended with {end:?}, expected vector {vector}")),
    }
}

/// What a program must not do is a value, and not the end of the kernel.
fn all_faults() -> Check {
    for part in ["null", "kernel", "hypervisor"] {
        faults(part, trap::PAGE_FAULT, 0)?;
    }
    for part in ["code", "constant", "deep"] {
        faults(part, trap::PAGE_FAULT, 2)?;
    }
    faults("stack", trap::PAGE_FAULT, 16)?;
    faults("privileged", trap::GP_FAULT, 0)?;
    faults("undefined", trap::INVALID_OP, 0)?;
    faults("divide", trap::DIVIDE_ERROR, 0)?;
    faults("interrupt", trap::GP_FAULT, 2)
}

/// A page that is missing is brought when it is asked for, and the program does not notice.
fn demand() -> Check {
    let mut process = process("null")?;
    let End::Faulted(Fault { address: 8, .. }) = process.run(answer) else {
        return Err("the first access did not fault at 8".into());
    };
    process.memory().map(0..4096, Protection::Read).map_err(|error| error.to_string())?;
    match process.run(answer) {
        End::Exited(99) => Ok(()),
        end => Err(format!("with the page, it ended with {end:?}")),
    }
}

/// Two processes, a step each in turn: neither sees the other's registers.
fn in_turns() -> Check {
    let mut both = [process("registers")?, process("registers")?];
    let mut left = 2;
    while left > 0 {
        left = 0;
        for process in &mut both {
            match process.resume() {
                Stop::Call if process.call().number == EXIT => {
                    let status = process.call().arguments[0];
                    if status != 0 {
                        return Err("registers were lost".into());
                    }
                }
                Stop::Call => {
                    process.answer(1);
                    left += 1;
                }
                Stop::Event => left += 1,
                Stop::Fault(fault) => return Err(fault.to_string()),
            }
        }
    }
    Ok(())
}

/// A program that never waits does not keep other tasks from running.
async fn beside_tasks() -> Check {
    executor::spawn(async {
        loop {
            time::sleep(Duration::from_millis(2)).await;
            TURNS.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut process = process("count")?;
    match process.run_async(answer).await {
        End::Exited(0) => Ok(()),
        end => Err(format!("it ended with {end:?}")),
    }
}

/// A process leaves nothing behind.
fn no_leak() -> Check {
    drop(process("greet")?);
    let before = memory::usage().free;
    for _ in 0..100 {
        process("greet")?.run(|call| if call.number == EXIT { Answer::Exit(0) } else { Answer::Return(0) });
    }
    let after = memory::usage().free;
    if after == before { Ok(()) } else { Err(format!("{before} pages were free before, {after} after")) }
}

#[domu_sdk::main]
async fn main() {
    let checks = [
        ("user-mode", ends("greet", End::Exited(7))),
        ("registers", ends("registers", End::Exited(0))),
        ("faults", all_faults()),
        ("demand", demand()),
        ("in-turns", in_turns()),
        ("beside-tasks", beside_tasks().await),
        ("no-leak", no_leak()),
    ];
    report::checks(checks);
}
