//! Area `boot`: what a kernel finds when it starts: the start-of-day page, the list of its frames, the tables that it was given.
#![no_std]
#![no_main]

use conformance::cliff::look;
use conformance::space::{Frame, own_id, root};
use conformance::{area, call, done, put, shared};
use domu_sdk::abi::memory::MemoryDomain;
use domu_sdk::abi::xen::hypercall::MEMORY_OP;
use domu_sdk::abi::xen::{Dom0VgaConsoleInfo, MACH2PHYS_VIRT_START, SIF_INITDOMAIN, StartInfo};
use domu_sdk::memory::layout::{DIRECT_BASE, IMAGE_BASE};
use domu_sdk::{memory, start};

fn size(command: u64) -> i64 {
    let mut me = MemoryDomain { domid: 0x7ff0 };
    call(MEMORY_OP, [command, conformance::at_mut(&mut me), 0, 0, 0]).0
}

fn page() -> &'static StartInfo {
    start::info()
}

fn fields() {
    let info = page();
    let end = info.magic.iter().position(|byte| *byte == 0).unwrap_or(32);
    put!("magic", "{}", core::str::from_utf8(&info.magic[..end]).unwrap_or("?"));
    put!("magic.rest", "{}", info.magic[end..].iter().all(|byte| *byte == 0));
    put!("flags", "{:#x}", info.flags);
    put!("pages.is-reservation", "{}", info.nr_pages as i64 - size(3));
    put!("shared-info.aligned", "{}", info.shared_info % 4096);
    put!("store", "{} {}", info.store_mfn != 0, info.store_evtchn);
    if info.flags & SIF_INITDOMAIN != 0 {
        let screen = info.as_dom0();
        put!("console", "{:#x} {:#x}", screen.info_off, screen.info_size);
        show_screen(screen.info_off.into());
    } else {
        let console = info.as_dom_u();
        put!("console", "{} {}", console.mfn != 0, console.evtchn);
    }
    put!("tables.frames", "{}", info.nr_pt_frames);
    put!("tables.aligned", "{}", info.pt_base % 4096);
    put!("list.aligned", "{}", info.mfn_list % 4096);
    put!("list.frames", "{}", info.nr_p2m_frames);
    put!("module", "{} {}", info.mod_start != 0, info.mod_len);
    let end = info.cmd_line.iter().position(|byte| *byte == 0).unwrap_or(0);
    put!("line.rest", "{}", info.cmd_line[end..].iter().all(|byte| *byte == 0));
}

/// The description of the screen in the start-of-day page, which is found by how it begins.
fn show_screen(offset: u64) {
    let info = page();
    let begins = |pfn: &u64| {
        let at = DIRECT_BASE + pfn * 4096;
        look::<[u8; 32]>(at) == info.magic && look::<u64>(at + 32) == info.nr_pages
    };
    let Some(pfn) = (0..info.nr_pages).find(begins) else { return put!("screen", "not found") };
    let screen: Dom0VgaConsoleInfo = look(DIRECT_BASE + pfn * 4096 + offset);
    let text = screen.as_text_mode_3();
    put!("screen", "{} {} by {} font {}", screen.video_type, text.columns, text.rows, text.font_height);
}

/// Where things are, one behind the other.
fn layout() {
    let info = page();
    let order = [("list", info.mfn_list), ("tables", info.pt_base)];
    let list_pages = (info.nr_pages * 8).div_ceil(4096);
    put!("layout.list-first", "{}", order[0].1 < order[1].1);
    put!("layout.between", "{:#x}", info.pt_base.wrapping_sub(info.mfn_list).wrapping_sub(list_pages * 4096));
    put!("layout.list-above-image", "{}", info.mfn_list > IMAGE_BASE);
}

fn m2p(mfn: u64) -> u64 {
    memory::probe(MACH2PHYS_VIRT_START + mfn * 8).unwrap_or(0)
}

/// The list of frames and the table of the machine's agree.
fn numbers() {
    let info = page();
    let mut wrong = 0_u64;
    let mut same = 0_u64;
    for pfn in 0..info.nr_pages {
        let mfn = memory::machine_frame(domu_sdk::types::Pfn(pfn)).map_or(u64::MAX, |mfn| mfn.0);
        wrong += u64::from(m2p(mfn) != pfn);
        same += u64::from(mfn == pfn);
    }
    put!("numbers.wrong", "{wrong}");
    put!("numbers.same-as-machine", "{}", same == info.nr_pages);
    put!("numbers.shared-info", "{}", m2p(info.shared_info >> 12) == u64::MAX);
    put!("numbers.maximum", "{}", size(4) >= size(3));
}

/// The first tables: flags of the entries on the way to some addresses. The kernel has tables of its own by now, so only what it kept is seen.
fn tables() {
    let info = page();
    let first = (info.pt_base - IMAGE_BASE) / 4096;
    put!(
        "tables.root-is-first",
        "{}",
        root() == memory::machine_frame(domu_sdk::types::Pfn(first)).map_or(0, |mfn| mfn.0)
    );
    put!("tables.pinned", "{}", conformance::space::pin(4, root()));
    let mut counts = [0_u64; 5];
    for pfn in first..first + info.nr_pt_frames {
        let entry = memory::page_table_entry(DIRECT_BASE + pfn * 4096).unwrap_or(0);
        counts[usize::from(entry & 2 != 0)] += 1;
    }
    put!("tables.writable", "{}", counts[1]);
    let word = |index: u64| -> u64 { look(DIRECT_BASE + first * 4096 + 8 * index) };
    for slot in [0, 1, 255, 272, 273, 511] {
        put!(format_args!("tables.slot{slot}.flags"), "{:#x}", word(slot) & 0x8000_0000_0000_0fff & !0x60);
    }
}

fn shared_page() {
    let info = shared::info().expose_provenance() as u64;
    let word = |offset: u64| -> u64 { look(info + offset) };
    use core::mem::offset_of;
    use domu_sdk::abi::xen::SharedInfo;
    let mask = offset_of!(SharedInfo, evtchn_mask) as u64;
    put!(
        "shared.masks",
        "{}",
        (0..64).all(|index| word(mask + 8 * index) == 0 || word(mask + 8 * index) == u64::MAX)
    );
    put!("shared.others", "{:?}", [1, 2, 31].map(|vcpu: u64| look::<[u8; 2]>(info + 64 * vcpu)));
}

#[domu_sdk::main]
fn main() {
    area("boot");
    put!("id", "{}", own_id() == 0);
    fields();
    layout();
    numbers();
    tables();
    shared_page();
    let page = Frame::new();
    put!("page.number", "{}", m2p(page.mfn) == page.pfn);
    done();
}
