//! Delivery by event words and queues (event_channel.h, "FIFO ABI").
//!
//! Each port has a 32-bit *event word* in an array of guest pages: PENDING, MASKED, LINKED, and the number of the next event in
//! its queue. A vCPU has 16 queues by priority; its *control block* (guest memory too) has a bit per queue that is not empty and
//! the first event of each. The hypervisor appends, the guest takes from the front.
//!
//! The hypervisor remembers the last event of each queue, and the queue in which it last linked each event. It appends by writing
//! the link of the last event *if that is still LINKED*; if not, the guest has taken it, the queue is empty, and the event becomes its head.
//!
//! Two event words share the 64-bit word that a compare-and-swap works on. A neighbour that changes makes it fail in
//! vain, hence some tries; a guest that exhausts them on purpose loses its own events, nothing else.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::Ordering;

use super::deliver::{mark_upcall, raise};
use super::{Channel, Delivery, Port, Table, two_level};
use crate::Hypervisor;
use crate::addr::{EvtchnPort, MachineAddr, Mfn, PAGE_SIZE};
use crate::domain::{Domain, MAX_VCPUS, Vcpu};
use crate::effects::Effects;
use crate::fail::{Errno, Fail};
use crate::frame::{Kind, get_page_type, put_page_type};
use crate::platform::Platform;
use crate::speculation;

/// Queues of a vCPU.
pub(super) const QUEUES: usize = abi::event_channel::EVTCHN_FIFO_PRIORITY_MIN as usize + 1;
/// Bits of a link.
pub const LINK_BITS: u8 = abi::event_channel::EVTCHN_FIFO_LINK_BITS as u8;

const PENDING: u32 = 1 << abi::event_channel::EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << abi::event_channel::EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << abi::event_channel::EVTCHN_FIFO_LINKED;
/// Of no use here, but a link is set without it.
const BUSY: u32 = 1 << abi::event_channel::EVTCHN_FIFO_BUSY;
const LINK_MASK: u32 = abi::event_channel::EVTCHN_FIFO_LINK_MASK;

/// Event words in a page.
const WORDS_PER_PAGE: usize = PAGE_SIZE / 4;
/// Pages of a full array.
const MAX_PAGES: usize = super::FIFO_PORTS as usize / WORDS_PER_PAGE;
/// Bytes of a control block.
const CONTROL_BYTES: u32 = size_of::<abi::event_channel::EvtchnFifoControlBlock>() as u32;
/// How often a link is tried to be set.
const TRIES: usize = 64;
/// No queue.
const NO_QUEUE: u32 = u32::MAX;

/// What a port keeps for this delivery.
#[derive(Clone, Debug)]
pub(crate) struct PortState {
    priority: u8,
    /// The queue it was linked in last: number of the vCPU times [`QUEUES`], plus priority.
    queue: Cell<u32>,
    /// An event came before there was an event word for it.
    deferred: Cell<bool>,
}

impl PortState {
    pub(crate) const fn new() -> PortState {
        PortState {
            priority: abi::event_channel::EVTCHN_FIFO_PRIORITY_DEFAULT as u8,
            queue: Cell::new(NO_QUEUE),
            deferred: Cell::new(false),
        }
    }

    /// For a port that is bound anew. Its word may still be linked, so the queue stays known.
    pub(crate) fn reborn(&self) -> PortState {
        PortState { queue: self.queue.clone(), ..PortState::new() }
    }
}

/// The event array. Each page is held by a reference and a writable type.
#[derive(Debug, Default)]
pub(crate) struct Fifo {
    pages: Vec<Mfn>,
}

/// Where an event word is: half of a 64-bit word.
#[derive(Clone, Copy)]
struct Word {
    mfn: Mfn,
    index: usize,
    shift: u32,
}

impl Word {
    fn load<P: Platform>(self, hv: &Hypervisor<P>) -> u32 {
        (hv.platform.load(self.mfn, self.index) >> self.shift) as u32
    }

    fn set<P: Platform>(self, hv: &Hypervisor<P>, bits: u32) -> u32 {
        (hv.platform.fetch_or(self.mfn, self.index, u64::from(bits) << self.shift) >> self.shift) as u32
    }

    fn clear<P: Platform>(self, hv: &Hypervisor<P>, bits: u32) -> u32 {
        (hv.platform.fetch_and(self.mfn, self.index, !(u64::from(bits) << self.shift)) >> self.shift) as u32
    }

    /// Makes `next` follow this event, if it is linked.
    fn link_to<P: Platform>(self, hv: &Hypervisor<P>, next: u32) -> bool {
        let mut both = hv.platform.load(self.mfn, self.index);
        for _ in 0..TRIES {
            let word = (both >> self.shift) as u32;
            if word & LINKED == 0 {
                return false;
            }
            let new = u64::from(word & !(LINK_MASK | BUSY) | next) << self.shift;
            let rest = both & !(0xffff_ffff << self.shift);
            match hv.platform.compare_exchange(self.mfn, self.index, both, rest | new) {
                Ok(()) => return true,
                Err(found) => both = found,
            }
        }
        false
    }
}

impl Fifo {
    /// The pages of the array.
    pub(super) fn pages(&self) -> &[Mfn] {
        &self.pages
    }

    fn word(&self, port: u32) -> Option<Word> {
        let port = port as usize;
        let mfn = *speculation::get(&self.pages, port / WORDS_PER_PAGE)?;
        Some(Word { mfn, index: port % WORDS_PER_PAGE / 2, shift: (port as u32 & 1) * 32 })
    }
}

/// Makes a port pending. The flag says whether it was not before.
#[inline(never)]
pub(super) fn set_pending<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    fifo: &Fifo,
    port: EvtchnPort,
    slot: &Port,
    vcpu: &Arc<Vcpu>,
) -> (bool, Effects) {
    let Some(word) = fifo.word(port.raw()) else {
        return (!slot.fifo.deferred.replace(true), Effects::NONE);
    };
    let before = word.set(hv, PENDING);
    let is_new = before & PENDING == 0;
    if before & (MASKED | LINKED) != 0 {
        return (is_new, Effects::NONE);
    }
    (is_new, link(hv, domain, fifo, port, slot, vcpu, word))
}

/// Appends an event to the queue of its vCPU and priority, unless it is in a queue.
fn link<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    fifo: &Fifo,
    port: EvtchnPort,
    slot: &Port,
    vcpu: &Arc<Vcpu>,
    word: Word,
) -> Effects {
    // A guest that unmasks before it gave a control block has nowhere to look: the event is dropped.
    let Some(control) = control_block(vcpu) else { return Effects::NONE };
    if word.set(hv, LINKED) & LINKED != 0 {
        return Effects::NONE;
    }
    leave_queue(domain, port, slot);
    let priority = usize::from(slot.fifo.priority) % QUEUES;
    slot.fifo.queue.set(vcpu.id.raw() * QUEUES as u32 + priority as u32);
    let tail = vcpu.events.tails[priority].swap(port.raw(), Ordering::Relaxed);
    let appended = tail != 0 && fifo.word(tail).is_some_and(|last| last.link_to(hv, port.raw()));
    if appended {
        return Effects::NONE;
    }
    set_head(hv, control, priority, port.raw());
    let (mfn, index) = (control.mfn(), control.offset() / 8);
    if hv.platform.fetch_or(mfn, index, 1 << priority) & 1 << priority != 0 {
        return Effects::NONE;
    }
    mark_upcall(hv, vcpu)
}

/// The event is not linked, so where it was last, it is not the last any more.
fn leave_queue(domain: &Domain, port: EvtchnPort, slot: &Port) {
    let queue = slot.fifo.queue.get();
    let Some(vcpu) = speculation::get(domain.vcpus(), queue as usize / QUEUES) else { return };
    let tail = &vcpu.events.tails[queue as usize % QUEUES];
    let _ = tail.compare_exchange(port.raw(), 0, Ordering::Relaxed, Ordering::Relaxed);
}

fn control_block(vcpu: &Vcpu) -> Option<MachineAddr> {
    match vcpu.events.control.load(Ordering::Relaxed) {
        u64::MAX => None,
        address => Some(MachineAddr::new(address)),
    }
}

/// The frame of a vCPU's control block.
pub(super) fn control_frame(vcpu: &Vcpu) -> Option<Mfn> {
    control_block(vcpu).map(MachineAddr::mfn)
}

/// Writes the first event of a queue into the control block. Only the hypervisor writes heads, under the table's lock.
fn set_head<P: Platform>(hv: &Hypervisor<P>, control: MachineAddr, priority: usize, port: u32) {
    let (mfn, index) = (control.mfn(), control.offset() / 8 + 1 + priority / 2);
    let shift = (priority as u32 & 1) * 32;
    let rest = hv.platform.load(mfn, index) & !(0xffff_ffff << shift);
    hv.platform.store(mfn, index, rest | u64::from(port) << shift);
}

/// Takes the mask off a port, and delivers what is pending.
#[inline(never)]
pub(super) fn unmask<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    fifo: &Fifo,
    port: EvtchnPort,
    slot: &Port,
    vcpu: &Arc<Vcpu>,
) -> Effects {
    let Some(word) = fifo.word(port.raw()) else { return Effects::NONE };
    if word.clear(hv, MASKED) & (PENDING | LINKED) == PENDING {
        link(hv, domain, fifo, port, slot, vcpu, word)
    } else {
        Effects::NONE
    }
}

pub(super) fn is_pending<P: Platform>(hv: &Hypervisor<P>, fifo: &Fifo, port: EvtchnPort) -> bool {
    fifo.word(port.raw()).is_some_and(|word| word.load(hv) & PENDING != 0)
}

/// Whether a port is in a queue, as far as the guest's word says.
pub(super) fn is_linked<P: Platform>(hv: &Hypervisor<P>, fifo: &Fifo, port: EvtchnPort) -> bool {
    fifo.word(port.raw()).is_some_and(|word| word.load(hv) & LINKED != 0)
}

/// The port is closed. The guest unlinks the event when it comes across it, and ignores it since it is not pending.
pub(super) fn clear_pending<P: Platform>(hv: &Hypervisor<P>, fifo: &Fifo, port: EvtchnPort) {
    if let Some(word) = fifo.word(port.raw()) {
        word.clear(hv, PENDING);
    }
}

/// `EVTCHNOP_init_control`: gives a vCPU its control block at byte `offset` of a frame of its domain's. The first one switches the domain to
/// this delivery. What was pending in the bits becomes pending in the words as they come.
///
/// # Errors
/// `EINVAL` for an offset that is not a multiple of 8 or at which the block would leave the frame, for a frame that the domain does
/// not have writable, and for a vCPU that has a control block.
pub fn init_control<P: Platform>(
    hv: &Hypervisor<P>,
    domain: &Domain,
    vcpu: &Vcpu,
    frame: Mfn,
    offset: u32,
) -> Result<(), Fail> {
    if offset > PAGE_SIZE as u32 - CONTROL_BYTES || !offset.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    get_page_type(hv, frame, domain.id, Kind::Writable)?;
    let mut table = domain.events.lock();
    if control_block(vcpu).is_some() || table.closed {
        drop(table);
        put_page_type(hv, frame);
        return Err(Errno::EINVAL.into());
    }
    if let Delivery::TwoLevel = table.delivery {
        defer_pending(hv, domain, &table);
        table.delivery = Delivery::Fifo(Fifo::default());
    }
    vcpu.events.tails.iter().for_each(|tail| tail.store(0, Ordering::Relaxed));
    let address = frame.raw() * PAGE_SIZE as u64 + u64::from(offset);
    vcpu.events.control.store(address, Ordering::Relaxed);
    Ok(())
}

/// Notes which ports are pending in the bits of the shared page.
fn defer_pending<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, table: &Table) {
    for number in 1..table.valid_ports().min(super::TWO_LEVEL_PORTS) {
        let port = EvtchnPort::new(number);
        if let Some(slot) = table.get(port) {
            let bound = !matches!(slot.channel, Channel::Free | Channel::Reserved);
            slot.fifo.deferred.set(bound && two_level::is_pending(hv, domain, port));
        }
    }
}

/// `EVTCHNOP_expand_array`: adds a page of event words.
///
/// # Errors
/// `EOPNOTSUPP` before `init_control`, `ENOSPC` when the array is complete, `EINVAL` for a frame that the domain does not have writable.
pub fn expand_array<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, frame: Mfn) -> Result<Effects, Fail> {
    if let Delivery::TwoLevel = domain.events.lock().delivery {
        return Err(Errno::EOPNOTSUPP.into());
    }
    get_page_type(hv, frame, domain.id, Kind::Writable)?;
    let mut table = domain.events.lock();
    let closed = table.closed;
    let added = match &mut table.delivery {
        Delivery::TwoLevel => Err(Errno::EOPNOTSUPP),
        Delivery::Fifo(_) if closed => Err(Errno::EINVAL),
        Delivery::Fifo(fifo) if fifo.pages.len() == MAX_PAGES => Err(Errno::ENOSPC),
        Delivery::Fifo(fifo) => fifo.pages.try_reserve(1).map_err(|_| Errno::ENOMEM).map(|()| {
            fifo.pages.push(frame);
            (fifo.pages.len() - 1) * WORDS_PER_PAGE
        }),
    };
    match added {
        Ok(first) => Ok(deliver_deferred(hv, domain, &table, first as u32)),
        Err(errno) => {
            drop(table);
            put_page_type(hv, frame);
            Err(errno.into())
        }
    }
}

/// Makes the events pending that came before their words.
fn deliver_deferred<P: Platform>(hv: &Hypervisor<P>, domain: &Domain, table: &Table, first: u32) -> Effects {
    let end = table.valid_ports().min(first + WORDS_PER_PAGE as u32);
    let mut effects = Effects::NONE;
    for number in first..end {
        let port = EvtchnPort::new(number);
        if let Some(slot) = table.get(port).filter(|slot| slot.fifo.deferred.replace(false)) {
            effects = effects.and(raise(hv, domain, table, port, slot));
        }
    }
    effects
}

/// `EVTCHNOP_set_priority`: takes effect when the event is linked next.
///
/// # Errors
/// `EINVAL` for a port that does not exist or a priority above 15, `ENOSYS` while the domain uses bits.
pub fn set_priority(domain: &Domain, port: EvtchnPort, priority: u32) -> Result<(), Errno> {
    let mut table = domain.events.lock();
    let two_level = matches!(table.delivery, Delivery::TwoLevel);
    let slot = table.get_mut(port).ok_or(Errno::EINVAL)?;
    if two_level {
        return Err(Errno::ENOSYS);
    }
    if priority as usize >= QUEUES {
        return Err(Errno::EINVAL);
    }
    slot.fifo.priority = priority as u8;
    Ok(())
}

/// Returns to bits. The table is locked by the caller, who puts the frames afterwards: those of the array, and those of the control
/// blocks, of which each vCPU of a domain has one at most. Takes no memory, as a guest does this when it likes.
pub(super) fn dismantle(domain: &Domain, table: &mut Table) -> (Vec<Mfn>, [Mfn; MAX_VCPUS as usize]) {
    let mut blocks = [Mfn::INVALID; MAX_VCPUS as usize];
    let Delivery::Fifo(fifo) = core::mem::take(&mut table.delivery) else { return (Vec::new(), blocks) };
    for number in 1..table.valid_ports() {
        if let Some(slot) = table.get_mut(EvtchnPort::new(number)) {
            slot.fifo = PortState { priority: slot.fifo.priority, ..PortState::new() };
        }
    }
    for (block, vcpu) in blocks.iter_mut().zip(domain.vcpus()) {
        match vcpu.events.control.swap(u64::MAX, Ordering::Relaxed) {
            u64::MAX => {}
            address => *block = MachineAddr::new(address).mfn(),
        }
    }
    (fifo.pages, blocks)
}
