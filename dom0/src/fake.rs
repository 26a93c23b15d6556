//! A hypervisor in the test's own memory: enough of one to build domains, look at them, and end them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ops::Range;

use abi::errno::Errno;
use abi::xen::VcpuGuestContext;

use crate::DomId;
use crate::block::storage::{self, Shared, Storage};
use crate::hypervisor::{
    Deliver, DomainInfo, Fetch, HostInfo, Hypervisor, NewDomain, Peer, Result, Share, VcpuInfo, Window,
};
use crate::page::SharedPage;

const PAGE: usize = 4096;
/// What `power_off` panics with.
pub const POWERED_OFF: &str = "the fake machine was powered off";
const SHUTDOWN_FLAG: u32 = 4;
const PAUSED_FLAG: u32 = 8;

/// A frame's bytes.
pub type Frame = Rc<RefCell<Vec<u8>>>;

/// One domain.
#[derive(Debug, Default)]
pub struct FakeDomain {
    flags: u32,
    mfns: Vec<u64>,
    shared_info: u64,
    grants: u64,
    ports: u32,
    vcpus: u32,
    /// Frames it may have.
    pub max_pages: u64,
    share: Option<Share>,
    /// CPU time it used.
    pub cpu_time: u64,
    /// Non-maskable interrupts that were triggered.
    pub nmis: u32,
    /// What its frames are, if they are no ordinary ones.
    pub kinds: BTreeMap<u64, u32>,
    /// Root page table that was pinned.
    pub pinned: Option<u64>,
    /// Registers of CPU 0.
    pub context: Option<VcpuGuestContext>,
    /// Frames whose hypercall page was filled in.
    pub hypercall_page: Option<u64>,
}

/// The machine; clones are the same machine.
#[derive(Clone, Debug)]
pub struct Fake(pub Rc<RefCell<World>>);

/// Its state.
#[derive(Debug, Default)]
pub struct World {
    frames: BTreeMap<u64, Frame>,
    next_mfn: u64,
    /// Free frames.
    pub free: u64,
    /// Domains by number.
    pub domains: BTreeMap<u16, FakeDomain>,
    last_dom: u16,
    events: bool,
    /// Nanoseconds since the start.
    pub now: u64,
    /// Each time Dom0 looks at a console ring, there is another byte.
    pub talkative: bool,
    /// What was printed on the machine's console.
    pub printed: String,
    /// Keys still to be typed.
    pub keys: VecDeque<u8>,
    /// Open local ports.
    pub open_ports: Vec<u32>,
    /// Frames that domains grant to Dom0, by domain and reference.
    pub grants: BTreeMap<(u16, u32), Frame>,
    /// Local ports that were rung since the test looked.
    pub rung: Vec<u32>,
    /// Foreign frames mapped at the moment.
    pub mapped: usize,
    /// The call of this name fails.
    pub fail: Option<(&'static str, Errno)>,
}

impl Fake {
    /// A machine with this much free memory.
    pub fn new(free: u64) -> Self {
        Self(Rc::new(RefCell::new(World { free, next_mfn: 0x100, ..World::default() })))
    }

    fn on<T>(&self, call: &'static str, dom: DomId, f: impl FnOnce(&mut World, u16) -> T) -> Result<T> {
        let mut world = self.0.borrow_mut();
        if let Some((_, error)) = world.fail.filter(|(name, _)| *name == call) {
            return Err(error);
        }
        if !world.domains.contains_key(&dom.0) {
            return Err(Errno::ESRCH);
        }
        Ok(f(&mut world, dom.0))
    }

    /// A domain grants a frame under a reference; returns the frame. It is the test's own, not counted as memory.
    pub fn grant(&self, dom: u16, reference: u32) -> Frame {
        let frame: Frame = Rc::new(RefCell::new(alloc::vec![0; PAGE]));
        self.0.borrow_mut().grants.insert((dom, reference), frame.clone());
        frame
    }

    fn granted(&self, dom: DomId, reference: u32, offset: u16, len: usize) -> Option<(Frame, usize)> {
        let offset = usize::from(offset);
        let frame = self.0.borrow().grants.get(&(dom.0, reference)).cloned()?;
        (offset + len <= PAGE).then_some((frame, offset))
    }

    /// Bytes of a frame.
    pub fn frame(&self, mfn: u64) -> Vec<u8> {
        self.0.borrow().frames[&mfn].borrow().clone()
    }

    /// Sets bytes of a frame.
    pub fn poke(&self, mfn: u64, offset: usize, bytes: &[u8]) {
        let world = self.0.borrow();
        world.frames[&mfn].borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// A domain's frames, by the number of the page.
    pub fn frames_of(&self, dom: u16) -> Vec<u64> {
        self.0.borrow().domains[&dom].mfns.clone()
    }

    /// The frame of its shared info page.
    pub fn shared_info(&self, dom: u16) -> u64 {
        self.0.borrow().domains[&dom].shared_info
    }

    /// Whether it stands still because Dom0 wants it.
    pub fn is_paused(&self, dom: u16) -> bool {
        self.0.borrow().domains[&dom].flags & PAUSED_FLAG != 0
    }

    /// A domain's frames, by pfn, and its shared page.
    pub fn frames(&self, dom: u16) -> (Vec<u64>, u64) {
        let world = self.0.borrow();
        (world.domains[&dom].mfns.clone(), world.domains[&dom].shared_info)
    }

    /// Writes words into a frame, from a byte offset on.
    pub fn write_words(&self, mfn: u64, at: usize, words: &[u64]) {
        let world = self.0.borrow();
        let mut frame = world.frames[&mfn].borrow_mut();
        for (place, word) in frame[at..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// A domain shuts down with a reason.
    pub fn shut_down(&self, dom: u16, reason: u32) {
        let mut world = self.0.borrow_mut();
        world.events = true;
        if let Some(domain) = world.domains.get_mut(&dom) {
            domain.flags |= SHUTDOWN_FLAG | reason << 16;
        }
    }
}

impl World {
    fn alloc(&mut self) -> Option<u64> {
        self.free = self.free.checked_sub(1)?;
        self.next_mfn += 1;
        self.frames.insert(self.next_mfn, Rc::new(RefCell::new(alloc::vec![0; PAGE])));
        Some(self.next_mfn)
    }
}

/// Mapped frames.
#[derive(Debug)]
pub struct FakeWindow {
    world: Rc<RefCell<World>>,
    frames: Vec<Frame>,
    read_only: bool,
}

impl Drop for FakeWindow {
    fn drop(&mut self) {
        self.world.borrow_mut().mapped -= self.frames.len();
    }
}

impl SharedPage for FakeWindow {
    fn byte(&self, offset: usize) -> u8 {
        self.frames[offset / PAGE].borrow()[offset % PAGE]
    }
    fn set_byte(&self, offset: usize, value: u8) {
        assert!(!self.read_only, "written to a window for reading");
        self.frames[offset / PAGE].borrow_mut()[offset % PAGE] = value;
    }
    fn load(&self, offset: usize) -> u32 {
        const OUT_CONS: usize = 3080;
        const OUT_PROD: usize = 3084;
        if offset == OUT_PROD && self.world.borrow().talkative {
            return self.load(OUT_CONS).wrapping_add(1);
        }
        u32::from_le_bytes(core::array::from_fn(|i| self.byte(offset + i)))
    }
    fn store(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }
}

impl FakeWindow {
    /// Parts of a range of the window, one for each frame: the frame, the place in it, the place in the range.
    fn parts(&self, offset: usize, len: usize) -> impl Iterator<Item = (&Frame, Range<usize>, Range<usize>)> {
        let mut done = 0;
        core::iter::from_fn(move || {
            let at = offset + done;
            let now = (PAGE - at % PAGE).min(len - done);
            done += now;
            (now > 0).then(|| (&self.frames[at / PAGE], at % PAGE..at % PAGE + now, done - now..done))
        })
    }
}

impl Window for FakeWindow {
    fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(!self.read_only, "a write to a window for reading");
        for (frame, place, part) in self.parts(offset, bytes.len()) {
            frame.borrow_mut()[place].copy_from_slice(&bytes[part]);
        }
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        for (frame, place, part) in self.parts(offset, into.len()) {
            into[part].copy_from_slice(&frame.borrow()[place]);
        }
    }
    fn zero(&self, offset: usize, len: usize) {
        assert!(!self.read_only, "a write to a window for reading");
        self.parts(offset, len).for_each(|(frame, place, _)| frame.borrow_mut()[place].fill(0));
    }
}

impl Peer for Fake {
    type Window = FakeWindow;

    fn map_grants(&mut self, dom: DomId, grants: &[u32]) -> Result<FakeWindow> {
        let shared = self.0.clone();
        self.on("map_grants", dom, |world, id| {
            let find = |r: &u32| world.grants.get(&(id, *r)).cloned().ok_or(Errno::EINVAL);
            let frames = grants.iter().map(find).collect::<Result<Vec<_>>>()?;
            world.mapped += frames.len();
            Ok(FakeWindow { world: shared, frames, read_only: false })
        })?
    }

    fn fetch(&mut self, dom: DomId, list: &mut [Fetch<'_>]) {
        for entry in list {
            let found = self.granted(dom, entry.grant, entry.offset, entry.into.len());
            entry.done = found.is_some();
            if let Some((frame, at)) = found {
                entry.into.copy_from_slice(&frame.borrow()[at..at + entry.into.len()]);
            }
        }
    }

    fn deliver(&mut self, dom: DomId, list: &mut [Deliver<'_>]) {
        for entry in list {
            let found = self.granted(dom, entry.grant, entry.offset, entry.from.len());
            entry.done = found.is_some();
            if let Some((frame, at)) = found {
                frame.borrow_mut()[at..at + entry.from.len()].copy_from_slice(entry.from);
            }
        }
    }

    fn bind(&mut self, dom: DomId, port: u32) -> Result<u32> {
        self.on("bind", dom, |world, id| {
            let local = u32::from(id) * 100 + port;
            world.open_ports.push(local);
            local
        })
    }

    fn notify(&mut self, port: u32) {
        self.0.borrow_mut().rung.push(port);
    }

    fn close(&mut self, port: u32) {
        self.0.borrow_mut().open_ports.retain(|p| *p != port);
    }
}

impl Hypervisor for Fake {
    fn create_domain(&mut self, _: &NewDomain) -> Result<DomId> {
        let mut world = self.0.borrow_mut();
        world.last_dom += 1;
        let shared_info = world.alloc().ok_or(Errno::ENOMEM)?;
        let dom = world.last_dom;
        world.domains.insert(dom, FakeDomain { flags: PAUSED_FLAG, shared_info, ..FakeDomain::default() });
        Ok(DomId(dom))
    }
    fn set_max_vcpus(&mut self, dom: DomId, count: u32) -> Result<()> {
        self.on("max_vcpus", dom, |w, id| w.domains.get_mut(&id).unwrap().vcpus = count)
    }
    fn set_max_memory(&mut self, dom: DomId, kib: u64) -> Result<()> {
        self.on("max_mem", dom, |w, id| w.domains.get_mut(&id).unwrap().max_pages = kib / 4)
    }
    fn set_memory_map(&mut self, dom: DomId, _: u64) -> Result<()> {
        self.on("set_memory_map", dom, |_, _| ())
    }
    fn alloc_unbound(&mut self, dom: DomId) -> Result<u32> {
        self.on("alloc_unbound", dom, |world, id| {
            let domain = world.domains.get_mut(&id).unwrap();
            domain.ports += 1;
            domain.ports
        })
    }
    fn populate(&mut self, dom: DomId, first_pfn: u64, count: usize) -> Result<Vec<u64>> {
        self.on("populate", dom, |world, id| {
            assert_eq!(world.domains[&id].mfns.len() as u64, first_pfn);
            let more: Vec<u64> = (0..count).map_while(|_| world.alloc()).collect();
            world.domains.get_mut(&id).unwrap().mfns.extend(&more);
            more
        })
    }
    fn map_foreign(&mut self, dom: DomId, mfns: &[u64]) -> Result<FakeWindow> {
        let shared = self.0.clone();
        self.on("map_foreign", dom, |world, id| {
            let domain = &world.domains[&id];
            let owned = |m: &u64| domain.mfns.contains(m) || *m == domain.shared_info || *m == domain.grants;
            if !mfns.iter().all(owned) {
                return Err(Errno::EPERM);
            }
            world.mapped += mfns.len();
            let frames = mfns.iter().map(|m| world.frames[m].clone()).collect();
            Ok(FakeWindow { world: shared, frames, read_only: false })
        })?
    }
    fn map_foreign_read_only(&mut self, dom: DomId, mfns: &[u64]) -> Result<FakeWindow> {
        let mut window = self.map_foreign(dom, mfns)?;
        window.read_only = true;
        Ok(window)
    }
    fn hypercall_init(&mut self, dom: DomId, mfn: u64) -> Result<()> {
        self.on("hypercall_init", dom, |w, id| w.domains.get_mut(&id).unwrap().hypercall_page = Some(mfn))
    }
    fn page_kinds(&mut self, dom: DomId, mfns: &[u64]) -> Result<Vec<u32>> {
        self.on("page_kinds", dom, |world, id| {
            let domain = &world.domains[&id];
            let kind = |mfn: &u64| domain.kinds.get(mfn).copied().unwrap_or(0);
            mfns.iter().map(kind).collect()
        })
    }
    fn resume(&mut self, dom: DomId) -> Result<()> {
        self.on("resume", dom, |w, id| w.domains.get_mut(&id).unwrap().flags &= 0xffff & !SHUTDOWN_FLAG)
    }
    fn pin(&mut self, dom: DomId, level: u32, mfn: u64) -> Result<()> {
        self.on("pin_l4", dom, |world, id| {
            let mfns = &world.domains[&id].mfns;
            let mapped = |m: &u64| Rc::strong_count(&world.frames[m]) > 1;
            let ready = mfns.contains(&mfn) && !mfns.iter().any(mapped);
            assert!(ready, "pinned while mapped");
            let domain = world.domains.get_mut(&id).unwrap();
            domain.pinned = Some(mfn);
            domain.kinds.insert(mfn, (level | 8) << 28);
        })
    }
    fn set_vcpu_context(&mut self, dom: DomId, _: u32, context: &VcpuGuestContext) -> Result<()> {
        self.on("set_vcpu_context", dom, |w, id| w.domains.get_mut(&id).unwrap().context = Some(*context))
    }
    fn vcpu_context(&mut self, dom: DomId, vcpu: u32) -> Result<Box<VcpuGuestContext>> {
        self.on("vcpu_context", dom, |w, id| {
            let context = w.domains[&id].context.filter(|_| vcpu == 0);
            context.map(Box::new).ok_or(Errno::ENODATA)
        })?
    }
    fn vcpu_info(&mut self, dom: DomId, vcpu: u32) -> Result<VcpuInfo> {
        self.on("vcpu_info", dom, |w, id| {
            let domain = &w.domains[&id];
            let known = vcpu < domain.vcpus;
            known.then_some(VcpuInfo { online: vcpu == 0, ..VcpuInfo::default() }).ok_or(Errno::ESRCH)
        })?
    }
    fn trigger_nmi(&mut self, dom: DomId, _: u32) -> Result<()> {
        self.on("trigger_nmi", dom, |w, id| w.domains.get_mut(&id).unwrap().nmis += 1)
    }
    fn scheduler(&mut self) -> Result<&'static str> {
        Ok("credit")
    }
    fn share(&mut self, dom: DomId) -> Result<Share> {
        let usual = Share { weight: 256, cap: 0 };
        self.on("share", dom, |w, id| w.domains[&id].share.unwrap_or(usual))
    }
    fn set_share(&mut self, dom: DomId, share: Share) -> Result<()> {
        self.on("set_share", dom, |w, id| w.domains.get_mut(&id).unwrap().share = Some(share))
    }
    fn grant_frame(&mut self, dom: DomId) -> Result<u64> {
        self.on("grant_frame", dom, |world, id| {
            let mfn = world.alloc().ok_or(Errno::ENOMEM)?;
            world.domains.get_mut(&id).unwrap().grants = mfn;
            Ok(mfn)
        })?
    }
    fn pause(&mut self, dom: DomId) -> Result<()> {
        self.on("pause", dom, |w, id| w.domains.get_mut(&id).unwrap().flags |= PAUSED_FLAG)
    }
    fn unpause(&mut self, dom: DomId) -> Result<()> {
        self.on("unpause", dom, |w, id| w.domains.get_mut(&id).unwrap().flags &= !PAUSED_FLAG)
    }
    fn destroy(&mut self, dom: DomId) -> Result<()> {
        self.on("destroy", dom, |world, id| {
            let domain = world.domains.remove(&id).unwrap();
            let mut frames = domain.mfns;
            frames.extend([domain.shared_info, domain.grants].iter().filter(|m| **m != 0));
            for mfn in frames {
                let frame = world.frames.remove(&mfn).unwrap();
                // A frame that is still mapped stays with the dying domain.
                world.free += u64::from(Rc::strong_count(&frame) == 1);
            }
        })
    }
    fn domains(&mut self) -> Result<Vec<DomainInfo>> {
        let world = self.0.borrow();
        let info = |(id, d): (&u16, &FakeDomain)| DomainInfo {
            dom: DomId(*id),
            flags: d.flags,
            pages: d.mfns.len() as u64,
            max_pages: d.max_pages,
            vcpus: 1,
            max_vcpu: d.vcpus.saturating_sub(1),
            cpu_time: d.cpu_time,
            shared_info: d.shared_info,
        };
        Ok(world.domains.iter().map(info).collect())
    }
    fn host_info(&mut self) -> Result<HostInfo> {
        let free_pages = self.0.borrow().free;
        Ok(HostInfo { version: (4, 17), free_pages, ..HostInfo::default() })
    }
    fn own_pages(&mut self) -> (u64, u64) {
        (100, 200)
    }
    fn debug_keys(&mut self, keys: &[u8]) -> Result<()> {
        self.0.borrow_mut().printed += &String::from_utf8_lossy(keys);
        Ok(())
    }
    fn log(&mut self) -> Result<String> {
        Ok("log".to_string())
    }
    fn rung(&mut self, ports: &mut Vec<u32>) {
        // The tests write to rings without ringing, and nobody may rely on less.
        ports.extend(&self.0.borrow().open_ports);
    }
    fn print(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().printed += &String::from_utf8_lossy(bytes);
    }
    fn keys(&mut self) -> Vec<u8> {
        self.0.borrow_mut().keys.pop_front().into_iter().collect()
    }
    fn now(&mut self) -> u64 {
        // Time passes while there is work, too.
        let mut world = self.0.borrow_mut();
        world.now += 1_000_000;
        world.now
    }
    fn sleep_until(&mut self, deadline: u64) {
        let mut world = self.0.borrow_mut();
        world.now = world.now.max(deadline);
    }
    fn domain_event(&mut self) -> bool {
        core::mem::take(&mut self.0.borrow_mut().events)
    }
    fn power_off(&mut self) -> ! {
        panic!("{POWERED_OFF}")
    }
}

fn note(kind: u32, value: &[u8]) -> Vec<u8> {
    let mut out = [4u32, value.len() as u32, kind].iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    out.extend_from_slice(b"Xen\0");
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Virtual base of [`kernel`].
pub const BASE: u64 = 0xffff_ffff_8000_0000;

/// A small 64-bit PV kernel: one page of `text` at pseudo-physical 1 MiB, entry at its start.
pub fn kernel(text: &[u8]) -> Vec<u8> {
    let notes = [
        note(6, b"test\0"),
        note(8, b"generic\0"),
        note(5, b"xen-3.0\0"),
        note(3, &BASE.to_le_bytes()),
        note(4, &0u64.to_le_bytes()),
        note(1, &(BASE + 0x10_0000).to_le_bytes()),
        note(2, &(BASE + 0x10_1000).to_le_bytes()),
    ]
    .concat();
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2u16, 62].iter().flat_map(|v| v.to_le_bytes()));
    elf.extend(1u32.to_le_bytes());
    elf.extend([BASE + 0x10_0000, 64, 0].iter().flat_map(|v| v.to_le_bytes()));
    elf.extend(0u32.to_le_bytes());
    elf.extend([64u16, 56, 2, 64, 0, 0].iter().flat_map(|v| v.to_le_bytes()));
    let mut header = |kind: u32, offset: u64, size: u64, memory: u64, address: u64| {
        elf.extend([kind, 7].iter().flat_map(|v| v.to_le_bytes()));
        elf.extend(
            [offset, BASE + address, address, size, memory, 4096].iter().flat_map(|v| v.to_le_bytes()),
        );
    };
    header(4, 512, notes.len() as u64, notes.len() as u64, 0);
    header(1, 4096, 4096, 0x3000, 0x10_0000);
    elf.resize(512, 0);
    elf.extend(notes);
    elf.resize(4096, 0);
    elf.extend_from_slice(text);
    elf.resize(8192, 0);
    elf
}

/// One member of an archive.
fn member(name: &str, data: &[u8]) -> Vec<u8> {
    let fields = [1, 0o100_644, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
    let mut out = b"070701".to_vec();
    fields.iter().for_each(|f| out.extend_from_slice(alloc::format!("{f:08x}").as_bytes()));
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// An archive of files.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out: Vec<u8> = files.iter().flat_map(|(name, data)| member(name, data)).collect();
    out.extend(member("TRAILER!!!", b""));
    out
}

/// A storage that the test looks at, too.
#[derive(Debug)]
pub struct Same<'a>(pub Shared<'a>);

impl Storage for Same<'_> {
    fn sectors(&self) -> u64 {
        self.0.borrow().sectors()
    }
    fn read(&mut self, sector: u64, into: &mut [u8]) -> storage::Result {
        self.0.borrow_mut().read(sector, into)
    }
    fn write(&mut self, sector: u64, from: &[u8]) -> storage::Result {
        self.0.borrow_mut().write(sector, from)
    }
    fn flush(&mut self) -> storage::Result {
        self.0.borrow_mut().flush()
    }
}
