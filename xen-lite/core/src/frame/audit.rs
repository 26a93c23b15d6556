//! The auditor: recounts everything from the tables, and compares.
//!
//! It reads every table of every frame that is one, follows roots, pins and loans, and computes for each frame how many typed and
//! general references there must be. What it cannot see (references held inside the hypervisor: a page of descriptors in a
//! vCPU's GDT, an active grant, a mapped event array) the caller names. It runs while no CPU changes anything.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use super::info::{Kind, State, kind, refs};
use super::pte::{self, HYPERVISOR_SLOTS, PRESENT, WRITABLE};
use crate::addr::{DomId, Mfn, PAGE_WORDS};
use crate::domain::VcpuState;
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;

/// A reference that no table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// A general reference.
    Page(Mfn),
    /// A typed reference.
    Typed(Mfn),
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The frame.
    pub mfn: Mfn,
    /// What is wrong.
    pub what: What,
}

/// What the auditor found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Typed references: counted, and what the frame's word says.
    Typed(u32, u32),
    /// General references: counted, and what the frame's word says.
    General(u32, u32),
    /// Two uses that exclude each other: how it is used, and what it is.
    Kind(Kind, Kind),
    /// An entry (index, value) maps a frame that its table's owner may not map.
    Foreign(usize, u64),
    /// An entry (index, value) has bits that it must not have, or lacks bits that it must have.
    Bits(usize, u64),
    /// A root lacks the hypervisor's entry in this slot.
    Slot(usize),
    /// Still busy, though nobody works.
    Busy,
    /// The account of a domain: frames counted, and what it says.
    Account(DomId, u32, u32),
    /// The heap: what its own check says.
    Heap(&'static str),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.mfn)?;
        match &self.what {
            What::Typed(counted, said) => write!(f, "{counted} typed references counted, {said} noted"),
            What::General(counted, said) => write!(f, "{counted} general references counted, {said} noted"),
            What::Kind(used, is) => write!(f, "used as {used:?}, is {is:?}"),
            What::Foreign(at, entry) => {
                write!(f, "entry {at} ({entry:#x}) maps a frame that is not to be mapped")
            }
            What::Bits(at, entry) => write!(f, "entry {at} ({entry:#x}) has bits that are not allowed"),
            What::Slot(at) => write!(f, "entry {at} is not the hypervisor's"),
            What::Busy => f.write_str("busy, though nobody works"),
            What::Account(domain, counted, said) => {
                write!(f, "{domain} owns {counted} frames, its account says {said}")
            }
            What::Heap(what) => write!(f, "heap: {what}"),
        }
    }
}

/// What was counted of one frame: room for an audit, which needs one for each frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    typed: u32,
    general: u32,
}

struct Audit<'a, P: Platform> {
    hv: &'a Hypervisor<P>,
    counts: &'a mut [Count],
    findings: Vec<Finding>,
}

/// What a vCPU's registers hold: frames, each by a typed reference, and their type.
fn held(state: &VcpuState) -> impl Iterator<Item = (Mfn, Kind)> + '_ {
    let descriptors = state.gdt.iter().chain(&state.ldt).map(|mfn| (*mfn, Kind::SegDesc));
    let roots = [state.kernel_root, state.user_root].map(|mfn| (mfn, Kind::L4));
    descriptors.chain(roots).filter(|at| at.0 != Mfn::INVALID)
}

/// The references of a vCPU whose state is locked, because a CPU runs it: for that CPU to name.
pub fn running(state: &VcpuState) -> impl Iterator<Item = Extra> + '_ {
    held(state).map(|(mfn, _)| Extra::Typed(mfn))
}

/// Recounts all frames. `extra` are the references that no table shows.
pub fn audit<P: Platform>(hv: &Hypervisor<P>, extra: &[Extra]) -> Vec<Finding> {
    let mut counts = vec![Count::default(); hv.frames.len() as usize];
    audit_in(hv, extra, &mut counts)
}

/// As [`audit`], in room for as many counts as there are frames: for a machine that may have no memory left.
pub fn audit_in<P: Platform>(hv: &Hypervisor<P>, extra: &[Extra], counts: &mut [Count]) -> Vec<Finding> {
    counts.fill(Count::default());
    let mut audit = Audit { hv, counts, findings: Vec::new() };
    extra.iter().for_each(|reference| match *reference {
        Extra::Page(mfn) => audit.count(mfn).general += 1,
        Extra::Typed(mfn) => audit.count(mfn).typed += 1,
    });
    audit.roots();
    (0..hv.frames.len()).for_each(|mfn| audit.contents(Mfn::new(mfn)));
    (0..hv.frames.len()).for_each(|mfn| audit.compare(Mfn::new(mfn)));
    audit.accounts();
    if let Err(what) = hv.frames.check_heap() {
        audit.find(Mfn::INVALID, What::Heap(what));
    }
    audit.findings
}

impl<P: Platform> Audit<'_, P> {
    fn find(&mut self, mfn: Mfn, what: What) {
        self.findings.push(Finding { mfn, what });
    }

    fn count(&mut self, mfn: Mfn) -> &mut Count {
        &mut self.counts[mfn.index()]
    }

    fn words(&self, mfn: Mfn) -> (u64, u64) {
        let read =
            |info: &super::FrameInfo| (info.refs.load(Ordering::Relaxed), info.kind.load(Ordering::Relaxed));
        self.hv.frames.info(mfn).map_or((0, 0), read)
    }

    /// Base pointers of all vCPUs that do not run now, and of the one that calls if its state is unlocked.
    fn roots(&mut self) {
        let mut next = Some(DomId::DOM0);
        while let Some(domain) = next.and_then(|id| self.hv.domains.next_from(id)) {
            for vcpu in domain.vcpus() {
                let Some(state) = vcpu.state.try_lock() else { continue };
                for (mfn, used) in held(&state) {
                    self.count(mfn).typed += 1;
                    self.must_be(mfn, used);
                }
            }
            self.holders(&domain);
            next = domain.id.checked_add(1);
        }
    }

    /// What event channels hold for the domain, and grants that it mapped for devices.
    fn holders(&mut self, domain: &crate::domain::Domain) {
        for mfn in crate::event::held_frames(domain) {
            self.count(mfn).typed += 1;
            self.must_be(mfn, Kind::Writable);
        }
        for (mfn, readonly) in crate::grant::device_frames(domain) {
            if readonly {
                self.count(mfn).general += 1;
            } else {
                self.count(mfn).typed += 1;
                self.must_be(mfn, Kind::Writable);
            }
        }
    }

    fn must_be(&mut self, mfn: Mfn, used: Kind) {
        let is = kind::kind(self.words(mfn).1);
        if is != used {
            self.find(mfn, What::Kind(used, is));
        }
    }

    /// What the frame's entries refer to.
    fn contents(&mut self, mfn: Mfn) {
        let (refs_word, word) = self.words(mfn);
        if State::of(refs_word) != State::Owned {
            return;
        }
        if word & kind::BUSY != 0 {
            self.find(mfn, What::Busy);
        }
        let is = kind::kind(word);
        let end = match word {
            _ if !is.has_rules() => return,
            _ if word & kind::PARTIAL != 0 => kind::progress(word),
            _ if kind::count(word) > 0 => PAGE_WORDS,
            _ => return,
        };
        for at in 0..end {
            let entry = self.hv.platform.load(mfn, at);
            match is.level() {
                0 => self.descriptor(mfn, at, entry),
                4 if HYPERVISOR_SLOTS.contains(&at) => {}
                _ if entry & PRESENT == 0 => {}
                1 => self.l1_entry(mfn, refs_word, at, entry),
                level => self.table_entry(mfn, refs_word, level, at, entry),
            }
        }
        if is == Kind::L4 && word & kind::PARTIAL == 0 {
            self.slots(mfn);
        }
    }

    fn descriptor(&mut self, mfn: Mfn, at: usize, value: u64) {
        if !super::descriptor::check(value) {
            self.find(mfn, What::Bits(at, value));
        }
    }

    fn slots(&mut self, mfn: Mfn) {
        for slot in HYPERVISOR_SLOTS {
            let entry = self.hv.platform.load(mfn, slot);
            let owner = self.words(pte::mfn(entry)).0;
            let owned = matches!(State::of(owner), State::Owned | State::Free)
                && self.hv.frames.info(pte::mfn(entry)).is_some();
            if entry & PRESENT != 0 && owned {
                self.find(mfn, What::Slot(slot));
            }
        }
    }

    fn l1_entry(&mut self, mfn: Mfn, owner_word: u64, at: usize, entry: u64) {
        let page = pte::mfn(entry);
        let privileged = self.is_privileged(owner_word);
        let bits_ok = pte::adjust_l1(entry) == entry && (privileged || entry & pte::CACHE == 0);
        if !bits_ok {
            self.find(mfn, What::Bits(at, entry));
        }
        let known = self.hv.frames.info(page).is_some();
        let (page_word, _) = self.words(page);
        match State::of(page_word) {
            _ if !known => {
                if !privileged {
                    self.find(mfn, What::Foreign(at, entry));
                }
            }
            State::Io if privileged => {}
            State::Owned | State::Shared
                if privileged
                    || refs::owner(page_word) == refs::owner(owner_word)
                    || self.is_granted(page_word, owner_word, page) =>
            {
                if entry & WRITABLE != 0 {
                    self.count(page).typed += 1;
                    self.must_be(page, Kind::Writable);
                } else {
                    self.count(page).general += 1;
                }
            }
            _ => self.find(mfn, What::Foreign(at, entry)),
        }
    }

    fn table_entry(&mut self, mfn: Mfn, owner_word: u64, level: u8, at: usize, entry: u64) {
        let below = pte::mfn(entry);
        if pte::adjust_table(entry, level) != entry || entry & pte::NOT_IN_TABLES != 0 {
            self.find(mfn, What::Bits(at, entry));
        }
        if below == mfn {
            if entry & WRITABLE != 0 {
                self.find(mfn, What::Bits(at, entry));
            }
            return;
        }
        let (below_word, _) = self.words(below);
        let own = State::of(below_word) == State::Owned && refs::owner(below_word) == refs::owner(owner_word);
        if own && self.hv.frames.info(below).is_some() {
            self.count(below).typed += 1;
            self.must_be(below, Kind::table(level - 1));
        } else {
            self.find(mfn, What::Foreign(at, entry));
        }
    }

    /// Whether the table's owner has mapped a grant of this frame, or is letting go of all that it mapped.
    fn is_granted(&self, page_word: u64, owner_word: u64, page: Mfn) -> bool {
        let Some(mapper) = self.hv.domains.get(refs::owner(owner_word)) else { return false };
        let granter = self.hv.domains.get(refs::owner(page_word));
        granter.is_some_and(|granter| crate::grant::is_mapped_by(&granter, &mapper, page))
    }

    fn is_privileged(&self, owner_word: u64) -> bool {
        self.hv.domains.get(refs::owner(owner_word)).is_some_and(|domain| domain.privileged)
    }

    fn compare(&mut self, mfn: Mfn) {
        let (refs_word, word) = self.words(mfn);
        let Count { mut typed, mut general } = self.counts[mfn.index()];
        if !matches!(State::of(refs_word), State::Owned | State::Shared) {
            return;
        }
        typed += u32::from(word & kind::PINNED != 0);
        let loan = State::of(refs_word) == State::Shared && refs_word & refs::ALLOCATED != 0;
        typed += u32::from(loan);
        let said = kind::count(word);
        if typed != said {
            self.find(mfn, What::Typed(typed, said));
        }
        // The typed references together hold one, and so does a partial state.
        general += u32::from(said != 0 || word & kind::PARTIAL != 0);
        general += u32::from(refs_word & refs::ALLOCATED != 0);
        if general != refs::count(refs_word) {
            self.find(mfn, What::General(general, refs::count(refs_word)));
        }
    }

    fn accounts(&mut self) {
        let mut owned: BTreeMap<DomId, u32> = BTreeMap::new();
        // Neighbours are mostly one domain's.
        let (mut owner, mut run) = (None, 0);
        for mfn in 0..self.hv.frames.len() {
            let (word, _) = self.words(Mfn::new(mfn));
            let here = (State::of(word) == State::Owned).then(|| refs::owner(word));
            if here != owner {
                if let Some(domain) = owner {
                    *owned.entry(domain).or_default() += run;
                }
                (owner, run) = (here, 0);
            }
            run += 1;
        }
        if let Some(domain) = owner {
            *owned.entry(domain).or_default() += run;
        }
        let mut next = Some(DomId::DOM0);
        while let Some(domain) = next.and_then(|id| self.hv.domains.next_from(id)) {
            let counted = owned.get(&domain.id).copied().unwrap_or(0);
            let said = domain.memory.total.load(Ordering::Relaxed);
            if counted != said {
                self.find(Mfn::INVALID, What::Account(domain.id, counted, said));
            }
            next = domain.id.checked_add(1);
        }
    }
}
