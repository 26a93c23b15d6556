//! Hypercalls that do not exist, and those that a first domain controls the machine with: versions, refusals, bad pointers.
//!
//! Run as first domain and as another one.
#![no_std]
#![no_main]

use conformance::{area, at, at_mut, bad, call, done, row};
use domu_sdk::abi::xen::hypercall::*;

#[domu_sdk::main]
fn main() {
    area("control");
    unknown();
    versions();
    hvm();
    physdev();
    small();
    older_forms();
    done();
}

fn unknown() {
    for number in
        [6_u64, 11, 16, 19, 43, 44, 45, 46, 47, 49, 50, 51, 52, 53, 54, 55].into_iter().chain(56..80)
    {
        // An operation that the old forms do not have.
        row!("unknown.{number}", call(number, [99, 0, 0, 0, 0]));
    }
    for number in [
        127_u64,
        128,
        255,
        1000,
        4096,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        1 << 32 | 17,
        1 << 63,
        1 << 63 | 17,
        u64::MAX,
    ] {
        row!("unknown.{number:#x}", call(number, [0; 5]));
    }
}

/// Words that look like an operation: command, version.
fn request(command: u32, version: u32, rest: u64) -> [u64; 20] {
    let mut words = [0; 20];
    words[0] = u64::from(command) | u64::from(version) << 32;
    words[1] = rest;
    words
}

fn versions() {
    for (name, number, good, unknown) in [
        ("domctl", DOMCTL, 0x15_u32, 1000_u32),
        ("sysctl", SYSCTL, 0x15, 1000),
        ("platform", PLATFORM_OP, 0x0300_0001, 1000),
    ] {
        for (pointer, address) in bad::ALL {
            row!("{name}.at.{pointer}", call(number, [address, 0, 0, 0, 0]));
        }
        for version in [0, good - 1, good, good + 1, u32::MAX] {
            for command in [0, 5, unknown] {
                // Domain 0x7000 does not exist; a domctl names it in its third word.
                let words = request(command, version, 0x7000);
                row!("{name}.version.{version:#x}.{command}", call(number, [at(&words), 0, 0, 0, 0]));
            }
        }
    }
    domctl();
    sysctl();
    platform();
}

/// Each domctl for domains that are not there, and for the caller.
fn domctl() {
    for command in 0..=90_u32 {
        // Those that act without a domain, or on the caller in a way it does not survive, are left out.
        if command == 1 || command == 83 {
            continue;
        }
        for domain in [0x7000_u64, 0x7ff1, 0x7ff2, 0xffff] {
            let words = request(command, 0x15, domain);
            row!("domctl.{command}.{domain:#x}", call(DOMCTL, [at(&words), 0, 0, 0, 0]));
        }
    }
    for command in [2_u32, 3, 4, 26, 51, 62] {
        let words = request(command, 0x15, 0x7ff0);
        row!("domctl.{command}.self", call(DOMCTL, [at(&words), 0, 0, 0, 0]));
    }
}

/// Each sysctl with an empty body, but those that change the machine.
fn sysctl() {
    for command in [2_u32, 3, 6, 8, 13, 16, 17, 21, 23, 25, 26, 30, 31, 99] {
        let words = request(command, 0x15, 0);
        row!("sysctl.{command}", call(SYSCTL, [at(&words), 0, 0, 0, 0]));
    }
}

fn platform() {
    for command in [0_u32, 31, 32, 33, 34, 35, 41, 42, 64, 65, 99] {
        let words = request(command, 0x0300_0001, 0);
        row!("platform.{command}", call(PLATFORM_OP, [at(&words), 0, 0, 0, 0]));
    }
}

fn hvm() {
    for command in 0..=30_u64 {
        row!("hvm.{command}.null", call(HVM_OP, [command, 0, 0, 0, 0]));
        let own = [0x7ff0_u64, 0, 0, 0];
        row!("hvm.{command}.self", call(HVM_OP, [command, at(&own), 0, 0, 0]));
        let other = [0x7000_u64, 0, 0, 0];
        row!("hvm.{command}.other", call(HVM_OP, [command, at(&other), 0, 0, 0]));
    }
    for parameter in [0_u64, 1, 4, 12, 19, 37, 38, 99, 0xffff_ffff] {
        let get = [0x7ff0 | parameter << 32, 0];
        row!("hvm.get-parameter.{parameter}", call(HVM_OP, [1, at(&get), 0, 0, 0]));
    }
}

fn physdev() {
    let buffer = [0_u64; 8];
    for command in [0_u64, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 20, 22, 25, 32, 33, 99, 0xffff_ffff] {
        row!("physdev.{command}.null", call(PHYSDEV_OP, [command, 0, 0, 0, 0]));
    }
    for iopl in [0_u64, 1, 2, 3, 4, 0xffff_ffff] {
        row!("physdev.iopl.{iopl:#x}", call(PHYSDEV_OP, [6, at(&[iopl]), 0, 0, 0]));
    }
    row!("physdev.iopl.back", call(PHYSDEV_OP, [6, at(&[0_u64]), 0, 0, 0]));
    for ports in [0_u64, 1, 65536, 65537, 0xffff_ffff] {
        row!("physdev.iobitmap.{ports:#x}", call(PHYSDEV_OP, [7, at(&[at(&buffer), ports]), 0, 0, 0]));
        row!("physdev.iobitmap.hole.{ports:#x}", call(PHYSDEV_OP, [7, at(&[bad::HOLE, ports]), 0, 0, 0]));
    }
    row!("physdev.iobitmap.none", call(PHYSDEV_OP, [7, at(&[0_u64, 0]), 0, 0, 0]));
    for irq in [0_u64, 1, 15, 200, 0xffff, 0xffff_ffff] {
        row!("physdev.status.{irq:#x}", call(PHYSDEV_OP, [5, at(&[irq]), 0, 0, 0]));
        row!("physdev.eoi.{irq:#x}", call(PHYSDEV_OP, [12, at(&[irq]), 0, 0, 0]));
        row!("physdev.unmap.{irq:#x}", call(PHYSDEV_OP, [14, at(&[0x7ff0 | irq << 32]), 0, 0, 0]));
    }
}

/// The forms that calls had before, with command and arguments in one structure.
fn older_forms() {
    // Yield; a port that is not there; a port of its own; the I/O privilege level.
    row!("older.sched", call(SCHED_OP_COMPAT, [0, 0, 0, 0, 0]));
    row!("older.sched.unknown", call(SCHED_OP_COMPAT, [77, 0, 0, 0, 0]));
    let mut event = [4_u64, 0, 0, 0, 0, 0];
    row!("older.event.send", call(EVENT_CHANNEL_OP_COMPAT, [at_mut(&mut event), 0, 0, 0, 0]));
    event = [6 | 0x7ff0_7ff0 << 32, 0, 0, 0, 0, 0];
    row!("older.event.alloc", call(EVENT_CHANNEL_OP_COMPAT, [at_mut(&mut event), 0, 0, 0, 0]));
    row!("older.event.alloc.port", conformance::fresh(&event[1]) != 0);
    event = [3 | (conformance::fresh(&event[1]) & 0xffff_ffff) << 32, 0, 0, 0, 0, 0];
    row!("older.event.close", call(EVENT_CHANNEL_OP_COMPAT, [at_mut(&mut event), 0, 0, 0, 0]));
    let mut device = [6_u64, 0, 0, 0];
    row!("older.device.level", call(PHYSDEV_OP_COMPAT, [at_mut(&mut device), 0, 0, 0, 0]));
    device = [6, 9, 0, 0];
    row!("older.device.level.beyond", call(PHYSDEV_OP_COMPAT, [at_mut(&mut device), 0, 0, 0, 0]));
    device = [99, 0, 0, 0];
    row!("older.device.unknown", call(PHYSDEV_OP_COMPAT, [at_mut(&mut device), 0, 0, 0, 0]));
    for (name, address) in bad::ALL {
        row!("older.event.at.{name}", call(EVENT_CHANNEL_OP_COMPAT, [address, 0, 0, 0, 0]));
        row!("older.device.at.{name}", call(PHYSDEV_OP_COMPAT, [address, 0, 0, 0, 0]));
    }
}

/// Calls with few operations.
fn small() {
    let buffer = [0_u64; 16];
    for (name, number, commands) in [
        ("nmi", NMI_OP, 4_u64),
        ("xsm", XSM_OP, 2),
        ("xenpmu", XENPMU_OP, 8),
        ("kexec", KEXEC_OP, 8),
        ("tmem", TMEM_OP, 3),
        ("argo", ARGO_OP, 6),
        ("hypfs", HYPFS_OP, 6),
        ("dm", DM_OP, 3),
        ("xenoprof", XENOPROF_OP, 3),
        ("mca", ARCH_0, 1),
    ] {
        for command in 0..commands {
            row!("{name}.{command}.null", call(number, [command, 0, 0, 0, 0]));
            row!("{name}.{command}.hole", call(number, [command, bad::HOLE, 0, 0, 0]));
            if number != KEXEC_OP || command > 3 {
                row!("{name}.{command}", call(number, [command, at(&buffer), 0, 0, 0]));
            }
        }
        row!("{name}.unknown", call(number, [0xffff_ffff, at(&buffer), 0, 0, 0]));
    }
    for (name, address) in [
        ("image", 0xffff_ffff_8010_0000_u64),
        ("null", 0),
        ("hole", bad::HOLE),
        ("non-canonical", bad::NON_CANONICAL),
    ] {
        row!("nmi.register.{name}", call(NMI_OP, [0, at(&[address, 0]), 0, 0, 0]));
    }
    row!("nmi.unregister", call(NMI_OP, [1, 0, 0, 0, 0]));
    row!("nmi.unregister-again", call(NMI_OP, [1, 0, 0, 0, 0]));
}
