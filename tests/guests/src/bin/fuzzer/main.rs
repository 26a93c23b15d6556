//! A guest that fuzzes the hypervisor from inside: `fuzzer seed=N rounds=M`.
//!
//! Each round makes one hypercall from the grammar of `fuzz/grammar`, which the host's targets use too; now and then it runs an
//! instruction that a guest must not execute, stores into a page table, or returns with strange flags. All decisions of a round
//! come from the seed and its number; `verbose=N` prints every call from round N on. Every [`BATCH`] rounds the guest puts its sandbox in order, looks whether its own
//! memory is what it was, and says how far it is.
//!
//! It has to live on, so it works on a [`sandbox::Sandbox`] (its own page tables and memory stay out of it) and leaves out the
//! few calls that end it by right: [`permit`] has the list, with reasons.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use domu_sdk::abi::errno::Errno;
use domu_sdk::abi::xen::{FLAT_KERNEL_CS64, TrapInfo, hypercall};
use domu_sdk::shutdown::Reason;
use domu_sdk::sync::MaskedMutex;
use domu_sdk::{arch, println, start};
use fuzz_grammar::{Pools, SCRATCH, Source, Xorshift, generate};

mod instructions;
mod permit;
mod sandbox;

use permit::Rules;
use sandbox::Sandbox;

/// Rounds between two reports.
const BATCH: u64 = 512;
/// Rounds if the command line does not say.
const ROUNDS: u64 = 20_000;
/// Words of the memory that must not change, and what is in them.
const CANARIES: usize = 4096;
const CANARY: u64 = 0xc0ff_ee00_dead_0000;

/// While it is held, no event comes: handlers may be nonsense in between.
static CALL: MaskedMutex<()> = MaskedMutex::new(());

#[derive(Default)]
struct Tally {
    calls: u64,
    done: u64,
    instructions: u64,
}

fn call(number: u64, arguments: [u64; 5]) -> i64 {
    // SAFETY: what the call may do to this guest is bounded by the rules of `permit`; what it may do to others is the question.
    unsafe { arch::raw_hypercall(number, arguments) }
}

fn parameter(name: &str, otherwise: u64) -> u64 {
    start::parameter(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[domu_sdk::main]
fn main() -> Reason {
    let (seed, rounds) = (parameter("seed", 1), parameter("rounds", ROUNDS));
    let verbose = parameter("verbose", u64::MAX);
    println!("fuzzer: seed {seed}, {rounds} rounds");
    let Some(mut sandbox) = Sandbox::new() else {
        println!("RESULT: fail, no memory for the sandbox");
        return Reason::Crash;
    };
    instructions::prepare();
    let canaries: Box<[u64]> = (0..CANARIES as u64).map(|n| CANARY + n).collect();
    let mut tally = Tally::default();
    for round in 0..rounds {
        if round % BATCH == 0 {
            settle(&mut sandbox);
            if let Some(at) = (0..CANARIES).find(|&at| canaries[at] != CANARY + at as u64) {
                println!("RESULT: fail, word {at} of memory that nobody may write is {:#x}", canaries[at]);
                return Reason::Crash;
            }
            println!(
                "fuzzer: seed {seed} round {round}: {} calls, {} answered without error, {} instructions",
                tally.calls, tally.done, tally.instructions
            );
        }
        let mut source = Xorshift::new((seed << 32).wrapping_add(round));
        one(&mut sandbox, &mut source, &mut tally, round >= verbose);
    }
    settle(&mut sandbox);
    println!("fuzzer: {rounds} rounds, {} calls, {} instructions", tally.calls, tally.instructions);
    println!("RESULT: pass");
    Reason::PowerOff
}

/// One round.
fn one(sandbox: &mut Sandbox, source: &mut Xorshift, tally: &mut Tally, verbose: bool) {
    match source.below(16) {
        0 => {
            tally.instructions += 1;
            instructions::run(source, sandbox);
        }
        1 => {
            tally.instructions += 1;
            instructions::store_to_table(source, sandbox);
        }
        2 => instructions::strange_return(source),
        3 => sandbox.write_grant(source),
        _ => {
            tally.calls += 1;
            let answer = hypercall_from_grammar(sandbox, source, verbose);
            tally.done += u64::from(Errno::from_ret(answer).is_none());
        }
    }
}

fn hypercall_from_grammar(sandbox: &mut Sandbox, source: &mut Xorshift, verbose: bool) -> i64 {
    let domains = [0x7ff0, 0, 1, 2, 3, 0x7ff0, 0x7ff1, 0x7ff2];
    let pools = Pools {
        frames: &sandbox.named,
        tables: &sandbox.tables,
        pages: &sandbox.pages,
        domains: &domains,
        scratch: sandbox.scratch(),
        end: sandbox.end,
        reserved: 16,
    };
    let mut page = [0; SCRATCH];
    let request = generate(source, &Rules { sandbox }, &pools, &mut page);
    sandbox.fill_scratch(&page);
    if verbose {
        println!("fuzzer: {} {:x?}, {:x?}", request.number, request.args, &page[..96]);
    }
    let _no_events = CALL.lock();
    let answer = call(request.number, request.args);
    sandbox.mend_clock();
    if matches!(request.number, hypercall::SET_TRAP_TABLE | hypercall::SET_CALLBACKS | hypercall::CALLBACK_OP)
    {
        handlers();
    }
    answer
}

/// Gives the hypervisor the handlers of this guest again.
fn handlers() {
    let mut table = [TrapInfo::default(); arch::VECTORS + 1];
    for (vector, entry) in table.iter_mut().enumerate().take(arch::VECTORS) {
        *entry = TrapInfo {
            vector: vector as u8,
            flags: if matches!(vector, 3 | 4) { 3 } else { 0 },
            cs: FLAT_KERNEL_CS64,
            address: arch::trap_stub(vector),
            ..TrapInfo::default()
        };
    }
    // The empty table first: it takes away what else was set.
    let none = [TrapInfo::default(); 1];
    for entries in [&none[..], &table[..]] {
        call(hypercall::SET_TRAP_TABLE, [entries.as_ptr().expose_provenance() as u64, 0, 0, 0, 0]);
    }
    let (event, failsafe) = arch::callback_stubs();
    call(hypercall::SET_CALLBACKS, [event, failsafe, 0, 0, 0]);
}

/// Puts the guest in order: descriptor table, debug registers, I/O privilege, sandbox.
fn settle(sandbox: &mut Sandbox) {
    {
        let _no_events = CALL.lock();
        handlers();
        call(hypercall::SET_GDT, [0, 0, 0, 0, 0]);
        call(hypercall::SET_DEBUGREG, [7, 0, 0, 0, 0]);
        call(hypercall::FPU_TASKSWITCH, [0, 0, 0, 0, 0]);
    }
    sandbox.settle();
}
