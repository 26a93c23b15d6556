//! The one object that holds everything.

use crate::domain::Domains;
use crate::frame::FrameTable;
use crate::platform::Platform;
use crate::sched::Scheduler;

/// All state of the hypervisor. There is one in the image, and one for each test.
#[derive(Debug)]
pub struct Hypervisor<P: Platform> {
    /// The machine.
    pub platform: P,
    /// Owners, counts and types of all frames, and the free ones.
    pub frames: FrameTable,
    /// All domains.
    pub domains: Domains,
    /// Numbers for new domains.
    pub next_id: crate::control::lifecycle::NextId,
    /// Run queues.
    pub sched: Scheduler,
    /// What the command line and the machine settled at boot.
    pub config: Config,
    /// The log that `dmesg` shows.
    pub log: crate::console::Log,
}

/// Settled at boot, never changed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of XSAVE area that a vCPU needs.
    pub fpu_bytes: usize,
    /// The command line, as `xen_version` and `xl info` show it.
    pub command_line: alloc::string::String,
    /// What identifies the build (`XENVER_build_id`); empty: nothing does.
    pub build_id: alloc::vec::Vec<u8>,
    /// What is done about the CPU's weaknesses.
    pub speculation: crate::speculation::Policy,
    /// Do not reset after a panic or when Dom0 crashes.
    pub noreboot: bool,
    /// The machine's memory map as the loader gave it: start, length, E820 type.
    pub memory_map: alloc::vec::Vec<(u64, u64, u32)>,
    /// Frames of the machine's RAM in all.
    pub total_frames: u64,
    /// Whether the loglevel of guests lets their errors be printed.
    pub guest_log: bool,
}
