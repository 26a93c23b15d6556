//! `multicall`: results, refusals, what happens when a call in the middle fails.
#![no_std]
#![no_main]

use conformance::{Answer, Hex, area, at, at_mut, bad, call, done, pages, row};
use domu_sdk::abi::xen::{DOMID_SELF, MulticallEntry, hypercall::*};

#[domu_sdk::main]
fn main() {
    area("multicall");
    lists();
    each();
    half_mapped();
    done();
}

fn entry(op: u64, args: [u64; 6]) -> MulticallEntry {
    MulticallEntry { op, result: 0x5a5a, args }
}

fn version() -> MulticallEntry {
    entry(XEN_VERSION, [0; 6])
}

fn run(list: &mut [MulticallEntry]) -> Answer {
    call(MULTICALL, [at_mut(list), list.len() as u64, 0, 0, 0])
}

fn lists() {
    for (name, address) in bad::ALL {
        row!("at.{name}", call(MULTICALL, [address, 1, 0, 0, 0]));
        row!("at.{name}.none", call(MULTICALL, [address, 0, 0, 0, 0]));
    }
    let mut list = [version(), version()];
    for count in [0_u64, 1, 2, 1 << 32, 1 << 32 | 1] {
        list = [version(), version()];
        row!("count.{count:#x}", call(MULTICALL, [at_mut(&mut list), count, 0, 0, 0]));
        row!("count.{count:#x}.results", alloc::format!("{} {}", Hex(list[0].result), Hex(list[1].result)));
    }
    let _ = list;
    for count in [0x1000_0000_u64, 0xffff_ffff] {
        let mut list = [version()];
        let answer = call(MULTICALL, [at_mut(&mut list), count, 0, 0, 0]);
        row!("count.{count:#x}", answer);
    }
}

extern crate alloc;

/// What calls give within a multicall, and that those behind them are carried out.
fn each() {
    let request = [0_u64; 4];
    for (name, one) in [
        ("unknown", entry(11, [0; 6])),
        ("unknown-63", entry(63, [0; 6])),
        ("unknown-64", entry(64, [0; 6])),
        ("unknown-garbage", entry(u64::MAX, [0; 6])),
        ("unknown-high-version", entry(1 << 32 | XEN_VERSION, [0; 6])),
        ("nested", entry(MULTICALL, [0; 6])),
        ("refused", entry(SET_DEBUGREG, [7, 1 << 13, 0, 0, 0, 0])),
        ("console", entry(CONSOLE_IO, [9, 0, 0, 0, 0, 0])),
        ("mmu-update", entry(MMU_UPDATE, [0, 0, 0, DOMID_SELF.into(), 0, 0])),
        ("mmu-update-bad", entry(MMU_UPDATE, [bad::HOLE, 1, 0, DOMID_SELF.into(), 0, 0])),
        ("get-debugreg", entry(GET_DEBUGREG, [6, 0, 0, 0, 0, 0])),
        ("memory-op", entry(MEMORY_OP, [4, at(&u64::from(DOMID_SELF)), 0, 0, 0, 0])),
        ("memory-op-unknown", entry(MEMORY_OP, [63, 0, 0, 0, 0, 0])),
        ("yield", entry(SCHED_OP, [0, 0, 0, 0, 0, 0])),
        ("vcpu-op", entry(VCPU_OP, [3, 0, 0, 0, 0, 0])),
        ("vcpu-op-none", entry(VCPU_OP, [3, 5, 0, 0, 0, 0])),
        ("domctl", entry(DOMCTL, [at(&request), 0, 0, 0, 0, 0])),
    ] {
        let mut list = [version(), one, version()];
        row!("{name}", run(&mut list));
        let memory = name == "memory-op";
        row!(
            "{name}.result",
            if memory { Answer(i64::from(list[1].result as i64 > 0)) } else { Answer(list[1].result as i64) }
        );
        row!("{name}.after", Hex(list[2].result));
        row!("{name}.op-kept", Hex((list[1].op == one.op).into()));
        row!("{name}.args-kept", Hex((list[1].args == one.args).into()));
    }
    // A multicall in a multicall whose own list is good.
    let mut inner = [version()];
    let mut list = [entry(MULTICALL, [at_mut(&mut inner), 1, 0, 0, 0, 0]), version()];
    row!("nested-list", run(&mut list));
    row!("nested-list.result", Answer(list[0].result as i64));
    row!("nested-list.after", Hex(list[1].result));
    row!("nested-list.inner", Hex(inner[0].result));
}

/// Lists that run out of mapped memory, and lists that cannot be written.
fn half_mapped() {
    let mut page = pages::take(2);
    let size = size_of::<MulticallEntry>() as u64;
    let words = size_of::<MulticallEntry>() / 8;
    for slot in 0..4 {
        pages::set_word(&mut page, 0, 512 - 4 * words + slot * words, XEN_VERSION);
    }
    let first = pages::address(&page, 0) + 4096 - 4 * size;
    row!("half.unmap", pages::protect(&page, 1, 0));
    row!("half", call(MULTICALL, [first, 5, 0, 0, 0]));
    let result = |slot: usize| {
        let at = 4096 - (4 - slot) * size as usize + 8;
        Hex(u64::from_le_bytes(page[at..at + 8].try_into().unwrap_or([0; 8])))
    };
    row!("half.first", result(0));
    row!("half.last", result(3));
    row!("half.map", pages::writable(&page, 1));
    row!("read-only.set", pages::read_only(&page, 0));
    row!("read-only", call(MULTICALL, [first, 2, 0, 0, 0]));
    row!("read-only.back", pages::writable(&page, 0));
    row!("crossing", call(MULTICALL, [pages::address(&page, 0) + 4096 - 24, 1, 0, 0, 0]));
}
