//! What the boot loader says, in one form for both multiboot protocols.
//!
//! The loader's structures lie in memory that is free for use afterwards, so all of it is copied out first. Nothing in it is
//! trusted beyond "the addresses named by the protocol are readable": numbers are checked where they are used.

use alloc::string::String;
use alloc::vec::Vec;

use crate::layout::direct;

/// Most entries of a memory map that are looked at.
pub const MAX_REGIONS: usize = 64;
/// Most modules.
pub const MAX_MODULES: usize = 8;

/// RAM that may be used (`E820_RAM`).
pub const TYPE_RAM: u32 = 1;

/// A stretch of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// E820 type.
    pub kind: u32,
}

/// A file that the loader put into memory.
#[derive(Clone, Debug)]
pub struct Module {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// The text that came with it, without the file's name.
    pub arguments: String,
}

/// Everything that the loader told.
#[derive(Debug, Default)]
pub struct BootInfo {
    /// "multiboot" or "multiboot2".
    pub protocol: &'static str,
    /// Name of the loader.
    pub loader: String,
    /// Command line as the loader gave it.
    pub command_line: String,
    /// Memory map in the loader's order.
    pub regions: Vec<Region>,
    /// Modules; the first is the first domain's kernel.
    pub modules: Vec<Module>,
    /// Physical address of a copy of the ACPI root pointer, if the loader gives one.
    pub rsdp: Option<u64>,
}

const MB1_MAGIC: u32 = 0x2bad_b002;
const MB2_MAGIC: u32 = 0x36d7_6289;

impl BootInfo {
    /// Reads the loader's structures at physical address `info`.
    ///
    /// # Errors
    /// A text for the console when the loader or its structures are not understood.
    #[inline(never)]
    pub fn read(magic: u32, info: u32) -> Result<BootInfo, &'static str> {
        match magic {
            MB1_MAGIC => Ok(read_multiboot1(u64::from(info))),
            MB2_MAGIC => read_multiboot2(u64::from(info)),
            _ => Err("the loader's magic number is not that of multiboot 1 or 2"),
        }
    }

    /// The command line without the image's name.
    pub fn options(&self) -> &str {
        arguments(&self.loader, &self.command_line)
    }
}

/// Reads a 32-bit word of physical memory below 4 GiB.
fn word(address: u64) -> u32 {
    // SAFETY: S-10: the boot page tables map the first 4 GiB, and the protocol gives the address.
    unsafe { core::ptr::read_unaligned(direct(address) as *const u32) }
}

/// Longest text that is taken from the loader.
const MAX_TEXT: u64 = 4096;

/// Copies a string that ends in a zero byte.
fn string(address: u64) -> String {
    let mut text = String::new();
    for at in address..address + MAX_TEXT {
        // SAFETY: S-10: the string lies below 4 GiB, which the boot page tables map.
        let byte = unsafe { core::ptr::read(direct(at) as *const u8) };
        if byte == 0 {
            break;
        }
        text.push(char::from(byte));
    }
    text
}

/// The arguments in a loader's text: GRUB 2 passes these alone, other loaders put the file's name in front.
fn arguments<'t>(loader: &str, text: &'t str) -> &'t str {
    let text = text.trim();
    let rest =
        if loader.starts_with("GRUB 2") { text } else { text.split_once(' ').map_or("", |(_, rest)| rest) };
    rest.trim_start()
}

fn read_multiboot1(info: u64) -> BootInfo {
    let flags = word(info);
    let has = |bit: u32| flags & (1 << bit) != 0;
    let mut boot = BootInfo { protocol: "multiboot", ..BootInfo::default() };
    if has(9) {
        boot.loader = string(u64::from(word(info + 64)));
    }
    if has(2) {
        boot.command_line = string(u64::from(word(info + 16)));
    }
    if has(3) {
        let first = u64::from(word(info + 24));
        for i in 0..u64::from(word(info + 20)).min(MAX_MODULES as u64) {
            let at = first + 16 * i;
            let text = string(u64::from(word(at + 8)));
            boot.modules.push(Module {
                start: u64::from(word(at)),
                end: u64::from(word(at + 4)),
                arguments: String::from(arguments(&boot.loader, &text)),
            });
        }
    }
    if has(6) {
        let start = u64::from(word(info + 48));
        let end = start + u64::from(word(info + 44));
        let wide = |at: u64| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let mut at = start;
        while at + 24 <= end {
            push_region(&mut boot, wide(at + 4), wide(at + 12), word(at + 20));
            at += u64::from(word(at)) + 4;
        }
    }
    boot
}

fn push_region(boot: &mut BootInfo, start: u64, size: u64, kind: u32) {
    let region = Region { start, end: start.saturating_add(size), kind };
    if boot.regions.len() >= MAX_REGIONS {
        log::warn!("memory map: entry at {start:#x} ignored, only {MAX_REGIONS} entries are looked at");
    } else if size > 0 {
        boot.regions.push(region);
    }
}

fn read_multiboot2(address: u64) -> Result<BootInfo, &'static str> {
    let header = direct(address) as *const multiboot2::BootInformationHeader;
    // SAFETY: S-10: the loader put its information there, below 4 GiB; it is not changed while this value lives.
    let info = unsafe { multiboot2::BootInformation::load(header) };
    let info = info.map_err(|_| "the multiboot 2 information is damaged")?;
    let mut boot = BootInfo { protocol: "multiboot2", ..BootInfo::default() };
    if let Some(name) = info.boot_loader_name_tag().and_then(|tag| tag.name().ok()) {
        boot.loader = String::from(name);
    }
    if let Some(text) = info.command_line_tag().and_then(|tag| tag.cmdline().ok()) {
        boot.command_line = String::from(text);
    }
    for module in info.module_tags().take(MAX_MODULES) {
        boot.modules.push(Module {
            start: u64::from(module.start_address()),
            end: u64::from(module.end_address()),
            arguments: String::from(arguments(&boot.loader, module.cmdline().unwrap_or(""))),
        });
    }
    if let Some(map) = info.memory_map_tag() {
        for area in map.memory_areas() {
            push_region(&mut boot, area.start_address(), area.size(), u32::from(area.typ()));
        }
    }
    boot.rsdp = info
        .rsdp_v2_tag()
        .map(|tag| core::ptr::from_ref(tag).cast::<u8>() as u64)
        .or_else(|| info.rsdp_v1_tag().map(|tag| core::ptr::from_ref(tag).cast::<u8>() as u64))
        .map(|tag| tag + 8 - crate::layout::DIRECT);
    Ok(boot)
}
