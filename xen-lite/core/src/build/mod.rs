//! Builds the first domain from its kernel and initrd.
//!
//! What goes where is computed by `kernel_image::layout`, which Dom0's toolstack uses for other domains; here it is carried
//! out on machine frames. The first page tables take the ordinary way: they are written as plain memory and then **pinned**,
//! so that the validation in [`crate::mm`] sees every entry. There is no other way for a page table to come into being.

pub mod p2m;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use abi::xen::{
    Dom0VgaConsoleInfo, Dom0VgaConsoleInfoTextMode3, SIF_INITDOMAIN, SIF_MOD_START_PFN, SIF_PRIVILEGED,
    StartInfo, StartInfoDom0, XEN_VGATYPE_TEXT_MODE_3,
};
use kernel_image::layout::{self, Layout, Role};
use kernel_image::{Image, ImageError, PaeMode};
use zerocopy::IntoBytes;

use crate::Hypervisor;
use crate::addr::{DomId, Mfn, PAGE_SIZE, VcpuId};
use crate::control::lifecycle;
use crate::domain::{Domain, VcpuState};
use crate::effects::Effects;
use crate::fail::Errno;
use crate::hypercall::version::PV_FEATURES;
use crate::mm;
use crate::platform::Platform;
use crate::trap::{FLAT_CS64, FLAT_SS};
use p2m::P2m;

/// What the first domain is made of.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its kernel, an unpacked ELF.
    pub elf: &'a [u8],
    /// Its initrd; may be empty.
    pub initrd: &'a [u8],
    /// Its command line.
    pub command_line: &'a str,
    /// Frames that it gets.
    pub frames: u64,
    /// Frames that it may ever own; `u64::MAX` for no limit.
    pub max_frames: u64,
    /// vCPUs that it gets.
    pub vcpus: u32,
    /// The screen, if the machine has one in text mode.
    pub screen: Option<TextScreen>,
}

/// A VGA screen in text mode, as the firmware left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextScreen {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
    /// Lines of pixels of a character.
    pub font_height: u16,
    /// Where the cursor is: column and row.
    pub cursor: (u16, u16),
}

/// Why the first domain could not be built.
#[derive(Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The kernel is not fit for it.
    Image(ImageError),
    /// Not that much memory is free.
    Memory {
        /// Frames that were asked for.
        frames: u64,
        /// Frames that were free.
        free: u64,
    },
    /// The command line is too long.
    CommandLine {
        /// Its length in bytes.
        length: usize,
    },
    /// A step that only a fault of the hypervisor can make fail.
    Step(&'static str, Errno),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Image(error) => write!(f, "kernel: {error}"),
            BuildError::Memory { frames, free } => write!(
                f,
                "{} MiB for the first domain, but only {} MiB are free (hint: a smaller dom0_mem=)",
                frames >> 8,
                free >> 8
            ),
            BuildError::CommandLine { length } => {
                write!(f, "command line of {length} bytes; at most 1023 fit into start_info")
            }
            BuildError::Step(step, errno) => write!(f, "{step}: {errno:?}"),
        }
    }
}

impl From<ImageError> for BuildError {
    fn from(error: ImageError) -> Self {
        BuildError::Image(error)
    }
}

/// What was built, for the boot log.
#[derive(Debug)]
pub struct Built {
    /// The domain, paused.
    pub domain: Arc<Domain>,
    /// Where its parts lie.
    pub layout: Layout,
    /// Things that its kernel asks for and does not get.
    pub warnings: alloc::vec::Vec<String>,
    /// To be carried out.
    pub effects: Effects,
}

/// Builds the first domain: paused, with a context for vCPU 0.
///
/// # Errors
/// See [`BuildError`]. The machine is of no use then, so nothing is taken back.
pub fn first_domain<P: Platform>(hv: &Hypervisor<P>, request: &Request<'_>) -> Result<Built, BuildError> {
    let image = Image::parse(request.elf)?;
    image.check_features(PV_FEATURES | 1 << abi::features::XENFEAT_DOM0, true)?;
    if request.command_line.len() >= abi::xen::MAX_GUEST_CMDLINE {
        return Err(BuildError::CommandLine { length: request.command_line.len() });
    }
    let wanted = layout::Request {
        role: Role::Dom0,
        nr_pages: request.frames,
        initrd_bytes: request.initrd.len() as u64,
    };
    let layout = layout::plan(&image, &wanted)?;
    let free = hv.frames.free_frames();
    if request.frames > free {
        return Err(BuildError::Memory { frames: request.frames, free });
    }
    let step = |what| move |errno| BuildError::Step(what, errno);
    let (domain, effects) =
        lifecycle::create_first(hv, request.max_frames, request.vcpus).map_err(step("create domain"))?;
    let p2m =
        populate(hv, &domain, request.frames).ok_or(BuildError::Memory { frames: request.frames, free })?;

    load_kernel(hv, &image, request.elf, &p2m)?;
    write_data(hv, &layout, &p2m, &domain, request, &image);
    let root = write_tables(hv, &layout, &p2m).ok_or(BuildError::Step("page tables", Errno::EINVAL))?;
    mm::pin_root(hv, &domain, root).map_err(step("validate the first page tables"))?;
    start_context(hv, &domain, &image, &layout, root).map_err(step("first context"))?;
    Ok(Built { domain, layout, warnings: image.notes.warnings, effects })
}

/// Gives the domain its memory, in runs as large as there are.
fn populate<P: Platform>(hv: &Hypervisor<P>, domain: &Arc<Domain>, frames: u64) -> Option<P2m> {
    let mut p2m = P2m::default();
    let mut order = crate::frame::MAX_ORDER;
    while p2m.pages() < frames {
        if 1 << order > frames - p2m.pages() {
            order -= 1;
            continue;
        }
        match mm::give_frames(hv, domain, order) {
            Some(mfn) => p2m.push(mfn.raw(), 1 << order),
            None if order > 0 => order -= 1,
            None => return None,
        }
    }
    for (pfn, mfn) in (0..).zip(p2m.frames()) {
        hv.platform.set_m2p(mfn, pfn);
    }
    Some(p2m)
}

fn load_kernel<P: Platform>(
    hv: &Hypervisor<P>,
    image: &Image,
    elf: &[u8],
    p2m: &P2m,
) -> Result<(), BuildError> {
    for (offset, bytes, zeroes) in image.loads(elf) {
        if !p2m.write(hv, offset, bytes) || !p2m.clear(hv, offset + bytes.len() as u64, zeroes) {
            return Err(BuildError::Step("load the kernel", Errno::ENOMEM));
        }
    }
    let info = image.pv()?;
    if let Some(page) = info.hypercall_page {
        p2m.write(hv, page.wrapping_sub(info.virt_base), &crate::hypercall::page::contents());
    }
    Ok(())
}

/// Initrd, list of frames, `start_info`; the plan says that they fit.
fn write_data<P: Platform>(
    hv: &Hypervisor<P>,
    layout: &Layout,
    p2m: &P2m,
    domain: &Domain,
    request: &Request<'_>,
    image: &Image,
) {
    let page = PAGE_SIZE as u64;
    if let Some(initrd) = &layout.initrd {
        p2m.write(hv, initrd.pfn * page, request.initrd);
        let used = request.initrd.len() as u64;
        p2m.clear(hv, initrd.pfn * page + used, initrd.pages * page - used);
    }
    p2m.clear(hv, layout.p2m.pfn * page, layout.p2m.pages * page);
    for (pfn, mfn) in (0u64..).zip(p2m.frames()) {
        if let Some(list) = p2m.mfn(layout.p2m.pfn + pfn / 512) {
            hv.platform.store(list, (pfn % 512) as usize, mfn.raw());
        }
    }
    p2m.clear(hv, layout.stack.pfn * page, layout.stack.pages * page);
    p2m.clear(hv, layout.start_info.pfn * page, page);
    let mut info = start_info(layout, domain, request, image);
    let start = layout.start_info.pfn * page;
    if let Some(screen) = &request.screen {
        // Behind the structure, in the same page.
        let (offset, size) = (size_of::<StartInfo>() as u32, size_of::<Dom0VgaConsoleInfo>() as u32);
        info.set_dom0(StartInfoDom0 { info_off: offset, info_size: size });
        p2m.write(hv, start + u64::from(offset), screen_info(screen).as_bytes());
    }
    p2m.write(hv, start, info.as_bytes());
}

fn screen_info(screen: &TextScreen) -> Dom0VgaConsoleInfo {
    let mut info = Dom0VgaConsoleInfo { video_type: XEN_VGATYPE_TEXT_MODE_3, ..Default::default() };
    info.set_text_mode_3(Dom0VgaConsoleInfoTextMode3 {
        font_height: screen.font_height,
        cursor_x: screen.cursor.0,
        cursor_y: screen.cursor.1,
        rows: screen.rows,
        columns: screen.columns,
    });
    info
}

fn start_info(layout: &Layout, domain: &Domain, request: &Request<'_>, image: &Image) -> Box<StartInfo> {
    let mut info = Box::new(StartInfo::default());
    // The last letter repeats what the kernel said of PAE, of which nothing depends.
    let pae = image.notes.pae_mode.is_some_and(|mode| mode != PaeMode::No);
    let magic: &[u8] = if pae { b"xen-3.0-x86_64p" } else { b"xen-3.0-x86_64" };
    info.magic[..magic.len()].copy_from_slice(magic);
    info.nr_pages = layout.nr_pages();
    info.shared_info = domain.shared_info.address().map_or(0, |address| address.raw());
    info.flags = SIF_PRIVILEGED | SIF_INITDOMAIN;
    info.pt_base = layout.tables.va.unwrap_or(0);
    info.nr_pt_frames = layout.tables.pages;
    info.mfn_list = layout.p2m.va.unwrap_or(0);
    let (mod_start, is_pfn) = layout.mod_start();
    info.mod_start = mod_start;
    info.mod_len = request.initrd.len() as u64;
    if is_pfn {
        info.flags |= SIF_MOD_START_PFN;
    }
    (info.first_p2m_pfn, info.nr_p2m_frames) = layout.p2m_frames();
    info.cmd_line[..request.command_line.len()].copy_from_slice(request.command_line.as_bytes());
    info
}

/// Entry flags of the first tables: present, writable, user, accessed, dirty.
const TABLE: u64 = 0x67;
/// The same of level 1 without "user": the mapping is the kernel's.
const PAGE: u64 = 0x63;
/// Writable.
const WRITABLE: u64 = 2;

/// Writes the tables; returns the root's frame.
fn write_tables<P: Platform>(hv: &Hypervisor<P>, layout: &Layout, p2m: &P2m) -> Option<Mfn> {
    for table in layout.tables() {
        let frame = p2m.mfn(table.pfn)?;
        hv.platform.clear(frame);
        for (index, entry) in layout.entries(table) {
            let flags = match (table.level, entry.writable) {
                (1, true) => PAGE,
                (1, false) => PAGE & !WRITABLE,
                _ => TABLE,
            };
            hv.platform.store(frame, index as usize, p2m.mfn(entry.pfn)?.address()?.raw() | flags);
        }
    }
    p2m.mfn(layout.tables.pfn)
}

/// The state in which the public ABI starts vCPU 0: RSI is `start_info`, the stack is the boot stack.
fn start_context<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Arc<Domain>,
    image: &Image,
    layout: &Layout,
    root: Mfn,
) -> Result<(), Errno> {
    let vcpu = domain.vcpu(VcpuId::new(0)).ok_or(Errno::ENOENT)?;
    let mut state = vcpu.state.lock();
    let state: &mut VcpuState = &mut state;
    state.regs.rip = image.pv().map_err(|_| Errno::EINVAL)?.entry;
    state.regs.cs = u64::from(FLAT_CS64);
    state.regs.ss = u64::from(FLAT_SS);
    state.regs.rsp = layout.stack_top();
    state.regs.rsi = layout.start_info.va.unwrap_or(0);
    state.regs.rflags = 0x202;
    state.kernel_ss = FLAT_SS;
    state.kernel_sp = layout.stack_top();
    mm::set_kernel_root(hv, domain, state, root)?;
    if image.notes.features_supported & 1 << abi::features::XENFEAT_PAE_PGDIR_ABOVE_4GB != 0 {
        // The kernel says that its page tables may lie anywhere, and finds that it was heard.
        let assist = 1 << abi::xen::VMASST_TYPE_PAE_EXTENDED_CR3;
        domain.vm_assist.fetch_or(assist, core::sync::atomic::Ordering::Relaxed);
    }
    vcpu.initialised.store(1, core::sync::atomic::Ordering::Release);
    Ok(())
}

/// The number of the first domain.
pub const FIRST: DomId = DomId::DOM0;
