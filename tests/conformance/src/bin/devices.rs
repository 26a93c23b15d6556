//! Calls about devices and about features that a hypervisor may leave out: physical interrupts and PCI devices, device models, `kexec`,
//! `hypfs`, machine checks, profiling. Each operation with pointers that are bad, and with arguments that are almost right.
//!
//! Run as first domain and as another one.
#![no_std]
#![no_main]

use conformance::{Answer, Hex, area, at, at_mut, bad, call, done, fresh, row, space};
use domu_sdk::abi::xen::DOMID_SELF;
use domu_sdk::abi::xen::hypercall::*;

#[domu_sdk::main]
fn main() {
    area("devices");
    physdev_pointers();
    interrupts();
    pci();
    eoi_page();
    device_models();
    kexec();
    hypfs();
    machine_checks();
    profiling();
    for number in [TMEM_OP, XSM_OP, ARGO_OP] {
        for command in 0..30_u64 {
            row!("none.{number}.{command}", call(number, [command, at(&[0_u64; 16]), 0, 0, 0]));
        }
    }
    done();
}

/// The answer, and in `words` what came back.
fn ask(command: u64, words: &mut [u64]) -> Answer {
    call(PHYSDEV_OP, [command, at_mut(words), 0, 0, 0])
}

fn physdev(command: u64, words: &[u64]) -> Answer {
    // What the hypervisor may write must not be a constant.
    let mut room = [0; 8];
    room[..words.len()].copy_from_slice(words);
    ask(command, &mut room)
}

fn physdev_pointers() {
    // Changes the I/O privilege level, so not with zeros: see the area `control`.
    for command in (0..34_u64).filter(|command| *command != 6 && *command != 7) {
        row!("physdev.{command}.null", call(PHYSDEV_OP, [command, 0, 0, 0, 0]));
        row!("physdev.{command}.hole", call(PHYSDEV_OP, [command, bad::HOLE, 0, 0, 0]));
        // Those that act on the interrupt controllers and devices of the machine are asked further down.
        if ![9, 15, 16, 20, 21, 24, 25, 26].contains(&command) {
            row!("physdev.{command}.zeros", physdev(command, &[0; 8]));
        }
    }
}

/// `domain`, `type`, `index`, `pirq`.
fn map(domain: u64, kind: u32, index: i32, pirq: i32) -> Answer {
    let words =
        [domain | u64::from(kind) << 32, u64::from(index as u32) | u64::from(pirq as u32) << 32, 0, 0, 0];
    physdev(13, &words)
}

fn unmap(domain: u64, pirq: i32) -> Answer {
    physdev(14, &[domain | u64::from(pirq as u32) << 32])
}

fn interrupts() {
    let own = u64::from(DOMID_SELF);
    for irq in [0_u64, 1, 4, 9, 15, 16, 23, 24, 47, 200, 0xffff, 0xffff_ffff] {
        let mut query = [irq];
        row!("status.{irq:#x}", ask(5, &mut query));
        row!("status.{irq:#x}.flags", Hex(fresh(&query[0]) >> 32));
        row!("eoi.{irq:#x}", physdev(12, &[irq]));
        row!("notify.{irq:#x}", physdev(4, &[irq]));
    }
    for (name, domain) in [("none", 0x6fff_u64), ("xen", 0x7ff2), ("big", 0xffff)] {
        row!("map.domain.{name}", map(domain, 1, 9, -1));
        row!("unmap.domain.{name}", unmap(domain, 9));
        row!("free.domain.{name}", physdev(23, &[domain]));
    }
    for kind in [0_u32, 2, 3, 4, 5, 6, 7, 0xffff_ffff] {
        row!("map.type.{kind:#x}", map(own, kind, 9, -1));
    }
    // A line of the interrupt controller beyond all, and a number beyond all.
    for index in [-1_i32, 1000, i32::MAX, i32::MIN] {
        row!("map.gsi.{index:#x}", map(own, 1, index, -1));
    }
    for pirq in [1_000_000_i32, i32::MAX] {
        row!("map.pirq.{pirq:#x}", map(own, 1, 9, pirq));
    }
    for pirq in [-1_i32, 0, 1, 9, 23, 200, 1_000_000, i32::MAX, i32::MIN] {
        row!("unmap.{pirq:#x}", unmap(own, pirq));
    }
    for kind in [0_u64, 1, 2, 3, 4, 99] {
        row!("free.type.{kind}", physdev(23, &[kind]));
    }
    for vector in [0_u64, 1, 9, 15, 16, 23, 200, 0xffff_ffff] {
        let mut request = [vector];
        row!("vector.alloc.{vector:#x}", ask(10, &mut request));
        row!("vector.alloc.{vector:#x}.vector", Hex(fresh(&request[0]) >> 32));
        row!("vector.free.{vector:#x}", physdev(11, &[vector]));
    }
    for gsi in [-1_i32, 1000, i32::MAX] {
        row!("setup.{gsi:#x}", physdev(21, &[u64::from(gsi as u32) | 1 << 32]));
    }
    row!("setup.triggering", physdev(21, &[9 | 9 << 32]));
    // An I/O APIC that is not there.
    for base in [0_u64, 0xfed0_0000, 0xfec0_1000, u64::MAX] {
        row!("apic.read.{base:#x}", physdev(8, &[base, 0]));
        row!("apic.write.{base:#x}", physdev(9, &[base, 0]));
    }
}

fn pci() {
    // A device that is not there, in a segment that is not there, and one with reserved flags.
    for (name, word) in
        [("none", 0xf8ff_0000_u64), ("segment", 0xf8ff_1234), ("flags", 0xf8ff_0000 | 0xff << 32)]
    {
        row!("pci.remove.{name}", physdev(26, &[word, 0]));
        row!("pci.prepare.{name}", physdev(30, &[word, 0]));
        row!("pci.release.{name}", physdev(31, &[word, 0]));
        row!("pci.restore.{name}", physdev(27, &[word, 0]));
    }
    for word in [0xf8ff_u64, 0xffff] {
        row!("pci.old-remove.{word:#x}", physdev(16, &[word]));
        row!("pci.old-restore.{word:#x}", physdev(19, &[word]));
    }
    // As a first domain tells each device that it finds, though there is nothing at these places.
    row!("pci.add", physdev(25, &[0xf8ff_0000, 0, 0]));
    row!("pci.old-add", physdev(15, &[0xf0ff]));
    row!("pci.old-add-more", physdev(20, &[0xe8ff, 0, 0]));
    row!("setup.line", physdev(21, &[9]));
    for operation in [0_u64, 3, 99] {
        row!("pci.debug-port.{operation}", physdev(29, &[operation, 0]));
    }
    row!("pci.mmcfg.bus", physdev(24, &[0, 0xff << 16 | 1 << 24, 0]));
    row!("pci.mmcfg.segment", physdev(24, &[0xe000_0000, 0x1234 | 0xff << 24, 0]));
}

/// The page in which the hypervisor tells which interrupts want an end-of-interrupt call.
fn eoi_page() {
    let frame = space::Frame::new();
    for command in [17_u64, 28] {
        for (name, mfn) in [("none", u64::MAX), ("beyond", 0x10_0000), ("foreign", space::foreign())] {
            row!("eoi-page.{command}.{name}", physdev(command, &[mfn]));
        }
    }
    let table = space::Frame::table();
    row!("eoi-page.pin", space::pin(1, table.mfn));
    row!("eoi-page.table", physdev(28, &[table.mfn]));
    row!("eoi-page.unpin", space::unpin(table.mfn));
    row!("eoi-page.own", physdev(28, &[frame.mfn]));
    row!("eoi-page.again", physdev(28, &[frame.mfn]));
    row!("eoi-page.other-form", physdev(17, &[frame.mfn]));
    row!("eoi-page.read-only", frame.read_only());
    row!("eoi-page.pinned", space::pin(1, frame.mfn));
    row!("eoi-page.written", Hex(frame.read(0)));
}

/// `domain`, number of buffers, their addresses and sizes.
fn device_models() {
    let dm = |domain: u64, buffers: &[u64], count: u64| call(DM_OP, [domain, count, at(buffers), 0, 0]);
    let operation = [0_u64; 8];
    let good = [at(&operation), 64];
    for (name, domain) in
        [("self", 0x7ff0_u64), ("first", 0), ("none", 0x6fff), ("xen", 0x7ff2), ("big", 0xffff)]
    {
        for count in [0_u64, 1, 2, 3, 4, 0xffff_ffff] {
            row!("dm.{name}.{count:#x}", dm(domain, &[good[0], good[1], 0, 0, 0, 0, 0, 0], count));
        }
        for (pointer, address) in bad::ALL {
            row!("dm.{name}.at.{pointer}", call(DM_OP, [domain, 1, address, 0, 0]));
            row!("dm.{name}.buffer.{pointer}", dm(domain, &[address, 64], 1));
        }
        for command in 0..24_u64 {
            let operation = [command, 0, 0, 0, 0, 0, 0, 0];
            row!("dm.{name}.op.{command}", dm(domain, &[at(&operation), 64], 1));
            row!("dm.{name}.op.{command}.short", dm(domain, &[at(&operation), 3], 1));
        }
    }
}

fn kexec() {
    for command in (0..8_u64).chain([0xffff_ffff]) {
        row!("kexec.{command}.null", call(KEXEC_OP, [command, 0, 0, 0, 0]));
        row!("kexec.{command}.hole", call(KEXEC_OP, [command, bad::HOLE, 0, 0, 0]));
        // Upstream does not survive images whose description is nonsense.
        if command > 2 && command != 4 {
            row!("kexec.{command}.zeros", call(KEXEC_OP, [command, at(&[0_u64; 16]), 0, 0, 0]));
            row!("kexec.{command}.ones", call(KEXEC_OP, [command, at(&[u64::MAX; 16]), 0, 0, 0]));
        }
    }
    for range in 0..8_u64 {
        let mut words = [range, 0, 0];
        row!("kexec.range.{range}", call(KEXEC_OP, [3, at_mut(&mut words), 0, 0, 0]));
        // The size; the start is the machine's.
        row!("kexec.range.{range}.size-known", fresh(&words[1]) != 0);
    }
    for kind in 0..3_u64 {
        let request = [kind];
        row!("kexec.status.{kind}", call(KEXEC_OP, [6, at(&request), 0, 0, 0]));
        row!("kexec.unload.{kind}", call(KEXEC_OP, [5, at(&request), 0, 0, 0]));
    }
}

/// Command, path, length of the path, buffer, length of the buffer.
fn hypfs() {
    let hypfs = |command: u64, path: u64, length: u64, buffer: u64, size: u64| {
        call(HYPFS_OP, [command, path, length, buffer, size])
    };
    let root = *b"/\0";
    let (none, long) = (*b"/nothing-there\0", [b'/'; 1200]);
    let mut room = [0_u8; 256];
    let room = at_mut(&mut room);
    row!("hypfs.version", hypfs(0, 0, 0, 0, 0));
    row!("hypfs.version.arguments", hypfs(0, 1, 1, 1, 1));
    for (name, path, length) in [
        ("root", at(&root), 2_u64),
        ("unterminated", at(&root), 1),
        ("empty", at(&root[1..]), 1),
        ("no-length", at(&root), 0),
        ("none", at(&none), 15),
        ("long", at(&long), 1200),
        ("null", 0, 2),
        ("hole", bad::HOLE, 2),
    ] {
        let read = hypfs(1, path, length, room, 256);
        row!("hypfs.read.{name}", read);
        row!("hypfs.read.{name}.small", hypfs(1, path, length, room, 1));
        row!("hypfs.read.{name}.null", hypfs(1, path, length, 0, 0));
        row!("hypfs.read.{name}.hole", hypfs(1, path, length, bad::HOLE, 256));
        row!("hypfs.write.{name}", hypfs(2, path, length, room, 8));
    }
}

fn machine_checks() {
    let mca = |command: u32, version: u32, words: &[u64; 8]| {
        let mut request = [0_u64; 16];
        request[0] = u64::from(command) | u64::from(version) << 32;
        request[1..9].copy_from_slice(words);
        call(ARCH_0, [at(&request), 0, 0, 0, 0])
    };
    for (name, address) in bad::ALL {
        row!("mca.at.{name}", call(ARCH_0, [address, 0, 0, 0, 0]));
    }
    for version in [0, 0x01ec_c002, 0x01ec_c004] {
        row!("mca.version.{version:#x}", mca(1, version, &[0; 8]));
    }
    for command in (0..9_u32).chain([u32::MAX]) {
        // Injection would stop the machine.
        if !(4..=6).contains(&command) {
            row!("mca.{command}.zeros", mca(command, 0x01ec_c003, &[0; 8]));
            row!("mca.{command}.ones", mca(command, 0x01ec_c003, &[u64::MAX; 8]));
        }
    }
    let mut report = [0_u64; 512];
    for flags in [0_u64, 1, 2, 3, 4, 5, 8] {
        let words = [flags, 0, at_mut(&mut report), 0, 0, 0, 0, 0];
        row!("mca.fetch-to.{flags}", mca(1, 0x01ec_c003, &words));
    }
    // Into a CPU that is not there, and of a kind that there is not.
    row!("mca.inject.registers", mca(4, 0x01ec_c003, &[999, 1, 0, 0, 0, 0, 0, 0]));
    row!("mca.inject.event", mca(5, 0x01ec_c003, &[999, 0, 0, 0, 0, 0, 0, 0]));
    row!("mca.inject.kind", mca(6, 0x01ec_c003, &[7, 0, 0, 0, 0, 0, 0, 0]));
    for flags in [1_u64, 2, 3, 4] {
        row!("mca.fetch.{flags}", mca(1, 0x01ec_c003, &[flags, 0, 0, 0, 0, 0, 0, 0]));
    }
}

fn profiling() {
    for command in (0..20_u64).chain([0xffff_ffff]) {
        row!("xenoprof.{command}.null", call(XENOPROF_OP, [command, 0, 0, 0, 0]));
        row!("xenoprof.{command}.hole", call(XENOPROF_OP, [command, bad::HOLE, 0, 0, 0]));
        let mut room = [0_u64; 32];
        row!("xenoprof.{command}.zeros", call(XENOPROF_OP, [command, at_mut(&mut room), 0, 0, 0]));
    }
}
