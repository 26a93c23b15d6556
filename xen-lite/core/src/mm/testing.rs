//! A guest with page tables, for the tests of this module and of the shims.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::addr::{GuestVirt, Mfn, VcpuId};
use crate::domain::Domain;
use crate::frame::audit::{Finding, audit};
use crate::frame::pte::{PRESENT, USER, WRITABLE};
use crate::hypercall::Caller;
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;
use crate::world::{World, domain, machine};

/// Entries of the L1 table that map data frames: page *n* is `data(n)`.
pub(crate) const DATA: usize = 16;

/// A domain with one table of each level; the first pages of its space are data, then come its tables, read-only.
pub(crate) struct Space {
    pub(crate) hv: Hypervisor<World>,
    pub(crate) domain: Arc<Domain>,
    pub(crate) frames: Vec<Mfn>,
    pub(crate) root: Mfn,
    pub(crate) l3: Mfn,
    pub(crate) l2: Mfn,
    pub(crate) l1: Mfn,
    /// A frame of another domain.
    pub(crate) foreign: Mfn,
    pub(crate) other: Arc<Domain>,
}

pub(crate) fn space() -> Space {
    space_of(false)
}

pub(crate) fn space_of(privileged: bool) -> Space {
    let hv = machine(96);
    let (domain, frames) = domain(&hv, 1, privileged, 32);
    let (other, others) = crate::world::domain(&hv, 2, false, 4);
    let [root, l3, l2, l1] = [frames[DATA], frames[DATA + 1], frames[DATA + 2], frames[DATA + 3]];
    let link = |table: Mfn, index: usize, to: Mfn, flags: u64| {
        hv.platform.store(table, index, to.raw() << 12 | flags | PRESENT);
    };
    frames[..DATA + 4].iter().for_each(|mfn| hv.platform.clear(*mfn));
    link(root, 0, l3, WRITABLE | USER);
    link(l3, 0, l2, WRITABLE | USER);
    link(l2, 0, l1, WRITABLE | USER);
    (0..DATA).for_each(|page| link(l1, page, frames[page], WRITABLE));
    (DATA..DATA + 4).for_each(|page| link(l1, page, frames[page], 0));
    let space = Space { hv, domain, frames, root, l3, l2, l1, foreign: others[0], other };
    space
        .call(|hv, caller| super::set_kernel_root(hv, &space.domain, caller.state, root))
        .expect("the tables are good");
    space.hv.platform.enter(Some(root));
    space
}

impl Space {
    /// A data frame, mapped writable at page `n`.
    pub(crate) fn data(&self, n: usize) -> Mfn {
        self.frames[n]
    }

    /// A frame of the domain that no table refers to.
    pub(crate) fn spare(&self, n: usize) -> Mfn {
        self.frames[DATA + 4 + n]
    }

    /// Where the L1 table is mapped.
    pub(crate) fn va_of_l1(&self) -> u64 {
        (DATA as u64 + 3) << 12
    }

    /// Calls something as the domain's vCPU.
    pub(crate) fn call<R>(&self, call: impl FnOnce(&Hypervisor<World>, &mut Caller<'_>) -> R) -> R {
        let vcpu = self.domain.vcpu(VcpuId::new(0)).expect("it has one");
        let mut state = vcpu.state.lock();
        call(&self.hv, &mut Caller::new(&self.domain, vcpu, &mut state))
    }

    /// Puts bytes of a request where the guest can name them: at the start of page `n`.
    pub(crate) fn put(&self, page: usize, words: &[u64]) -> u64 {
        words.iter().enumerate().for_each(|(n, word)| self.hv.platform.store(self.data(page), n, *word));
        (page as u64) << 12
    }

    /// The L1 entry that maps `va` now.
    pub(crate) fn entry(&self, va: u64) -> u64 {
        super::walk::entry_of(&self.hv, self.root, GuestVirt::new(va))
    }

    /// Fails unless everything is counted right. Miri has other things to look for, and would look at 4096 entries each time.
    pub(crate) fn audit(&self) {
        if cfg!(miri) {
            return;
        }
        let findings = audit(&self.hv, &[]);
        assert!(findings.is_empty(), "{}", show(&findings));
    }
}

pub(crate) fn show(findings: &[Finding]) -> alloc::string::String {
    use core::fmt::Write;
    let mut text = alloc::string::String::new();
    findings.iter().for_each(|finding| writeln!(text, "{finding}").expect("a string takes all"));
    text
}
