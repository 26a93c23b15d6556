//! Hands the loader's modules to the core's builder and starts the first domain.

use alloc::borrow::Cow;
use alloc::string::String;
use core::sync::atomic::Ordering;

use kernel_image::layout::Layout;
use xen_lite_core::addr::Mfn;
use xen_lite_core::build::{self, Request, TextScreen};
use xen_lite_core::cmdline::CommandLine;
use xen_lite_core::platform::Platform;

use super::info::{BootInfo, Module};
use super::refuse;
use crate::cpu::percpu;
use crate::hypervisor::hv;
use crate::memory::PAGE;
use crate::{layout, platform, time};

/// Frames that stay free when `dom0_mem` does not say how much the first domain gets.
const KEPT_FREE: u64 = 4096;

/// Bytes that a kernel may have when unpacked.
const LARGEST_KERNEL: usize = 256 << 20;

/// The bytes of a module, in the direct map.
fn bytes(module: &Module) -> &'static [u8] {
    let size = module.end.saturating_sub(module.start) as usize;
    // SAFETY: S-12: the module's memory is RAM that was kept out of the free ranges; nobody writes it before `give_back`.
    unsafe { core::slice::from_raw_parts(layout::direct(module.start) as *const u8, size) }
}

/// Builds and unpauses the first domain. `since` is the TSC when the image began to run.
pub fn start(boot: &BootInfo, line: &CommandLine, since: u64) {
    let Some(kernel) = boot.modules.first() else {
        refuse("the loader passed no module; the first one must be the kernel of the first domain")
    };
    let initrd = boot.modules.get(1);
    let elf: Cow<'_, [u8]> = match kernel_image::unpack(bytes(kernel), LARGEST_KERNEL) {
        Ok(elf) => elf,
        Err(error) => refuse(&alloc::format!("first domain's kernel: {error}")),
    };
    let free = hv().frames.free_frames();
    let options = &line.options;
    let memory = options.dom0_mem.at_start(free.saturating_sub(KEPT_FREE) * PAGE);
    let mut command_line = kernel.arguments.clone();
    if !line.dom0_extra.is_empty() {
        command_line = join(&command_line, &line.dom0_extra);
    }
    let request = Request {
        elf: &elf,
        initrd: initrd.map_or(&[], bytes),
        command_line: &command_line,
        frames: memory / PAGE,
        max_frames: options.dom0_mem.maximum(free * PAGE).map_or(u64::MAX, |bytes| bytes / PAGE),
        vcpus: options.dom0_max_vcpus.for_cpus(percpu::count()),
        screen: screen(),
    };
    let built = match build::first_domain(hv(), &request) {
        Ok(built) => built,
        Err(error) => refuse(&alloc::format!("first domain: {error}")),
    };
    for warning in &built.warnings {
        log::warn!("first domain: {warning}");
    }
    log_layout(&built.layout, &request);
    platform::kick(built.effects.kick);
    drop(elf);
    boot.modules.iter().for_each(give_back);
    log::info!("Free memory: {} KiB", hv().frames.free_frames() * 4);
    let ticks = time::tsc() - since;
    log::info!(
        "Starting the first domain after {} ms ({ticks} ticks of the TSC)",
        ticks / u64::from(time::khz())
    );
    built.domain.paused_by_controller.store(0, Ordering::Release);
    let started = hv().sched.unpause_domain(hv(), &built.domain);
    platform::kick(started.kick);
}

/// The screen, if a BIOS left it in text mode: its data area (at 0x400) tells.
fn screen() -> Option<TextScreen> {
    const TEXT_MODE: u8 = 3;
    let has_bios_data = |&(start, size, kind): &(u64, u64, u32)| start == 0 && size >= PAGE && kind == 1;
    if !hv().config.memory_map.iter().any(has_bios_data) {
        return None;
    }
    let mut area = [0; 0x100];
    hv().platform.load_bytes(Mfn::new(0), 0x400, &mut area);
    let screen = TextScreen {
        columns: u16::from_le_bytes([area[0x4a], area[0x4b]]),
        rows: u16::from(area[0x84]) + 1,
        font_height: u16::from(area[0x85]),
        cursor: (area[0x50].into(), area[0x51].into()),
    };
    let fits = area[0x49] == TEXT_MODE && screen.columns == 80 && matches!(screen.font_height, 8 | 14 | 16);
    fits.then_some(screen)
}

fn join(first: &str, second: &str) -> String {
    let mut text = String::from(first);
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(second);
    text
}

fn log_layout(layout: &Layout, request: &Request<'_>) {
    let (frames, vcpus) = (request.frames, request.vcpus);
    log::info!("Dom0 has {} MiB ({frames:#x} frames), {vcpus} vCPU(s)", (frames * PAGE) >> 20);
    log::info!("Dom0 layout: {:#x}-{:#x}", layout.virt_base, layout.v_end);
    let parts = [
        ("kernel", Some(layout.kernel)),
        ("initrd", layout.initrd),
        ("p2m", Some(layout.p2m)),
        ("start_info", Some(layout.start_info)),
        ("page tables", Some(layout.tables)),
        ("boot stack", Some(layout.stack)),
    ];
    for (name, region) in parts {
        let Some(region) = region else { continue };
        match region.va {
            Some(va) => log::info!(" {name:<12} {va:#018x}-{:#018x}", va.wrapping_add(region.pages * PAGE)),
            None => log::info!(" {name:<12} not mapped, {} pages from pfn {:#x}", region.pages, region.pfn),
        }
    }
}

/// Gives a module's memory to the heap of frames. Its first and last page are its own, as the loader aligned it.
fn give_back(module: &Module) {
    hv().frames.add_free(Mfn::new(module.start / PAGE)..Mfn::new(module.end.div_ceil(PAGE)));
}
