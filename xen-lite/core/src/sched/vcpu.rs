//! The scheduler's part of a vCPU.

use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use alloc::sync::Arc;

use crate::sync::Mutex;

use super::runstate::Runstate;
use super::share::Share;
use crate::addr::CpuId;

/// No CPU, in an atomic.
pub(super) const NOWHERE: u32 = u32::MAX;

bitflags::bitflags! {
    /// What holds a vCPU back, apart from pauses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Hold: u32 {
        /// Waits for an event (`SCHEDOP_block`, `SCHEDOP_poll`).
        const BLOCKED = 1 << 0;
        /// Down (`VCPUOP_down`), or never brought up.
        const DOWN = 1 << 1;
    }
}

/// The scheduler's part of a vCPU.
#[derive(Debug)]
pub struct VcpuSched {
    pub(super) holds: AtomicU32,
    pub(super) pauses: AtomicU32,
    /// The CPU whose queue it belongs to.
    pub(super) cpu: AtomicU32,
    /// The CPU it runs on, or [`NOWHERE`].
    pub(super) running_on: AtomicU32,
    pub(super) queued: AtomicBool,
    pub(super) yielded: AtomicBool,
    /// What [`Hold::BLOCKED`] waits for when it polls: 0 does not poll, `u32::MAX` several ports, else one port.
    poll: AtomicU32,
    /// Weighted time it has had, in nanoseconds at the default weight.
    pub(crate) virtual_time: AtomicU64,
    /// Its domain's weight and cap.
    pub(super) share: Arc<Share>,
    /// The CPU that is its own ([`super::seats`]), or [`NOWHERE`].
    pub(super) seat: AtomicU32,
    /// CPUs it may run on.
    pub(super) affinity: AtomicU64,
    /// CPUs it should run on.
    pub(super) soft_affinity: AtomicU64,
    /// CPU that `SCHEDOP_pin_override` named; negative is none.
    pub(super) pin: AtomicI32,
    pub(super) runstate: Mutex<Runstate>,
}

impl VcpuSched {
    /// Of a vCPU that is down, of a domain with this share.
    pub(crate) fn new(share: Arc<Share>) -> Self {
        VcpuSched {
            holds: AtomicU32::new(Hold::DOWN.bits()),
            pauses: AtomicU32::new(0),
            cpu: AtomicU32::new(0),
            running_on: AtomicU32::new(NOWHERE),
            queued: AtomicBool::new(false),
            yielded: AtomicBool::new(false),
            poll: AtomicU32::new(0),
            virtual_time: AtomicU64::new(0),
            share,
            seat: AtomicU32::new(NOWHERE),
            affinity: AtomicU64::new(u64::MAX),
            soft_affinity: AtomicU64::new(u64::MAX),
            pin: AtomicI32::new(-1),
            runstate: Mutex::new(Runstate::default()),
        }
    }

    /// What holds it back, pauses apart.
    #[inline(always)]
    pub fn holds(&self) -> Hold {
        Hold::from_bits_retain(self.holds.load(Ordering::SeqCst))
    }

    /// Whether it is up in the sense of `VCPUOP_is_up`.
    pub fn is_up(&self) -> bool {
        !self.holds().contains(Hold::DOWN)
    }

    /// The CPU it runs on.
    #[inline(always)]
    pub fn running_on(&self) -> Option<CpuId> {
        match self.running_on.load(Ordering::SeqCst) {
            NOWHERE => None,
            cpu => Some(CpuId::new(cpu)),
        }
    }

    /// The CPU whose queue it belongs to: where it runs or ran last.
    pub fn cpu(&self) -> CpuId {
        CpuId::new(self.cpu.load(Ordering::Relaxed))
    }

    /// The ports that it polls: 0 none, `u32::MAX` several, else that one.
    pub(crate) fn poll(&self) -> u32 {
        self.poll.load(Ordering::SeqCst)
    }

    pub(crate) fn set_poll(&self, ports: u32) {
        self.poll.store(ports, Ordering::SeqCst);
    }

    pub(super) fn hold(&self, what: Hold) -> Hold {
        Hold::from_bits_retain(self.holds.fetch_or(what.bits(), Ordering::SeqCst))
    }

    pub(super) fn release(&self, what: Hold) -> Hold {
        Hold::from_bits_retain(self.holds.fetch_and(!what.bits(), Ordering::SeqCst))
    }

    /// The run state account, the present stay not included.
    pub(crate) fn account(&self) -> Runstate {
        *self.runstate.lock()
    }

    /// CPUs it may run on now, the override of `SCHEDOP_pin_override` considered.
    pub fn allowed(&self) -> u64 {
        match u32::try_from(self.pin.load(Ordering::Relaxed)) {
            Ok(cpu) if cpu < 64 => 1 << cpu,
            _ => self.affinity.load(Ordering::Relaxed),
        }
    }

    /// Hard and soft affinity as the toolstack set them (bit n is CPU n).
    pub fn affinity(&self) -> (u64, u64) {
        (self.affinity.load(Ordering::Relaxed), self.soft_affinity.load(Ordering::Relaxed))
    }
}
