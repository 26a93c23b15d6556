//! Domains and the table that finds them.
//!
//! A domain is `Building` until its vCPU 0 has a context, then `Running`; it may become `ShutDown` (with a reason) and go back
//! to running (after a suspend), and ends as `Dying`, while its memory is taken back piece by piece, and `Dead`, when nothing
//! refers to it and it leaves the table. Whoever holds an `Arc<Domain>` may find it dying at any time: operations that give it
//! something (frames, channels, grants) check [`Domain::is_dying`] under the lock that teardown takes too.

use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::sync::Mutex;
use spin::Once;

use crate::addr::{DomId, Mfn, VcpuId};
use crate::fail::Errno;
use crate::sched::Share;

pub mod context;
mod table;
pub mod vcpu;

pub use table::Domains;

pub use vcpu::{Callback, Mode, Pending, Registers, Selectors, TrapHandler, Vcpu, VcpuState};

/// Most vCPUs of a domain (`XEN_LEGACY_MAX_VCPUS` have a `vcpu_info` in the shared page; the rest must register one).
pub const MAX_VCPUS: u32 = 128;

/// Where a domain is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// Alive: being built, or running.
    Alive = 0,
    /// Its guest asked to stop, or crashed; the reason is set.
    ShutDown = 1,
    /// Its resources are being taken back.
    Dying = 2,
    /// Nothing is left but references.
    Dead = 3,
}

/// Frames that a domain has and may have.
#[derive(Debug)]
pub struct Account {
    /// Frames it owns now.
    pub total: AtomicU32,
    /// Frames it may own.
    pub max: AtomicU32,
    /// The frame at which taking back its memory goes on.
    pub cursor: AtomicU64,
    /// No frame below was ever its.
    pub(crate) lowest: AtomicU64,
    /// No frame from here on was ever its.
    pub(crate) end: AtomicU64,
}

impl Default for Account {
    fn default() -> Self {
        Account {
            total: AtomicU32::new(0),
            max: AtomicU32::new(0),
            cursor: AtomicU64::new(0),
            lowest: AtomicU64::new(u64::MAX),
            end: AtomicU64::new(0),
        }
    }
}

/// A domain.
#[derive(Debug)]
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// Whether it may use the control interfaces (`SIF_PRIVILEGED`).
    pub privileged: bool,
    /// UUID given by the toolstack.
    pub handle: Mutex<[u8; 16]>,
    /// The frame of its `shared_info`.
    pub shared_info: Mfn,
    /// Most vCPUs that it may be given.
    pub max_vcpus: u32,
    /// Memory account.
    pub memory: Account,
    /// Its part of the CPUs.
    pub share: Arc<Share>,
    /// CPUs on which one of its address spaces is loaded (bit n is CPU n): those that may hold its translations. Kept by whoever
    /// switches vCPUs, which drops all translations of a CPU after it entered the CPU here.
    pub active_cpus: AtomicU64,
    life: AtomicU8,
    /// Reason of the shutdown (`SHUTDOWN_*`), valid in [`Life::ShutDown`] and later.
    pub shutdown_reason: AtomicU32,
    /// How many times it is paused; 0 is running.
    pub paused: AtomicU32,
    /// How many of these pauses are the toolstack's own.
    pub paused_by_controller: AtomicU32,
    vcpus: Once<Box<[Arc<Vcpu>]>>,
    /// Event channels.
    pub events: crate::event::Events,
    /// Grant table and the mappings it made of others' grants.
    pub grants: crate::grant::Grants,
    /// Bits of `vm_assist`.
    pub vm_assist: AtomicU64,
    /// What the toolstack told of it.
    pub settings: Mutex<Settings>,
}

/// What a toolstack told of a domain and nothing else depends on.
#[derive(Debug, Default)]
pub struct Settings {
    /// Its memory map (`XENMEM_set_memory_map`): start, length, type.
    pub memory_map: Vec<(u64, u64, u32)>,
    /// Address size in bits (`XEN_DOMCTL_set_address_size`); 0 stands for 64.
    pub address_size: u32,
    /// What it last wrote to the PCI configuration address port (0xcf8).
    pub pci_address: u32,
    /// `tsc_mode` of `XEN_DOMCTL_settscinfo`.
    pub tsc_mode: u32,
    /// How often it moved to another machine.
    pub tsc_incarnation: u32,
    /// Whether a debugger said that it is attached.
    pub debugged: bool,
    /// What CPUID shows it; `None` for the default of all guests.
    pub cpu_policy: Option<crate::control::policy::Policy>,
}

impl Domain {
    /// A domain without vCPUs, alive and paused by its controller. `shared_info` is a cleared frame, `share` its part of the CPUs.
    pub fn new(id: DomId, privileged: bool, shared_info: Mfn, max_frames: u32, share: Arc<Share>) -> Domain {
        Domain {
            id,
            privileged,
            handle: Mutex::new([0; 16]),
            shared_info,
            max_vcpus: 1,
            memory: Account {
                total: AtomicU32::new(0),
                max: AtomicU32::new(max_frames),
                ..Account::default()
            },
            life: AtomicU8::new(Life::Alive as u8),
            shutdown_reason: AtomicU32::new(u32::MAX),
            paused: AtomicU32::new(1),
            paused_by_controller: AtomicU32::new(1),
            vcpus: Once::new(),
            events: crate::event::Events::default(),
            grants: crate::grant::Grants::default(),
            share,
            active_cpus: AtomicU64::new(0),
            vm_assist: AtomicU64::new(0),
            settings: Mutex::new(Settings::default()),
        }
    }

    /// Where it is in its life.
    pub fn life(&self) -> Life {
        match self.life.load(Ordering::Acquire) {
            0 => Life::Alive,
            1 => Life::ShutDown,
            2 => Life::Dying,
            _ => Life::Dead,
        }
    }

    /// Moves on to a later stage; `false` if it was there or past it already.
    pub fn advance(&self, to: Life) -> bool {
        self.life.fetch_max(to as u8, Ordering::AcqRel) < to as u8
    }

    /// Back from [`Life::ShutDown`] to [`Life::Alive`]; `false` when it was not shut down.
    pub fn resume(&self) -> bool {
        let from = Life::ShutDown as u8;
        self.life.compare_exchange(from, Life::Alive as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether it enabled this type of `vm_assist`.
    #[inline]
    pub fn assists(&self, kind: u32) -> bool {
        self.vm_assist.load(Ordering::Relaxed) >> kind & 1 != 0
    }

    /// Whether its resources are being taken back: it must be given nothing more.
    pub fn is_dying(&self) -> bool {
        self.life() >= Life::Dying
    }

    /// All its vCPUs; empty before [`Domain::set_vcpus`].
    #[inline(always)]
    pub fn vcpus(&self) -> &[Arc<Vcpu>] {
        self.vcpus.get().map_or(&[], |all| all)
    }

    /// One of its vCPUs.
    #[inline(always)]
    pub fn vcpu(&self, id: VcpuId) -> Option<&Arc<Vcpu>> {
        crate::speculation::get(self.vcpus(), id.index())
    }

    /// Gives it vCPUs, once (`XEN_DOMCTL_max_vcpus`).
    ///
    /// # Errors
    /// `EEXIST` when it has them already.
    pub fn set_vcpus(&self, vcpus: Box<[Arc<Vcpu>]>) -> Result<(), Errno> {
        let mut given = Some(vcpus);
        self.vcpus.call_once(|| given.take().unwrap_or_default());
        if given.is_none() { Ok(()) } else { Err(Errno::EEXIST) }
    }
}

impl PartialOrd for Life {
    fn partial_cmp(&self, other: &Life) -> Option<core::cmp::Ordering> {
        Some((*self as u8).cmp(&(*other as u8)))
    }
}
