//! Event channels: the interrupts of a domain.
//!
//! Every port has a pending bit and a mask bit in the page shared with the hypervisor (the two-level form, 4096 ports), and the
//! vCPU has a word that says in which words bits are set. When an event becomes pending the hypervisor enters `upcall`, which
//! clears the bits and tells the port's [`Channel`]: first the handler, if one was set, then every task that waits.
//!
//! Handlers run on the stack of whatever was interrupted, with events masked. They may take a
//! [`MaskedMutex`], wake tasks, allocate and print; they must not wait.
//!
//! A [`Channel`] owns its port and closes it when dropped. When the domain is restored from an image, the port's number changes.
//!
//! With several vCPUs, each port is assigned to one of them, at first to the boot vCPU ([`Channel::deliver_to`]). The bits of a word may
//! belong to different ones; each vCPU takes only its own.

use crate::{
    arch,
    executor::WaitList,
    hypercall::{self, event_channel},
    sync::{EventsMasked, MaskedMutex},
    types::{DomId, Port},
    vcpu::MAX_VCPUS,
};
use abi::{
    event_channel::EVTCHN_2L_NR_CHANNELS,
    xen::{SharedInfo, VcpuInfo},
};
use alloc::{boxed::Box, collections::BTreeMap, sync::Arc};
use core::{
    fmt,
    future::poll_fn,
    mem::offset_of,
    pin::Pin,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    task::{Context, Poll},
};
use futures_core::Stream;
use spin::Once;

type Handler = Box<dyn Fn(Port) + Send + Sync>;

/// What a port is bound to, so that it can be bound again in a domain that was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Not bound yet, or bound by this domain.
    Unbound(DomId),
    /// A port of another domain, or a physical interrupt: gone when the domain is restored.
    Elsewhere,
    Virq(u32, u32),
    Ipi(u32),
    /// Made by who built the domain; its owner learns the new number from `start_info`.
    Given,
}

/// What is known of a port.
struct Line {
    /// Its number. It changes when the domain is restored; [`DEAD`] if there is none any more.
    port: AtomicU32,
    source: Source,
    /// The vCPU that delivers its events.
    vcpu: AtomicU32,
    /// Events since the last wait.
    arrived: AtomicU32,
    waiting: WaitList,
    handler: Once<Handler>,
}

/// The number of a port that there is no longer: no port ever has it.
const DEAD: u32 = 0;

impl Line {
    fn port(&self) -> Port {
        Port(self.port.load(Ordering::Relaxed))
    }
}

static LINES: MaskedMutex<BTreeMap<u32, Arc<Line>>> = MaskedMutex::new(BTreeMap::new());

/// Number of events that came for a port nobody owns.
static STRAY: AtomicU32 = AtomicU32::new(0);

/// An event channel of this domain.
pub struct Channel {
    line: Arc<Line>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.port())
    }
}

impl Channel {
    /// Makes a port that `remote` may bind.
    pub fn alloc_unbound(remote: DomId) -> hypercall::Result<Self> {
        Ok(Self::open(event_channel::alloc_unbound(DomId::SELF, remote)?, Source::Unbound(remote)))
    }

    /// Connects to a port that `remote` has made for this domain.
    pub fn bind_interdomain(remote: DomId, port: Port) -> hypercall::Result<Self> {
        Ok(Self::open(event_channel::bind_interdomain(remote, port)?, Source::Elsewhere))
    }

    /// Listens to a virtual interrupt (`VIRQ_*`) of the boot vCPU, or to one of the whole domain.
    pub fn bind_virq(virq: u32) -> hypercall::Result<Self> {
        Self::bind_virq_on(virq, 0)
    }

    /// Listens to a virtual interrupt of a vCPU; events are delivered there.
    pub fn bind_virq_on(virq: u32, vcpu: u32) -> hypercall::Result<Self> {
        Ok(Self::open_on(event_channel::bind_virq(virq, vcpu)?, Source::Virq(virq, vcpu), vcpu))
    }

    /// Listens to a physical interrupt.
    pub fn bind_pirq(pirq: u32, share: bool) -> hypercall::Result<Self> {
        Ok(Self::open(event_channel::bind_pirq(pirq, share)?, Source::Elsewhere))
    }

    /// Makes a port whose events come back to the boot vCPU.
    pub fn bind_ipi() -> hypercall::Result<Self> {
        Self::bind_ipi_on(0)
    }

    /// Makes a port whose events are delivered to a vCPU, whichever one sends them.
    pub fn bind_ipi_on(vcpu: u32) -> hypercall::Result<Self> {
        Ok(Self::open_on(event_channel::bind_ipi(vcpu)?, Source::Ipi(vcpu), vcpu))
    }

    /// Has events of this port delivered to another vCPU from now on. Ports of virtual interrupts of one vCPU, and those made by
    /// [`Channel::bind_ipi_on`], stay where they are: the hypervisor answers `EINVAL`.
    pub fn deliver_to(&self, vcpu: u32) -> hypercall::Result {
        self.mask();
        let result = event_channel::bind_vcpu(self.port(), vcpu);
        if result.is_ok() {
            self.line.vcpu.store(vcpu, Ordering::Relaxed);
            assign(self.port(), vcpu as usize);
        }
        // An event that came meanwhile is announced anew, to the right vCPU.
        self.unmask();
        result
    }

    /// Takes over a port that exists already, such as those named in `start_info`. It is not closed when dropped.
    pub fn adopt(port: Port) -> Self {
        Self::open(port, Source::Given)
    }

    fn open(port: Port, source: Source) -> Self {
        Self::open_on(port, source, 0)
    }

    fn open_on(port: Port, source: Source, vcpu: u32) -> Self {
        let line = Arc::new(Line {
            port: AtomicU32::new(port.0),
            source,
            vcpu: AtomicU32::new(vcpu),
            arrived: AtomicU32::new(0),
            waiting: WaitList::new(),
            handler: Once::new(),
        });
        listen(&line);
        Self { line }
    }

    /// The port's number, to be told to the other side. It changes when the domain is restored, see [`crate::suspend`].
    pub fn port(&self) -> Port {
        self.line.port()
    }

    /// Another port takes the place of one that was [adopted](Channel::adopt) and that there is no longer.
    pub(crate) fn adopt_anew(&self, port: Port) {
        self.line.port.store(port.0, Ordering::Relaxed);
        listen(&self.line);
    }

    /// Sends an event to the other side.
    pub fn notify(&self) -> hypercall::Result {
        event_channel::send(self.port())
    }

    /// Calls `handler` for each event, from the upcall. The first handler stays; see the module about what it may do.
    pub fn on_event(&self, handler: impl Fn(Port) + Send + Sync + 'static) {
        self.line.handler.call_once(|| Box::new(handler));
    }

    /// Waits for an event; returns at once if one came since the last wait. Several events in a row count as one.
    ///
    /// With several waiting tasks, each event wakes all of them, and one of them takes it. So what the event announces must
    /// be looked at first, in a loop: look, then wait.
    pub async fn wait(&self) {
        poll_fn(|context| {
            // Registered first: an event between the two is not missed.
            self.line.waiting.register(context);
            if self.take() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The port's events one after the other, for whatever takes a [`Stream`]. It never ends.
    pub fn events(&self) -> Events<'_> {
        Events(self)
    }

    /// Whether an event came since the last wait; takes it.
    pub fn take(&self) -> bool {
        self.line.arrived.swap(0, Ordering::AcqRel) != 0
    }

    /// Registers the task of `context` to be woken by the next event.
    pub fn register(&self, context: &Context<'_>) {
        self.line.waiting.register(context);
    }

    /// Waits for an event, with everything else standing still.
    pub fn wait_blocking(&self) {
        crate::executor::block_on(self.wait());
    }

    /// Events of this port stay pending and are not delivered until [`Channel::unmask`].
    pub fn mask(&self) {
        mask(self.port());
    }

    /// Delivers events of this port again, and the one that is pending.
    pub fn unmask(&self) {
        unmask(self.port());
    }
}

/// Events of a port, as [`Channel::events`] gives them; each item may stand for several in a row.
#[derive(Debug)]
pub struct Events<'a>(&'a Channel);

impl Stream for Events<'_> {
    type Item = ();

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<()>> {
        self.0.line.waiting.register(context);
        if self.0.take() { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let port = self.port();
        if port.0 == DEAD {
            return;
        }
        self.mask();
        LINES.lock().remove(&port.0);
        assign(port, 0);
        if self.line.source != Source::Given {
            let _ = event_channel::close(port);
        }
    }
}

/// Has events of a line's port delivered to it.
fn listen(line: &Arc<Line>) {
    let port = line.port();
    assign(port, line.vcpu.load(Ordering::Relaxed) as usize);
    LINES.lock().insert(port.0, line.clone());
    unmask(port);
}

/// After the domain was restored: no port is there but those that its builder made. What this domain can bind again gets a new number;
/// everything else is dead. Waiting tasks are woken. Called with events masked, on the boot vCPU alone.
pub(crate) fn bind_again() {
    let lines = core::mem::take(&mut *LINES.lock());
    for (port, line) in lines {
        assign(Port(port), 0);
        let bound = match line.source {
            Source::Unbound(remote) => event_channel::alloc_unbound(DomId::SELF, remote),
            Source::Virq(virq, vcpu) => event_channel::bind_virq(virq, vcpu),
            Source::Ipi(vcpu) => event_channel::bind_ipi(vcpu),
            Source::Elsewhere | Source::Given => Ok(Port(DEAD)),
        };
        let port = bound.unwrap_or_else(|errno| {
            log::error!("an event channel cannot be bound again: {errno}");
            Port(DEAD)
        });
        line.port.store(port.0, Ordering::Relaxed);
        if port.0 != DEAD {
            let vcpu = line.vcpu.load(Ordering::Relaxed);
            if vcpu != 0 && matches!(line.source, Source::Unbound(_)) {
                let _ = event_channel::bind_vcpu(port, vcpu);
            }
            listen(&line);
        }
        line.arrived.fetch_add(1, Ordering::AcqRel);
        line.waiting.wake_all();
    }
}

/// For each vCPU the ports whose events it delivers, one bit each. All are the boot vCPU's unless they were assigned.
static ASSIGNED: [[AtomicU64; WORDS]; MAX_VCPUS] =
    [const { [const { AtomicU64::new(0) }; WORDS] }; MAX_VCPUS];
/// Ports that are assigned to a vCPU other than the first.
static ELSEWHERE: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// Words of pending bits.
const WORDS: usize = EVTCHN_2L_NR_CHANNELS / 64;

/// Has a vCPU, and no other, deliver the events of a port.
fn assign(port: Port, vcpu: usize) {
    let index = (port.0 / 64) as usize % WORDS;
    for (number, words) in ASSIGNED.iter().enumerate().skip(1) {
        if number == vcpu {
            words[index].fetch_or(bit(port), Ordering::Relaxed);
        } else {
            words[index].fetch_and(!bit(port), Ordering::Relaxed);
        }
    }
    if vcpu == 0 {
        ELSEWHERE[index].fetch_and(!bit(port), Ordering::Release);
    } else {
        ELSEWHERE[index].fetch_or(bit(port), Ordering::Release);
    }
}

/// The ports of a word that this vCPU delivers.
fn assigned(index: usize) -> u64 {
    match arch::vcpu_index() {
        0 => !ELSEWHERE[index].load(Ordering::Acquire),
        vcpu => ASSIGNED[vcpu][index].load(Ordering::Relaxed),
    }
}

const fn word(port: Port) -> usize {
    (port.0 / 64) as usize * 8
}

const fn mask_word(port: Port) -> usize {
    offset_of!(SharedInfo, evtchn_mask) + word(port)
}

const fn bit(port: Port) -> u64 {
    1 << (port.0 % 64)
}

fn mask(port: Port) {
    arch::shared_info().fetch_or_u64(mask_word(port), bit(port));
}

fn unmask(port: Port) {
    let _ = event_channel::unmask(port);
}

/// Number of events that came for ports nobody owns; a diagnosis.
pub fn strays() -> u32 {
    STRAY.load(Ordering::Relaxed)
}

/// Whether events are masked on this vCPU.
pub fn masked() -> bool {
    arch::events_masked()
}

/// Masks all ports and turns delivery on.
#[cfg(target_os = "none")]
pub(crate) fn init() {
    mask_all();
    arch::events_enable();
}

/// Masks all ports.
pub(crate) fn mask_all() {
    let shared = arch::shared_info();
    for port in (0..EVTCHN_2L_NR_CHANNELS as u32).step_by(64) {
        shared.store_u64(mask_word(Port(port)), u64::MAX);
    }
}

/// How often each vCPU was told of events.
static UPCALLS: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

/// How often this vCPU was told of events so far.
pub(crate) fn upcalls() -> u64 {
    UPCALLS[arch::vcpu_index()].load(Ordering::Relaxed)
}

/// Entered by the event stub, with events masked. Returns with events enabled, as they were before.
pub(crate) fn upcall() {
    UPCALLS[arch::vcpu_index()].fetch_add(1, Ordering::Relaxed);
    let (shared, own) = (arch::shared_info(), arch::vcpu_info());
    loop {
        own.store_u8(offset_of!(VcpuInfo, evtchn_upcall_pending), 0);
        let mut selected = own.swap_u64(offset_of!(VcpuInfo, evtchn_pending_sel), 0);
        while selected != 0 {
            let index = selected.trailing_zeros();
            selected &= selected - 1;
            deliver_word(&shared, index);
        }
        // Unmasking is the last step, so at most one upcall nests here, and only if an event comes right now.
        own.store_u8(offset_of!(VcpuInfo, evtchn_upcall_mask), 0);
        core::sync::atomic::fence(Ordering::SeqCst);
        if own.load_u8(offset_of!(VcpuInfo, evtchn_upcall_pending)) == 0 {
            return;
        }
        own.store_u8(offset_of!(VcpuInfo, evtchn_upcall_mask), 1);
    }
}

fn deliver_word(shared: &arch::SharedMem, index: u32) {
    let first = Port(index * 64);
    let pending_at = offset_of!(SharedInfo, evtchn_pending) + word(first);
    debug_assert!((first.0 as usize) < EVTCHN_2L_NR_CHANNELS);
    let mut bits =
        shared.load_u64(pending_at) & !shared.load_u64(mask_word(first)) & assigned(index as usize);
    // What another vCPU has taken in between is its to deliver.
    bits &= shared.fetch_and_u64(pending_at, !bits);
    while bits != 0 {
        deliver(Port(first.0 + bits.trailing_zeros()));
        bits &= bits - 1;
    }
}

fn deliver(port: Port) {
    let _masked = EventsMasked::new();
    let line = LINES.lock().get(&port.0).cloned();
    let Some(line) = line else {
        STRAY.fetch_add(1, Ordering::Relaxed);
        return;
    };
    line.arrived.fetch_add(1, Ordering::AcqRel);
    if let Some(handler) = line.handler.get() {
        handler(port);
    }
    line.waiting.wake_all();
}
