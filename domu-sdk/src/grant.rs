//! Grants: letting one other domain use a frame, and using a frame that another domain grants.
//!
//! # The life of a frame
//!
//! | state | type | who reaches the bytes |
//! |---|---|---|
//! | own | [`Pages`] | this domain alone, as a slice |
//! | granted | [`Lent`], or [`Grant`] for pages that stay shared | both, through [`SharedMem`] |
//! | mapped | the other domain's [`GrantMapping`] | both |
//! | revoked | [`Pages`] again | this domain alone |
//!
//! Each step consumes the value of the state before, so what would be wrong does not compile: using pages as a slice while they are lent,
//! using a grant after it was revoked, revoking it twice, keeping a view of a mapping that was unmapped.
//!
//! ```compile_fail,E0382
//! # fn f(pages: domu_sdk::memory::Pages, other: domu_sdk::DomId) -> Result<(), Box<dyn core::error::Error>> {
//! use domu_sdk::grant::{Access, Lent};
//! let lent = Lent::new(pages, other, Access::ReadWrite)?;
//! println!("{}", pages[0]); // moved: the other domain may be writing there
//! # Ok(()) }
//! ```
//!
//! ```compile_fail,E0382
//! # fn f(lent: domu_sdk::grant::Lent) {
//! let pages = lent.revoke();
//! lent.load_u8(0); // moved: these pages are no longer lent
//! # }
//! ```
//!
//! ```compile_fail,E0382
//! # fn f(grant: domu_sdk::grant::Grant) {
//! let _ = grant.end();
//! let _ = grant.end(); // a second time
//! # }
//! ```
//!
//! ```compile_fail,E0505
//! # fn f(mapping: domu_sdk::grant::GrantMapping) {
//! let view = mapping.slice(0, 16);
//! drop(mapping);
//! view.load_u8(0); // nothing is mapped there any longer
//! # }
//! ```
//!
//! The right order does:
//!
//! ```no_run
//! # fn f(pages: domu_sdk::memory::Pages, other: domu_sdk::DomId) -> Result<(), Box<dyn core::error::Error>> {
//! use domu_sdk::grant::{Access, Lent};
//! let lent = Lent::new(pages, other, Access::Read)?;
//! println!("tell the other domain {:?}", lent.references());
//! match lent.revoke() {
//!     Ok(pages) => println!("mine again: {}", pages[0]),
//!     Err(lent) => println!("still in use: {}", lent.in_use()),
//! }
//! # Ok(()) }
//! ```
//!
//! # Granting
//! A [`Grant`] is an entry of this domain's table: frame, other domain, read-only or not. It keeps the pages alive. The other
//! side sees the reference and may map the frame for as long as the entry stands; the hypervisor marks the entry while it does.
//! [`Grant::end`] takes the entry back unless it is in use. Dropping a grant that is still in use would hand memory to the heap
//! that somebody else can write, so such a grant, its reference and its pages are kept for ever instead, and [`leaked`] counts
//! them.
//!
//! # Mapping
//! A [`GrantMapping`] has granted frames of another domain at consecutive addresses. Dropping it unmaps them.
//!
//! # Leaks
//! [`usage`] counts what stands at the moment; a [`LeakCheck`] compares a later moment with an earlier one, as tests do around what they
//! test.

use crate::{
    arch,
    hypercall::grant::{self as call, GrantError, GrantResult},
    memory::{Pages, SharedMem, SharedPages, windows::Window},
    sync::{MaskedGuard, MaskedMutex},
    types::{DomId, GrantRef},
};
use abi::{
    errno::Errno,
    grant_table::{
        GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTTAB_NR_RESERVED_ENTRIES,
        GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING, GnttabMapGrantRef, GnttabUnmapGrantRef,
        GrantEntryV1,
    },
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::{
    fmt,
    mem::offset_of,
    ops::Deref,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Frames of the table at most; each holds 512 entries.
const MAX_FRAMES: u32 = 32;
const ENTRY: usize = size_of::<GrantEntryV1>();
const ENTRIES_PER_FRAME: u32 = (4096 / ENTRY) as u32;

/// What the other domain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    ReadWrite,
}

/// The domain's own table, mapped.
struct Table {
    window: Window,
    memory: SharedMem,
    frames: u32,
    free: Vec<u32>,
}

static TABLE: MaskedMutex<Option<Table>> = MaskedMutex::new(None);
static LEAKED: AtomicUsize = AtomicUsize::new(0);
static GRANTED: AtomicUsize = AtomicUsize::new(0);
static MAPPED: AtomicUsize = AtomicUsize::new(0);

impl Table {
    fn setup() -> GrantResult<Self> {
        let (_, max) = call::query_size()?;
        let window = Window::reserve(max.clamp(1, MAX_FRAMES) as usize)?;
        let memory = window.memory();
        let mut table = Self { window, memory, frames: 0, free: Vec::new() };
        table.grow(1)?;
        Ok(table)
    }

    /// Sets the table up with `frames` frames.
    fn grow(&mut self, frames: u32) -> GrantResult {
        self.map(frames)?;
        let first = (self.frames * ENTRIES_PER_FRAME).max(GNTTAB_NR_RESERVED_ENTRIES);
        self.free.extend((first..frames * ENTRIES_PER_FRAME).rev());
        self.frames = frames;
        Ok(())
    }

    /// Has the hypervisor make the table so large, and maps it.
    fn map(&self, frames: u32) -> GrantResult {
        let mut list = vec![0; frames as usize];
        call::setup_table(&mut list)?;
        self.window.map(&list, abi::xen::DOMID_SELF, true).map_err(|error| GrantError::Call(error.errno))
    }

    /// What is granted, but for what the domain's builder granted.
    fn standing(&self) -> Vec<Standing> {
        let entry = |reference: u32| {
            let at = reference as usize * ENTRY;
            let flags = self.memory.load_u16(at + offset_of!(GrantEntryV1, flags));
            let domain = self.memory.load_u16(at + offset_of!(GrantEntryV1, domid));
            let frame = self.memory.load_u32(at + offset_of!(GrantEntryV1, frame));
            let pfn = arch::machine_to_pfn(frame.into()).filter(|_| flags & GTF_PERMIT_ACCESS != 0)?;
            Some(Standing { reference, domain, flags: flags & !(GTF_READING | GTF_WRITING), pfn })
        };
        (GNTTAB_NR_RESERVED_ENTRIES..self.frames * ENTRIES_PER_FRAME).filter_map(entry).collect()
    }

    fn take(&mut self) -> GrantResult<u32> {
        if self.free.is_empty() {
            if self.frames as usize >= self.window.pages() {
                return Err(Errno::ENOSPC.into());
            }
            self.grow(self.frames + 1)?;
        }
        self.free.pop().ok_or(GrantError::Call(Errno::ENOSPC))
    }

    /// Writes an entry; the flags last, since they make it valid.
    fn permit(&self, reference: u32, domain: u16, frame: u32, flags: u16) {
        let at = reference as usize * ENTRY;
        self.memory.store_u32(at + offset_of!(GrantEntryV1, frame), frame);
        self.memory.store_u16(at + offset_of!(GrantEntryV1, domid), domain);
        self.memory.store_u16(at + offset_of!(GrantEntryV1, flags), flags);
    }

    /// Takes an entry back; `false` if it is in use.
    fn revoke(&mut self, reference: u32) -> bool {
        let at = reference as usize * ENTRY + offset_of!(GrantEntryV1, flags);
        let mut flags = self.memory.load_u16(at);
        loop {
            if flags & (GTF_READING | GTF_WRITING) != 0 {
                return false;
            }
            match self.memory.compare_exchange_u16(at, flags, 0) {
                Ok(_) => break,
                Err(seen) => flags = seen,
            }
        }
        self.free.push(reference);
        true
    }

    fn in_use(&self, reference: u32) -> bool {
        let at = reference as usize * ENTRY + offset_of!(GrantEntryV1, flags);
        self.memory.load_u16(at) & (GTF_READING | GTF_WRITING) != 0
    }
}

/// A grant that stands while the domain is suspended, with the frame numbered as the domain does.
#[derive(Clone, Copy, Debug)]
struct Standing {
    reference: u32,
    domain: u16,
    flags: u16,
    pfn: u64,
}

/// The grants that stand, while the table is not mapped. Holds the table: nobody grants anything meanwhile.
pub(crate) struct Suspended {
    table: MaskedGuard<'static, Option<Table>>,
    standing: Vec<Standing>,
}

/// Notes what is granted, and unmaps the table: the hypervisor's frames are not there any more when the domain is restored.
pub(crate) fn suspend() -> Suspended {
    let table = TABLE.lock();
    let standing = table.as_ref().map_or_else(Vec::new, Table::standing);
    if let Some(table) = table.as_ref() {
        table.window.clear();
    }
    Suspended { table, standing }
}

impl Suspended {
    /// Maps the table again. In a restored domain it is a new one, and the grants are made again, under the same references.
    pub(crate) fn resume(mut self, restored: bool) -> GrantResult {
        let Some(table) = self.table.as_mut() else { return Ok(()) };
        table.map(table.frames)?;
        for grant in self.standing.iter().filter(|_| restored) {
            let frame = u32::try_from(arch::pfn_to_machine(grant.pfn)).map_err(|_| Errno::EOVERFLOW)?;
            table.permit(grant.reference, grant.domain, frame, grant.flags);
        }
        Ok(())
    }
}

fn with_table<T>(action: impl FnOnce(&mut Table) -> GrantResult<T>) -> GrantResult<T> {
    let mut table = TABLE.lock();
    if table.is_none() {
        *table = Some(Table::setup()?);
    }
    match table.as_mut() {
        Some(table) => action(table),
        None => Err(Errno::ENODEV.into()),
    }
}

/// Grants that were dropped while the other side still used them.
pub fn leaked() -> usize {
    LEAKED.load(Ordering::Relaxed)
}

/// What stands at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Frames of this domain that are granted to others.
    pub granted: usize,
    /// Frames of others that are mapped here.
    pub mapped: usize,
    /// Grants that were dropped while the other side used them, and are kept for ever; not among `granted`.
    pub leaked: usize,
}

/// How many grants and mappings there are.
pub fn usage() -> Usage {
    let now = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    Usage { granted: now(&GRANTED), mapped: now(&MAPPED), leaked: now(&LEAKED) }
}

/// Remembers what stood, to find out later whether something was not given back.
#[derive(Debug)]
#[must_use = "it tells something when it is finished"]
pub struct LeakCheck {
    before: Usage,
}

/// There is more than there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Before.
    pub before: Usage,
    /// Now.
    pub now: Usage,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, now } = self;
        write!(
            f,
            "not given back: {} grants, {} mapped frames; dropped while in use: {}",
            now.granted.saturating_sub(before.granted),
            now.mapped.saturating_sub(before.mapped),
            now.leaked.saturating_sub(before.leaked)
        )
    }
}

impl core::error::Error for Leak {}

impl LeakCheck {
    /// Begins.
    pub fn new() -> Self {
        Self { before: usage() }
    }

    /// Fails if there are more grants, mappings or leaks than at the beginning.
    pub fn finish(self) -> Result<(), Leak> {
        let (before, now) = (self.before, usage());
        let more = now.granted > before.granted || now.mapped > before.mapped || now.leaked > before.leaked;
        if more { Err(Leak { before, now }) } else { Ok(()) }
    }
}

impl Default for LeakCheck {
    fn default() -> Self {
        Self::new()
    }
}

/// Pages that are granted to another domain, all of them, and belong to this one alone again after [`Lent::revoke`].
#[derive(Debug)]
#[must_use = "dropping it ends the grants"]
pub struct Lent {
    grants: Vec<Grant>,
    pages: Arc<SharedPages>,
}

impl Lent {
    /// Lets `domain` use the pages.
    pub fn new(pages: Pages, domain: DomId, access: Access) -> GrantResult<Self> {
        let pages = Arc::new(pages.into_shared());
        let grants = (0..pages.count()).map(|page| Grant::new(&pages, page, domain, access));
        Ok(Self { grants: grants.collect::<GrantResult<Vec<Grant>>>()?, pages })
    }

    /// The numbers to tell the other domain, in the pages' order.
    pub fn references(&self) -> Vec<GrantRef> {
        self.grants.iter().map(Grant::reference).collect()
    }

    /// Whether the other domain has one of the pages mapped.
    pub fn in_use(&self) -> bool {
        self.grants.iter().any(Grant::in_use)
    }

    /// Ends the grants and gives the pages back, or everything as it is, if the other domain still uses a page. Pages that it
    /// did not use are then no longer granted.
    pub fn revoke(mut self) -> Result<Pages, Self> {
        while let Some(grant) = self.grants.pop() {
            if let Err(grant) = grant.end() {
                self.grants.push(grant);
                return Err(self);
            }
        }
        // The grants were the only others that kept the pages.
        Arc::try_unwrap(self.pages)
            .map(SharedPages::into_own)
            .map_err(|pages| Self { grants: Vec::new(), pages })
    }
}

impl Deref for Lent {
    type Target = SharedMem;

    fn deref(&self) -> &SharedMem {
        &self.pages
    }
}

/// Permission for another domain to use one of this domain's frames.
#[derive(Debug)]
#[must_use = "dropping it ends the grant"]
pub struct Grant {
    reference: GrantRef,
    /// `None` once the grant has ended.
    pages: Option<Arc<SharedPages>>,
}

impl Grant {
    /// Lets `domain` use frame `index` of `pages`. Panics if there is no such frame.
    pub fn new(pages: &Arc<SharedPages>, index: usize, domain: DomId, access: Access) -> GrantResult<Self> {
        // Version 1 of the table has 32 bits for the frame: 16 TiB of machine memory.
        let frame = u32::try_from(pages.mfn(index).0).map_err(|_| Errno::EOVERFLOW)?;
        let flags = match access {
            Access::Read => GTF_PERMIT_ACCESS | GTF_READONLY,
            Access::ReadWrite => GTF_PERMIT_ACCESS,
        };
        let reference = with_table(|table| {
            let reference = table.take()?;
            table.permit(reference, domain.0, frame, flags);
            Ok(reference)
        })?;
        GRANTED.fetch_add(1, Ordering::Relaxed);
        Ok(Self { reference: GrantRef(reference), pages: Some(pages.clone()) })
    }

    /// Whether the other side has the frame mapped at the moment, or copies from or to it.
    pub fn in_use(&self) -> bool {
        with_table(|table| Ok(table.in_use(self.reference.0))).unwrap_or(false)
    }

    /// The number to tell the other domain.
    pub fn reference(&self) -> GrantRef {
        self.reference
    }

    /// Ends the grant, or gives it back if the other side still uses the frame.
    pub fn end(mut self) -> Result<(), Self> {
        if self.revoke() { Ok(()) } else { Err(self) }
    }

    fn revoke(&mut self) -> bool {
        let revoked = with_table(|table| Ok(table.revoke(self.reference.0))).unwrap_or(false);
        if revoked {
            GRANTED.fetch_sub(1, Ordering::Relaxed);
            self.pages = None;
        }
        revoked
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.pages.is_some()
            && !self.revoke()
            && let Some(pages) = self.pages.take()
        {
            GRANTED.fetch_sub(1, Ordering::Relaxed);
            LEAKED.fetch_add(1, Ordering::Relaxed);
            log::warn!("{} was dropped while in use; its pages are kept", self.reference);
            core::mem::forget(pages);
        }
    }
}

/// Granted frames of another domain, mapped one after the other. Unmapped when dropped.
#[derive(Debug)]
pub struct GrantMapping {
    window: Window,
    memory: SharedMem,
    handles: Vec<u32>,
}

impl GrantMapping {
    /// Maps frames that `domain` grants to this one. If one of them is refused, none is mapped.
    pub fn new(domain: DomId, references: &[GrantRef], access: Access) -> GrantResult<Self> {
        let window = Window::reserve(references.len())?;
        let flags = match access {
            Access::Read => GNTMAP_HOST_MAP | GNTMAP_READONLY,
            Access::ReadWrite => GNTMAP_HOST_MAP,
        };
        let mut requests: Vec<_> = references
            .iter()
            .enumerate()
            .map(|(page, reference)| GnttabMapGrantRef {
                host_addr: window.page_address(page),
                flags,
                ref_: reference.0,
                dom: domain.0,
                status: GNTST_GENERAL_ERROR,
                ..Default::default()
            })
            .collect();
        call::map(&mut requests)?;
        let memory = window.memory();
        let mut mapping = Self { window, memory, handles: Vec::with_capacity(requests.len()) };
        let mut failed = None;
        for (page, request) in requests.iter().enumerate() {
            if request.status != GNTST_OKAY {
                failed = failed.or(Some(request.status));
            } else if failed.is_none() {
                MAPPED.fetch_add(1, Ordering::Relaxed);
                mapping.handles.push(request.handle);
            } else {
                mapping.unmap(page, request.handle);
            }
        }
        // On an error, dropping the mapping unmaps what came before.
        failed.map_or(Ok(mapping), |status| Err(GrantError::Status(status)))
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.window.pages()
    }

    fn unmap(&self, page: usize, handle: u32) {
        let mut argument =
            [GnttabUnmapGrantRef { host_addr: self.window.page_address(page), handle, ..Default::default() }];
        if let Err(errno) = call::unmap(&mut argument) {
            log::error!("unmapping grant handle {handle} failed: {errno}");
        } else if argument[0].status != GNTST_OKAY {
            log::error!("unmapping grant handle {handle} failed: {}", GrantError::Status(argument[0].status));
        }
    }
}

impl Drop for GrantMapping {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.handles.len(), Ordering::Relaxed);
        for (page, handle) in self.handles.iter().enumerate() {
            self.unmap(page, *handle);
        }
    }
}

impl Deref for GrantMapping {
    type Target = SharedMem;

    fn deref(&self) -> &SharedMem {
        &self.memory
    }
}
