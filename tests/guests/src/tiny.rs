//! Domains of seven pages, for kernels that run as the first domain and need many others.
//!
//! A tiny domain is four page tables, a page of code, a page of data and, mapped by them, its shared page. Its code is a few
//! instructions that need no more than the registers they are started with. It is built through the public
//! control interface, as any toolstack does, so it can be built on every hypervisor of that interface.
//!
//! | address | what |
//! |---|---|
//! | [`CODE`] | code, read only |
//! | [`DATA`] | for each vCPU the words of [`Tiny::stamp`] and [`Tiny::count`]; the argument of the poll, the stack |
//! | [`SHARED`] | the shared page |

use abi::{
    domctl::DomctlCreatedomain,
    errno::Errno,
    xen::{FLAT_KERNEL_CS64, FLAT_KERNEL_SS64, VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext},
};
use alloc::{format, string::String, vec::Vec};
use domu_sdk::{
    DomId, Mfn, Pfn, Port,
    hypercall::{domctl, event_channel, memory, mmu},
    memory::foreign::Mapping,
};

/// Address of the code.
pub const CODE: u64 = 0x10000;
const DATA: u64 = 0x11000;
const SHARED: u64 = 0x12000;
const PAGE: u64 = 4096;

/// Present, user, accessed.
const READABLE: u64 = 1 | 1 << 2 | 1 << 5;
/// And writable, dirty.
const WRITABLE: u64 = READABLE | 1 << 1 | 1 << 6;

/// Offsets in the data page.
const STAMP: usize = 0;
const COUNT: usize = 8;
const POLL: usize = 0x10;
const PORTS: usize = 0x28;
/// Bytes for each vCPU.
const EACH: u64 = 64;
/// Most vCPUs: those with a place in the shared page.
const MAX_VCPUS: u32 = 32;

/// Offset of the first word of pending events in the shared page, and of vCPU 0's mask of upcalls.
const PENDING: usize = 0x800;
const UPCALL_MASK: usize = 1;
/// Bytes of `struct vcpu_info`.
const VCPU_INFO: usize = 64;

/// The frames in the order in which they are allocated.
const L4: usize = 0;
const L3: usize = 1;
const L2: usize = 2;
const L1: usize = 3;
const TEXT: usize = 4;
const WORDS: usize = 5;
const FRAMES: usize = 6;

/// What a tiny domain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Counts, for ever.
    Busy,
    /// Waits for an event, writes down when it saw it, and waits again.
    Idle,
    /// Its first vCPU brings the others up and down in turn, which count.
    Plug,
}

/// `inc qword [rbx + 8]; jmp` back.
const BUSY: &[u8] = &[0x48, 0xff, 0x43, 0x08, 0xeb, 0xfa];

/// Clears the pending bit in `r12`'s complement, stamps, counts, polls for ever, and begins anew.
const IDLE: &[u8] = &[
    0xf0, 0x4c, 0x21, 0xa5, 0x00, 0x08, 0x00, 0x00, // lock and [rbp + 0x800], r12
    0x0f, 0x31, // rdtsc
    0x48, 0xc1, 0xe2, 0x20, // shl rdx, 32
    0x48, 0x09, 0xd0, // or rax, rdx
    0x48, 0x89, 0x03, // mov [rbx], rax
    0x48, 0xff, 0x43, 0x08, // inc qword [rbx + 8]
    0xb8, 0x1d, 0x00, 0x00, 0x00, // mov eax, 29: sched_op
    0xbf, 0x03, 0x00, 0x00, 0x00, // mov edi, 3: poll
    0x48, 0x8d, 0x73, 0x10, // lea rsi, [rbx + 0x10]
    0x0f, 0x05, // syscall
    0xeb, 0xd6, // jmp back
];

/// Brings vCPU `r13` up, lets others run, takes it down, counts; from `r14` down to 1, and begins anew.
const PLUG: &[u8] = &[
    0xb8, 0x18, 0x00, 0x00, 0x00, // mov eax, 24: vcpu_op
    0xbf, 0x01, 0x00, 0x00, 0x00, // mov edi, 1: up
    0x4c, 0x89, 0xee, // mov rsi, r13
    0x31, 0xd2, // xor edx, edx
    0x0f, 0x05, // syscall
    0xb8, 0x1d, 0x00, 0x00, 0x00, // mov eax, 29: sched_op
    0x31, 0xff, // xor edi, edi: yield
    0x31, 0xf6, // xor esi, esi
    0x0f, 0x05, // syscall
    0xb8, 0x18, 0x00, 0x00, 0x00, // mov eax, 24
    0xbf, 0x02, 0x00, 0x00, 0x00, // mov edi, 2: down
    0x4c, 0x89, 0xee, // mov rsi, r13
    0x31, 0xd2, // xor edx, edx
    0x0f, 0x05, // syscall
    0x48, 0xff, 0x43, 0x08, // inc qword [rbx + 8]
    0x49, 0xff, 0xcd, // dec r13
    0x75, 0xca, // jnz back
    0x4d, 0x89, 0xf5, // mov r13, r14
    0xeb, 0xc5, // jmp back
];
/// Where the code of the vCPUs lies that only count.
const COUNTING: u64 = 0x800;

/// A tiny domain.
#[derive(Debug)]
pub struct Tiny {
    /// Its number.
    pub domain: DomId,
    /// This domain's end of the event channel to it.
    pub port: Port,
    /// Its end.
    pub its_port: Port,
    words: Mapping,
    shared: Mapping,
}

fn explain(what: &str) -> impl Fn(Errno) -> String {
    move |error| format!("{what}: {error:?}")
}

impl Tiny {
    /// Builds one with so many vCPUs, all of which do the same job, and leaves it paused.
    ///
    /// # Errors
    /// The call that failed, and its error.
    pub fn new(job: Job, vcpus: u32) -> Result<Self, String> {
        let what = DomctlCreatedomain {
            max_vcpus: vcpus,
            max_evtchn_port: 1023,
            max_grant_frames: 1,
            max_maptrack_frames: 0,
            grant_opts: 1,
            ..Default::default()
        };
        let domain = domctl::create(DomId(0), &what).map_err(explain("createdomain"))?;
        Self::build(domain, job, vcpus).inspect_err(|_| {
            let _ = domctl::destroy(domain);
        })
    }

    fn build(domain: DomId, job: Job, vcpus: u32) -> Result<Self, String> {
        if vcpus == 0 || vcpus > MAX_VCPUS {
            return Err(format!("{vcpus} vCPUs"));
        }
        domctl::set_max_vcpus(domain, vcpus).map_err(explain("max_vcpus"))?;
        domctl::set_max_memory(domain, 64).map_err(explain("max_mem"))?;
        let frames: Vec<Pfn> = (0..FRAMES as u64).map(Pfn).collect();
        let frames = memory::populate(domain, &frames, 0).map_err(explain("populate_physmap"))?;
        if frames.len() != FRAMES {
            return Err(format!("{} of {FRAMES} frames", frames.len()));
        }
        let info = domctl::info(domain).map_err(explain("getdomaininfo"))?;
        let shared = Mfn(info.shared_info_frame);
        let map = |frames: &[Mfn]| Mapping::read_write(domain, frames).map_err(|error| format!("{error}"));
        let shared_page = map(&[shared])?;
        let its_port = event_channel::alloc_unbound(domain, DomId::DOM0).map_err(explain("alloc_unbound"))?;
        let port = event_channel::bind_interdomain(domain, its_port).map_err(explain("bind_interdomain"))?;
        fill(&map(&frames)?, &frames, shared, job, its_port);
        for vcpu in 0..vcpus as usize {
            shared_page.store_u8(vcpu * VCPU_INFO + UPCALL_MASK, 1);
        }
        mmu::pin(domain, 4, frames[L4]).map_err(explain("pin of the root table"))?;
        for vcpu in 0..vcpus {
            let context = context(frames[L4], its_port, job, vcpu, vcpus);
            domctl::set_vcpu_context(domain, vcpu, &context).map_err(explain("setvcpucontext"))?;
        }
        let words = map(&frames[WORDS..=WORDS])?;
        Ok(Self { domain, port, its_port, words, shared: shared_page })
    }

    /// Lets it run.
    ///
    /// # Errors
    /// The call's error.
    pub fn start(&self) -> Result<(), String> {
        domctl::unpause(self.domain).map_err(explain("unpausedomain"))
    }

    /// Takes it off its CPU; that it has stopped takes a moment.
    pub fn pause(&self) -> Result<(), String> {
        domctl::pause(self.domain).map_err(explain("pausedomain"))
    }

    /// Sends it an event.
    ///
    /// # Errors
    /// The call's error.
    pub fn wake(&self) -> Result<(), String> {
        event_channel::send(self.port).map_err(explain("send"))
    }

    /// The time-stamp counter when it last saw an event.
    pub fn stamp(&self) -> u64 {
        self.words.load_u64(STAMP)
    }

    /// How often it began to wait, or what its first vCPU counted to.
    pub fn count(&self) -> u64 {
        self.count_of(0)
    }

    /// What a vCPU counted to.
    pub fn count_of(&self, vcpu: u32) -> u64 {
        self.words.load_u64(COUNT + (u64::from(vcpu % MAX_VCPUS) * EACH) as usize)
    }

    /// Forgets its pending events: the next one is new to it.
    pub fn forget_events(&self) {
        self.shared.store_u64(PENDING, 0);
        self.shared.store_u64(0, 1 << (8 * UPCALL_MASK));
        self.shared.store_u64(8, 0);
    }

    /// CPU time that it used, in nanoseconds.
    ///
    /// # Errors
    /// The call's error.
    pub fn cpu_time(&self) -> Result<u64, String> {
        Ok(domctl::info(self.domain).map_err(explain("getdomaininfo"))?.cpu_time)
    }

    /// Ends it.
    ///
    /// # Errors
    /// The call's error.
    pub fn destroy(self) -> Result<(), String> {
        let (domain, port) = (self.domain, self.port);
        drop((self.words, self.shared));
        event_channel::close(port).map_err(explain("close"))?;
        domctl::destroy(domain).map_err(explain("destroydomain"))
    }
}

/// Writes tables, code and data.
fn fill(pages: &Mapping, frames: &[Mfn], shared: Mfn, job: Job, port: Port) {
    pages.fill(0, FRAMES * PAGE as usize, 0);
    let entry = |table: usize, index: u64, frame: Mfn, flags: u64| {
        pages.store_u64(table * PAGE as usize + index as usize * 8, frame.0 << 12 | flags);
    };
    entry(L4, 0, frames[L3], WRITABLE);
    entry(L3, 0, frames[L2], WRITABLE);
    entry(L2, 0, frames[L1], WRITABLE);
    entry(L1, CODE / PAGE, frames[TEXT], READABLE);
    entry(L1, DATA / PAGE, frames[WORDS], WRITABLE);
    entry(L1, SHARED / PAGE, shared, WRITABLE);
    let code = match job {
        Job::Busy => BUSY,
        Job::Idle => IDLE,
        Job::Plug => PLUG,
    };
    pages.write(TEXT * PAGE as usize, code);
    pages.write(TEXT * PAGE as usize + COUNTING as usize, BUSY);
    let words = WORDS * PAGE as usize;
    for vcpu in 0..MAX_VCPUS as usize {
        let own = words + vcpu * EACH as usize;
        pages.store_u64(own + POLL, DATA + PORTS as u64);
        pages.store_u32(own + POLL + 8, 1);
        pages.store_u32(own + PORTS, port.0);
    }
}

fn context(root: Mfn, port: Port, job: Job, vcpu: u32, vcpus: u32) -> VcpuGuestContext {
    let flags = VGCF_IN_KERNEL | VGCF_ONLINE;
    let mut context = VcpuGuestContext { flags, ..Default::default() };
    // The code does not use the stack.
    let stack = DATA + PAGE;
    let code = if job == Job::Plug && vcpu != 0 { CODE + COUNTING } else { CODE };
    let regs = &mut context.user_regs;
    (regs.rip, regs.rsp, regs.rbx, regs.rbp) = (code, stack, DATA + u64::from(vcpu) * EACH, SHARED);
    (regs.r13, regs.r14) = (u64::from(vcpus) - 1, u64::from(vcpus) - 1);
    regs.r12 = !(1 << port.0);
    regs.rflags = 1 << 9;
    (regs.cs, regs.ss) = (FLAT_KERNEL_CS64, FLAT_KERNEL_SS64);
    context.kernel_ss = u64::from(FLAT_KERNEL_SS64);
    context.kernel_sp = stack;
    context.ctrlreg[3] = root.0 << 12;
    context
}
