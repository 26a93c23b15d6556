//! Which sub-operations were asked, and how they were answered.
//!
//! [`call`](crate::call) notes each call here, and [`done`](crate::done) prints one line for each hypercall: `SEEN 24 0+- 3+` says that
//! of hypercall 24 sub-operation 0 was carried out and was refused, and that sub-operation 3 was carried out. The runner compares that
//! with the page of what is supported: what the page calls supported has been seen to work and to be refused.
//!
//! Where the sub-operation is a field of a structure, it is read from there if the structure lies in the kernel's image, as
//! variables and stacks do. Calls within a multicall are not noted.

use core::sync::atomic::{AtomicU8, Ordering};
use domu_sdk::abi::xen::hypercall::*;

/// Hypercalls that are noted.
const CALLS: usize = 64;
/// Sub-operations of each.
const SUBS: usize = 128;
/// Where the noting of sub-operations goes on behind a gap in their numbers: those of debuggers.
const GAP: (u64, u64) = (1000, 120);

/// Carried out.
const WORKED: u8 = 1;
/// Answered with an error.
const REFUSED: u8 = 2;

static SEEN: [[AtomicU8; SUBS]; CALLS] = [const { [const { AtomicU8::new(0) }; SUBS] }; CALLS];

/// Hypercalls whose first argument is the sub-operation.
const BY_ARGUMENT: &[u64] = &[
    XEN_VERSION,
    CONSOLE_IO,
    GRANT_TABLE_OP,
    VCPU_OP,
    SET_SEGMENT_BASE,
    XSM_OP,
    NMI_OP,
    SCHED_OP,
    CALLBACK_OP,
    XENOPROF_OP,
    EVENT_CHANNEL_OP,
    PHYSDEV_OP,
    HVM_OP,
    KEXEC_OP,
    ARGO_OP,
    XENPMU_OP,
    HYPFS_OP,
];

/// Where variables and stacks lie.
const IMAGE: core::ops::Range<u64> = 0xffff_ffff_8010_0000..0xffff_ffff_8800_0000;

/// Notes a call and its answer.
pub fn note(number: u64, arguments: &[u64; 5], operation: Option<u64>, answer: i64) {
    let operation = operation.unwrap_or(match number {
        VM_ASSIST => arguments[1],
        // Bits above are where a long operation goes on.
        MEMORY_OP => arguments[0] & 0x3f,
        _ if BY_ARGUMENT.contains(&number) => arguments[0],
        _ => 0,
    });
    let operation = if operation >= GAP.0 { operation.wrapping_sub(GAP.0) + GAP.1 } else { operation };
    let found = SEEN.get(number as usize).and_then(|row| row.get(operation as usize));
    if let Some(seen) = found {
        let refused = (-4095..0).contains(&answer);
        seen.fetch_or(if refused { REFUSED } else { WORKED }, Ordering::Relaxed);
    }
}

/// The operation that a structure names, where one does and can be read. To be asked before the call, which may change it.
pub fn operation(number: u64, arguments: &[u64; 5]) -> Option<u64> {
    let word = match number {
        DOMCTL | SYSCTL | PLATFORM_OP | MMUEXT_OP | ARCH_0 => word_at(arguments[0]) & 0xffff_ffff,
        MMU_UPDATE => word_at(arguments[0]) & 3,
        // A domain, the number of buffers, their addresses and sizes; the first of them begins with the operation.
        DM_OP if arguments[1] > 0 => word_at(word_at(arguments[2])) & 0xffff_ffff,
        _ => return None,
    };
    Some(word)
}

fn word_at(address: u64) -> u64 {
    if !IMAGE.contains(&address) {
        // No operation has this number.
        return u64::MAX;
    }
    let word = core::ptr::with_exposed_provenance::<u64>(address as usize);
    // SAFETY: the kernel's own memory, which is mapped where variables and stacks are; guard pages are not asked about.
    unsafe { word.read_unaligned() }
}

/// Prints what was noted.
pub fn print() {
    for (number, row) in SEEN.iter().enumerate() {
        let mut line = alloc::string::String::new();
        for (index, seen) in row.iter().enumerate() {
            let operation = if index as u64 >= GAP.1 { index as u64 - GAP.1 + GAP.0 } else { index as u64 };
            let marks = match seen.load(Ordering::Relaxed) {
                0 => continue,
                WORKED => "+",
                REFUSED => "-",
                _ => "+-",
            };
            line.push_str(&alloc::format!(" {operation}{marks}"));
        }
        if !line.is_empty() {
            domu_sdk::console::write(alloc::format!("SEEN {number}{line}\n").as_bytes());
        }
    }
}
