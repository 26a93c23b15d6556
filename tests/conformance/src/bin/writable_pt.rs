//! Area `writable_pt`: plain stores to page tables, which the hypervisor carries out if the entry is allowed.
#![no_std]
#![no_main]

extern crate alloc;

use conformance::space::{self, Frame, call, foreign, of, pin, unpin, update};
use conformance::{put, trapped};
use domu_sdk::abi::xen::hypercall;

struct Set {
    data: Frame,
    tables: [Frame; 4],
}

/// Runs one store with `rdi` as address and `rax`, `rcx`, `rdx` and `rbx`'s stand-in `rsi` as values, on an entry that holds `$old`, and
/// prints the trap, the entry and the registers after it.
macro_rules! store {
    ($set:ident, $name:expr, $level:expr, $offset:expr, $old:expr, $rsi:expr, $rax:expr, $($text:literal),+) => {{
        let table = &$set.tables[$level - 1];
        let place = table.slot(8);
        update(place, $old);
        let (mut rax, mut rsi): (u64, u64) = ($rax, $rsi);
        let mut rdi: u64 = table.va + 64 + $offset;
        let start = rdi;
        let flags: u64;
        let outcome = trapped!($($text),+, "pushfq", "pop {flags}"; flags = lateout(reg) flags, inout("rax") rax, inout("rsi") rsi, inout("rdi") rdi, inout("rdx") 0_u64 => _, inout("rcx") 1_u64 => _);
        let trap = outcome.short();
        let flags = if outcome.0.is_none() { flags & 0x8d5 } else { 0 };
        put!($name, "{trap} {} rax {} rsi {} rdi {:+} flags {flags:#x}",
            hide($set, table.read(8)), hide($set, rax), hide($set, rsi), rdi.wrapping_sub(start) as i64);
        update(place, 0);
    }};
}

/// A word without the frame that differs from run to run.
fn hide(set: &Set, word: u64) -> Hidden {
    let frame = word >> 12 & 0xff_ffff_ffff;
    let name = if frame == 0 {
        "0"
    } else if frame == set.data.mfn {
        "data"
    } else if frame == foreign() {
        "foreign"
    } else {
        "other"
    };
    Hidden(name, word & space::FLAGS)
}

struct Hidden(&'static str, u64);

impl core::fmt::Display for Hidden {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{:#x}", self.0, self.1)
    }
}

fn whole(set: &Set) {
    let good = set.data.entry(7);
    for (what, old, new) in [
        ("map", 0, good),
        ("map-ro", 0, set.data.entry(5)),
        ("map-no-user", 0, set.data.entry(1)),
        ("map-avail", 0, set.data.entry(0xe07)),
        ("clear", good, 0),
        ("change", good, set.data.entry(0x65)),
        ("same", good, good),
        ("foreign", 0, foreign() << 12 | 7),
        ("foreign-over", good, foreign() << 12 | 5),
        ("table", 0, set.tables[0].entry(7)),
        ("table-ro", 0, set.tables[0].entry(5)),
        ("cache", 0, set.data.entry(0x1f)),
        ("reserved", 0, set.data.entry(7) | 1 << 51),
        ("absent", 0, 0xdead_beef_0000_0ff0),
    ] {
        store!(set, format_args!("mov8.{what}"), 1, 0, old, new, 0, "mov [rdi], rsi");
        store!(set, format_args!("xchg.{what}"), 1, 0, old, new, 0, "xchg [rdi], rsi");
        store!(
            set,
            format_args!("cmpxchg.{what}.equal"),
            1,
            0,
            old,
            new,
            set.tables[0].read(8),
            "mov rax, [rdi]",
            "lock cmpxchg [rdi], rsi"
        );
        store!(set, format_args!("cmpxchg.{what}.differs"), 1, 0, old, new, 0x77, "lock cmpxchg [rdi], rsi");
        store!(set, format_args!("stos.{what}"), 1, 0, old, 0, new, "stosq");
        store!(set, format_args!("movnti.{what}"), 1, 0, old, new, 0, "movnti [rdi], rsi");
        for level in 2..=4 {
            store!(set, format_args!("mov8.l{level}.{what}"), level, 0, 0, new, 0, "mov [rdi], rsi");
        }
    }
    for level in 2..=4_usize {
        store!(
            set,
            format_args!("mov8.l{level}.hook"),
            level,
            0,
            0,
            set.tables[level - 2].entry(7),
            0,
            "mov [rdi], rsi"
        );
        store!(
            set,
            format_args!("mov8.l{level}.unhook"),
            level,
            0,
            set.tables[level - 2].entry(7),
            0,
            0,
            "mov [rdi], rsi"
        );
    }
}

fn parts(set: &Set) {
    let good = set.data.entry(7);
    store!(set, "mov4.low", 1, 0, good, set.data.entry(5) & 0xffff_ffff, 0, "mov [rdi], esi");
    store!(set, "mov4.high", 1, 4, good, 0x8000_0000, 0, "mov [rdi], esi");
    store!(set, "mov4.high.bad", 1, 4, good, 0x000f_0000, 0, "mov [rdi], esi");
    store!(set, "mov4.middle", 1, 2, good, 0, 0, "mov [rdi], esi");
    store!(set, "mov2.low", 1, 0, good, good & 0xffff | 0x20, 0, "mov [rdi], si");
    store!(set, "mov2.high", 1, 6, good, 0x8000, 0, "mov [rdi], si");
    store!(set, "mov2.odd", 1, 1, good, 0, 0, "mov [rdi], si");
    store!(set, "mov1.low", 1, 0, good, 0x25, 0, "mov [rdi], sil");
    store!(set, "mov1.high", 1, 7, good, 0x80, 0, "mov [rdi], sil");
    store!(set, "mov1.ah", 1, 1, set.data.entry(6) & !0xf00, 0, 0x0200, "mov [rdi], ah");
    store!(set, "mov1.absent", 1, 0, 0xff0, 0x66, 0, "mov [rdi], sil");
    for offset in [1_u64, 3, 4, 7] {
        store!(set, format_args!("mov8.offset{offset}"), 1, offset, good, 0, 0, "mov [rdi], rsi");
        store!(set, format_args!("cmpxchg.offset{offset}"), 1, offset, 0, 0, 0, "lock cmpxchg [rdi], rsi");
    }
    store!(set, "cmpxchg4", 1, 0, 0x1000, 0x2000, 0x1000, "lock cmpxchg [rdi], esi");
    store!(set, "cmpxchg2", 1, 0, 0x1000, 0x2000, 0x1000, "lock cmpxchg [rdi], si");
    store!(set, "cmpxchg1", 1, 0, 0x10, 0x20, 0x10, "lock cmpxchg [rdi], sil");
    store!(set, "cmpxchg8b.differs", 1, 0, 0x30, 0, 0, "lock cmpxchg8b [rdi]");
    store!(set, "cmpxchg16b", 1, 0, 0, 0, 0, "lock cmpxchg16b [rdi]");
    store!(set, "unlocked-cmpxchg", 1, 0, 0, 0x40, 0, "cmpxchg [rdi], rsi");
}

fn arithmetic(set: &Set) {
    let good = set.data.entry(7);
    store!(set, "imm8", 1, 0, good, 0, 0, "mov byte ptr [rdi], 0x65");
    store!(set, "imm64", 1, 0, good, 0, 0, "mov qword ptr [rdi], 0");
    store!(set, "or", 1, 0, good, 0x60, 0, "or [rdi], rsi");
    store!(set, "or-imm", 1, 0, good, 0, 0, "or qword ptr [rdi], 0x40");
    store!(set, "lock-or", 1, 0, good, 0x60, 0, "lock or [rdi], rsi");
    store!(set, "and", 1, 0, good, !2, 0, "and [rdi], rsi");
    store!(set, "and-imm", 1, 0, good, 0, 0, "and qword ptr [rdi], 0xfffffffffffffffd");
    store!(set, "lock-and1", 1, 0, good, 0, 0, "lock and byte ptr [rdi], 0xfd");
    store!(set, "xor", 1, 0, good, 0x20, 0, "xor [rdi], rsi");
    store!(set, "add", 1, 0, 0x10, 0x7fff_ffff_ffff_fff0, 0, "add [rdi], rsi");
    store!(set, "add-imm", 1, 0, 0x10, 0, 0, "add qword ptr [rdi], 2");
    store!(set, "sub", 1, 0, 0x10, 0x20, 0, "sub [rdi], rsi");
    store!(set, "adc", 1, 0, 0x10, 2, 0, "stc", "adc [rdi], rsi");
    store!(set, "sbb", 1, 0, 0x10, 2, 0, "stc", "sbb [rdi], rsi");
    store!(set, "inc", 1, 0, 0x10, 0, 0, "inc qword ptr [rdi]");
    store!(set, "dec", 1, 0, 0x10, 0, 0, "dec qword ptr [rdi]");
    store!(set, "not", 1, 0, 0x10, 0, 0, "not qword ptr [rdi]");
    store!(set, "neg", 1, 0, 0x10, 0, 0, "neg qword ptr [rdi]");
    store!(set, "shl", 1, 0, 0x10, 0, 0, "shl qword ptr [rdi], 2");
    store!(set, "xadd", 1, 0, 0x10, 0x20, 0, "lock xadd [rdi], rsi");
    store!(set, "bts", 1, 0, good, 5, 0, "bts [rdi], rsi");
    store!(set, "bts-imm", 1, 0, good, 0, 0, "lock bts qword ptr [rdi], 6");
    store!(set, "btr-imm", 1, 0, good, 0, 0, "lock btr qword ptr [rdi], 1");
    store!(set, "btc-imm", 1, 0, good, 0, 0, "btc qword ptr [rdi], 5");
    store!(set, "movs", 1, 0, 0, of(&[0x1230_u64]), 0, "movsq");
    store!(set, "rep-stos", 1, 0, 0, 0, 0x1230, "rep stosq");
    store!(set, "std-stos", 1, 0, 0, 0, 0x1230, "std", "stosq", "cld");
    store!(set, "stosd", 1, 0, 0, 0, 0x1230, "stosd");
    store!(set, "stosb", 1, 0, 0, 0, 0x30, "stosb");
    store!(set, "sete", 1, 0, 0, 0, 0, "sete byte ptr [rdi]");
    store!(set, "movbe", 1, 0, 0, 0x3012 << 48, 0, "movbe [rdi], rsi");
    store!(set, "pop", 1, 0, 0, 0x1230, 0, "push rsi", "pop qword ptr [rdi]");
    store!(set, "sib", 1, 0, 0, 0x1230, 0, "mov [rdi + rdx * 8], rsi");
    store!(set, "displacement", 1, 0, 0, 0x1230, 0, "lea rdi, [rdi - 0x1000]", "mov [rdi + 0x1000], rsi");
    store!(set, "segment", 1, 0, 0, 0x1230, 0, ".byte 0x3e", "mov [rdi], rsi");
    store!(set, "address-size", 1, 0, 0, 0x1230, 0, "mov [edi], rsi");
    store!(set, "pop16", 1, 0, 0, 0x1230, 0, "push rsi", "pop word ptr [rdi]", "lea rsp, [rsp + 6]");
    for (name, old) in [("low", 0x1230), ("all", !1), ("high", 1 << 62 | 0x4002)] {
        let name = |text: &str| alloc::format!("{text}.{name}");
        store!(set, name("shl1"), 1, 0, old, 0, 0, "shl qword ptr [rdi], 1");
        store!(set, name("shr3"), 1, 0, old, 0, 0, "shr qword ptr [rdi], 3");
        store!(set, name("sar2"), 1, 0, old, 0, 0, "sar qword ptr [rdi], 2");
        store!(set, name("rol5"), 1, 0, old, 0, 0, "rol qword ptr [rdi], 5");
        store!(set, name("ror4"), 1, 0, old, 0, 0, "ror qword ptr [rdi], 4");
        store!(set, name("rcl1"), 1, 0, old, 0, 0, "clc", "rcl qword ptr [rdi], 1");
        store!(set, name("rcr2"), 1, 0, old, 0, 0, "stc", "rcr qword ptr [rdi], 2");
        store!(set, name("shl-cl"), 1, 0, old, 0, 0, "shl dword ptr [rdi], cl");
        store!(set, name("ror-byte"), 1, 1, old, 0, 0, "ror byte ptr [rdi], 3");
        store!(set, name("rcl-word"), 1, 2, old, 0, 0, "clc", "rcl word ptr [rdi], 3");
        store!(set, name("shl-nothing"), 1, 0, old, 0, 0, "stc", "shl qword ptr [rdi], 64");
        store!(set, name("setnz"), 1, 1, old, 0, 0, "cmp rdi, rdi", "setnz byte ptr [rdi]");
        store!(set, name("setg"), 1, 1, old, 1, 0, "cmp rsi, rax", "setg byte ptr [rdi]");
        store!(set, name("seto"), 1, 1, old, 0, 0, "xor eax, eax", "seto byte ptr [rdi]");
    }
    store!(set, "rex-then-prefix", 1, 0, 0, 0x1230, 0, ".byte 0x48, 0x66, 0x89, 0x37");
    store!(set, "load", 1, 0, 0x1230, 0, 0, "mov rsi, [rdi]");
    store!(set, "test", 1, 0, 0x1230, 0x1230, 0, "test [rdi], rsi");
}

/// The plainest of all stores.
fn plain(set: &Set, when: &str) {
    store!(set, format_args!("mov8.{when}"), 1, 0, 0, set.data.entry(7), 0, "mov [rdi], rsi");
}

/// Stores to read-only frames that are no tables.
fn others(set: &Set) {
    let plain = Frame::table();
    put!("read-only", "{}", trapped!("mov [rdi], rsi"; in("rdi") plain.va, in("rsi") 1_u64).short());
    put!("unmapped", "{}", trapped!("mov [rdi], rsi"; in("rdi") 0x1000_u64, in("rsi") 1_u64).short());
    put!("gdt.set", "{}", call(hypercall::SET_GDT, [of(&[plain.mfn]), 512, 0, 0, 0]));
    put!(
        "gdt",
        "{} {:#x}",
        trapped!("mov [rdi], rsi"; in("rdi") plain.va, in("rsi") 0_u64).short(),
        plain.read(0)
    );
    put!("gdt.unset", "{}", call(hypercall::SET_GDT, [0, 0, 0, 0, 0]));
    put!(
        "m2p",
        "{}",
        trapped!("mov [rdi], rsi"; in("rdi") 0xffff_8000_0000_0000_u64, in("rsi") 0_u64).short()
    );
    put!(
        "hole",
        "{}",
        trapped!("mov [rdi], rsi"; in("rdi") 0xffff_8300_0000_0000_u64, in("rsi") 0_u64).short()
    );
    put!(
        "hole.read",
        "{}",
        trapped!("mov rsi, [rdi]"; in("rdi") 0xffff_8300_0000_0000_u64, out("rsi") _).short()
    );
    put!(
        "root",
        "{}",
        trapped!("mov [rdi], rsi"; in("rdi") domu_sdk::start::info().pt_base, in("rsi") 0_u64).short()
    );
    put!("execute", "{}", trapped!("call rdi"; in("rdi") set.data.va).short());
    let l1 = &set.tables[0];
    put!("unpin", "{}", unpin(l1.mfn));
    put!("no-table", "{}", trapped!("mov [rdi], rsi"; in("rdi") l1.va, in("rsi") 0_u64).short());
}

#[domu_sdk::main]
fn main() {
    conformance::area("writable_pt");
    let set = &Set { data: Frame::new(), tables: core::array::from_fn(|_| Frame::table()) };
    for level in 1..=4 {
        put!(format_args!("pin{level}"), "{}", pin(level, set.tables[level as usize - 1].mfn));
    }
    plain(set, "before");
    put!("assist.enable", "{}", call(hypercall::VM_ASSIST, [0, 2, 0, 0, 0]));
    whole(set);
    parts(set);
    arithmetic(set);
    put!("assist.disable", "{}", call(hypercall::VM_ASSIST, [1, 2, 0, 0, 0]));
    plain(set, "after");
    others(set);
    conformance::done();
}
