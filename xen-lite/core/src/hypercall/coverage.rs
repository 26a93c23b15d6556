//! What is supported, as data; `docs/abi-coverage.md` is made from it.
//!
//! Two lists meet here. [`ops`] names every sub-operation of the public headers, whether or not anybody wrote it. The `SUBS` of
//! the shims say which of them are answered, and how far; [`left_out`] has the reasons for the others. [`page::page`] puts them side
//! by side. A test compares the page with the file, so that a new shim cannot forget it.

pub mod control;
pub mod guest;
pub mod left_out;
pub mod page;

use abi::xen::hypercall as number;

/// How far a sub-operation is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As the public header says.
    Full,
    /// In part; the text says what is missing.
    Partial(&'static str),
    /// Refused, with upstream's errno; the text says why.
    Refused(&'static str),
}

/// A sub-operation of a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sub {
    /// Its number.
    pub number: u32,
    /// Its name in the public header.
    pub name: &'static str,
    /// How far it is supported.
    pub state: State,
}

/// A sub-operation that is fully supported.
pub const fn full(number: u32, name: &'static str) -> Sub {
    Sub { number, name, state: State::Full }
}

/// A sub-operation that is supported in part.
pub const fn partial(number: u32, name: &'static str, missing: &'static str) -> Sub {
    Sub { number, name, state: State::Partial(missing) }
}

/// A sub-operation that is refused.
pub const fn refused(number: u32, name: &'static str, why: &'static str) -> Sub {
    Sub { number, name, state: State::Refused(why) }
}

/// A sub-operation of the public headers: its number and its name.
pub type Op = (u32, &'static str);

/// All sub-operations of hypercall `hypercall`, in the order of their numbers; none for one that does a single thing, and for
/// the older forms, whose operations are those of the newer.
pub const fn ops(hypercall: u64) -> &'static [Op] {
    match hypercall {
        number::MMU_UPDATE => guest::MMU_UPDATE,
        number::PLATFORM_OP => control::PLATFORM,
        number::MEMORY_OP => guest::MEMORY,
        number::XEN_VERSION => guest::VERSION,
        number::CONSOLE_IO => guest::CONSOLE,
        number::GRANT_TABLE_OP => guest::GRANT_TABLE,
        number::VM_ASSIST => guest::VM_ASSIST,
        number::VCPU_OP => guest::VCPU,
        number::SET_SEGMENT_BASE => guest::SEGMENT_BASE,
        number::MMUEXT_OP => guest::MMUEXT,
        number::XSM_OP => control::XSM,
        number::NMI_OP => guest::NMI,
        number::SCHED_OP => guest::SCHED,
        number::CALLBACK_OP => guest::CALLBACK,
        number::XENOPROF_OP => guest::XENOPROF,
        number::EVENT_CHANNEL_OP => guest::EVENT_CHANNEL,
        number::PHYSDEV_OP => guest::PHYSDEV,
        number::HVM_OP => guest::HVM,
        number::SYSCTL => control::SYSCTL,
        number::DOMCTL => control::DOMCTL,
        number::KEXEC_OP => control::KEXEC,
        number::ARGO_OP => guest::ARGO,
        number::XENPMU_OP => guest::XENPMU,
        number::DM_OP => control::DM,
        number::HYPFS_OP => control::HYPFS,
        number::ARCH_0 => guest::MACHINE_CHECK,
        _ => &[],
    }
}
