//! Fuzz targets: functions that take bytes, do something with them, and panic when a promise is broken.
//!
//! The bodies are ordinary safe code so that they run everywhere: under `cargo test`, which replays the corpora in
//! `fuzz/corpus`; in the loop of this crate's program, which makes up inputs from a seed; and in libFuzzer, if somebody
//! wraps [`Target::run`] in its macro. `docs/fuzzing.md` says how to run them.
//!
//! The targets that drive a hypervisor ([`machine`]) ask the auditor after the calls, and at the end destroy every domain and
//! count the free frames: what is not visible as a panic shows there.
#![forbid(unsafe_code)]

pub mod corpus;
pub mod machine;
pub mod targets;

/// Something to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also its corpus folder's.
    pub name: &'static str,
    /// What it does with one input; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Longest input that makes sense, in bytes.
    pub longest: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "calls", run: targets::calls::all, longest: 4096 },
    Target { name: "tables", run: targets::calls::tables, longest: 2048 },
    Target { name: "grants", run: targets::calls::grants, longest: 2048 },
    Target { name: "events", run: targets::calls::events, longest: 1024 },
    Target { name: "domctl", run: targets::calls::domctl, longest: 2048 },
    Target { name: "decoder", run: targets::emulator::decoder, longest: 32 },
    Target { name: "emulator", run: targets::emulator::emulator, longest: 256 },
    Target { name: "table-store", run: targets::emulator::table_store, longest: 256 },
    Target { name: "kernel-elf", run: targets::parsers::kernel_elf, longest: 4096 },
    Target { name: "kernel-packed", run: targets::parsers::kernel_packed, longest: 4096 },
    Target { name: "command-line", run: targets::parsers::command_line, longest: 512 },
    Target { name: "xenstore", run: targets::store::messages, longest: 2048 },
    Target { name: "xenstore-ring", run: targets::store::ring, longest: 2048 },
    Target { name: "cpio", run: targets::parsers::cpio, longest: 1024 },
    Target { name: "config", run: targets::parsers::config, longest: 512 },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
