//! Suspending: the domain stands still, is saved, and goes on elsewhere.
//!
//! A toolstack asks for it with the word `suspend` in `control/shutdown`, waits until the domain has shut down for that reason, copies its
//! memory and registers, and makes a domain of them again: on this machine or another, now or later. [`now`] is the guest's part;
//! [`crate::shutdown::obey`] calls it when it is asked to.
//!
//! # What goes on, and what does not
//! | | |
//! |---|---|
//! | memory, registers, tasks | as they were; frames have other machine numbers, which code outside of this crate sees only if it asked for them |
//! | time | [`crate::time::Instant`] goes on where it was; the date is the machine's |
//! | vCPUs | stand still with events masked, and go on |
//! | event channels | those of timers and vCPUs, and those offered to others, get new ports; what another domain had offered is gone |
//! | grants | the same references, the same frames; nobody has them mapped |
//! | the store | requests are answered before, watches are registered anew, and each reports once |
//! | the console | goes on |
//! | disks | connect to their new back end; requests without an answer are sent again |
//! | network | connects to its new back end; frames under way are lost, connections go on. Who uses a [`crate::net::Nic`] itself calls its `reconnect` |
//! | mappings of other domains' frames | none may be there: [`Error::Mapped`] |
//!
//! # Order
//! The store comes to rest; other vCPUs stand still; events are masked; grants are noted and the table is unmapped; the shared page is
//! unmapped; the hypervisor is told. Then everything in reverse. Between the first and the last step nothing waits.
//!
//! If the toolstack changes its mind, the hypervisor says that the domain was not moved: then ports, grants and watches are as they were.

use crate::{
    arch, console, events, executor, grant,
    memory::SharedPages,
    start,
    store::{self, Held},
    sync::{EventsMasked, MaskedMutex},
    time::{self, Instant},
    types::Port,
    vcpu,
};
use abi::{
    errno::Errno,
    xen::{ArchSharedInfo, SharedInfo},
};
use alloc::{
    boxed::Box,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::{
    fmt,
    mem::offset_of,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
};

/// How a suspend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The domain was made again from what was saved.
    Restored,
    /// The toolstack changed its mind: nothing happened.
    Cancelled,
}

/// The domain cannot be suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// So many frames of other domains are mapped.
    Mapped(usize),
    /// It was not asked for on the boot vCPU; the value is the number of the one it was.
    Vcpu(usize),
    /// The store does not come to rest.
    Store(store::Error),
    /// The hypervisor refuses.
    Refused(Errno),
    /// There is no memory for the list of the domain's frames.
    NoMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapped(frames) => write!(f, "{frames} frames of other domains are mapped"),
            Self::Vcpu(vcpu) => write!(f, "vCPU {vcpu} asks for it, which only vCPU 0 can"),
            Self::Store(error) => error.fmt(f),
            Self::Refused(errno) => write!(f, "the hypervisor refuses: {errno}"),
            Self::NoMemory => write!(f, "there is no memory for the list of the domain's frames"),
        }
    }
}

impl core::error::Error for Error {}

/// A device's front end, which connects again after the domain was restored.
pub(crate) trait Reconnect: Send + Sync {
    /// Does so. To be spawned.
    fn reconnect(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

static DEVICES: MaskedMutex<Vec<Weak<dyn Reconnect>>> = MaskedMutex::new(Vec::new());
static RESTORED: AtomicU32 = AtomicU32::new(0);

/// How often this domain was restored.
pub fn restored() -> u32 {
    RESTORED.load(Ordering::Relaxed)
}

/// Has a device connect again whenever the domain was restored, for as long as it exists.
pub(crate) fn register(device: Weak<dyn Reconnect>) {
    let mut devices = DEVICES.lock();
    devices.retain(|device| device.strong_count() > 0);
    devices.push(device);
}

/// Suspends the domain; returns when it goes on. Only on the boot vCPU.
///
/// # Errors
/// If the domain cannot be suspended; it goes on then.
pub async fn now() -> Result<Outcome, Error> {
    if vcpu::current() != 0 {
        return Err(Error::Vcpu(vcpu::current()));
    }
    if grant::usage().mapped > 0 {
        return Err(Error::Mapped(grant::usage().mapped));
    }
    publish_frames()?;
    let held = match store::get() {
        Some(store) => Some(store.hold().await.map_err(Error::Store)?),
        None => None,
    };
    console::flush();
    let outcome = stand_still(held.as_ref())?;
    drop(held);
    if outcome == Outcome::Restored {
        publish_frames()?;
        let devices: Vec<_> = DEVICES.lock().iter().filter_map(Weak::upgrade).collect();
        devices.into_iter().for_each(|device| executor::spawn(device.reconnect()));
    }
    Ok(outcome)
}

/// From here to the end nothing waits.
fn stand_still(store: Option<&Held>) -> Result<Outcome, Error> {
    let others = vcpu::park_others();
    let masked = EventsMasked::new();
    let moment = Instant::now();
    let grants = grant::suspend();
    let left = arch::leave_shared_info();
    let suspended = left.and_then(|()| arch::suspend());
    let restored = suspended == Ok(false);
    if restored {
        arch::reload_start_info();
    }
    // Without the shared page, or without grants, nothing of this domain works any more.
    arch::enter_shared_info().expect("mapping the shared page was refused");
    grants.resume(restored).expect("mapping the grant table was refused");
    if restored {
        go_on(moment, store);
    }
    time::arm_again();
    drop(others);
    drop(masked);
    match suspended {
        Ok(false) => Ok(Outcome::Restored),
        Ok(true) => Ok(Outcome::Cancelled),
        Err(errno) => Err(Error::Refused(errno)),
    }
}

fn go_on(moment: Instant, store: Option<&Held>) {
    RESTORED.fetch_add(1, Ordering::Relaxed);
    start::forget_domain_id();
    time::go_on_at(moment);
    events::mask_all();
    events::bind_again();
    console::connect_again();
    if let Some(store) = store {
        store.restart(Port(start::info().store_evtchn));
    }
}

/// The lists of the P2M's frames: one page that names the others, and those.
static LISTS: MaskedMutex<Option<SharedPages>> = MaskedMutex::new(None);
/// Frames that a page names.
const NAMED: usize = 512;

/// Tells, in the shared page, where the list of this domain's frames is: who saves it begins there. Frames are named by their machine
/// numbers, so this is done anew after the domain was restored.
pub(crate) fn publish_frames() -> Result<(), Error> {
    let frames: Vec<_> = arch::p2m_frames().collect();
    let mut lists = LISTS.lock();
    if lists.is_none() {
        *lists = Some(SharedPages::new(1 + frames.len().div_ceil(NAMED)).ok_or(Error::NoMemory)?);
    }
    let Some(pages) = lists.as_ref() else { return Err(Error::NoMemory) };
    for list in 1..pages.count() {
        pages.store_u64(8 * (list - 1), pages.mfn(list).0);
    }
    for (number, pfn) in frames.iter().enumerate() {
        pages.store_u64(8 * (NAMED + number), arch::pfn_to_machine(pfn.0));
    }
    let field = |offset: usize| offset_of!(SharedInfo, arch) + offset;
    let shared = arch::shared_info();
    shared.store_u64(field(offset_of!(ArchSharedInfo, max_pfn)), arch::start_info().nr_pages);
    shared.store_u64(field(offset_of!(ArchSharedInfo, pfn_to_mfn_frame_list_list)), pages.mfn(0).0);
    Ok(())
}
