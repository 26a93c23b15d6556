//! A CPU's timers in the order of their deadlines: a binary heap in which each vCPU knows its place.
//!
//! The *key* under which a vCPU is kept is at most its earliest deadline. It may be less: a deadline that moves back does not move the
//! entry, which is looked at when its key has passed. So setting a timer later costs nothing, and setting it earlier or
//! adding one costs the logarithm of the number of vCPUs that have timers, not of those that exist.

use crate::sync::atomic::{AtomicU32, Ordering};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::domain::Vcpu;
use crate::fail::Errno;

/// Not in any heap.
const NOWHERE: u32 = u32::MAX;

/// Where a vCPU is in the heap that holds it. Changes under that heap's lock.
#[derive(Debug)]
pub(super) struct Place(AtomicU32);

impl Default for Place {
    fn default() -> Self {
        Place(AtomicU32::new(NOWHERE))
    }
}

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Heap {
    entries: Vec<(u64, Arc<Vcpu>)>,
}

impl Heap {
    /// Room for `all` entries.
    pub(super) fn make_room(&mut self, all: usize) -> Result<(), Errno> {
        self.entries.try_reserve(all.saturating_sub(self.entries.len())).map_err(|_| Errno::ENOMEM)
    }

    /// The least key.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.first().map(|(key, _)| *key)
    }

    /// The vCPU of the least key.
    pub(super) fn first_vcpu(&self) -> Option<&Arc<Vcpu>> {
        self.entries.first().map(|(_, vcpu)| vcpu)
    }

    /// Adds a vCPU, or lowers its key. There is room: [`Heap::make_room`] was called when it was made.
    pub(super) fn add(&mut self, vcpu: &Arc<Vcpu>, key: u64) {
        let at = match self.place_of(vcpu) {
            Some(at) if self.entries[at].0 <= key => return,
            Some(at) => {
                self.entries[at].0 = key;
                at
            }
            None => {
                self.entries.push((key, vcpu.clone()));
                self.entries.len() - 1
            }
        };
        self.up(at);
    }

    /// Takes a vCPU out.
    pub(super) fn remove(&mut self, vcpu: &Vcpu) {
        if let Some(at) = self.place_of(vcpu) {
            vcpu.time.place.0.store(NOWHERE, Ordering::Relaxed);
            self.entries.swap_remove(at);
            if at < self.entries.len() {
                self.up(at);
                self.down(at);
            }
        }
    }

    /// Gives the first vCPU another key.
    pub(super) fn rekey_first(&mut self, key: u64) {
        if let Some(first) = self.entries.first_mut() {
            first.0 = key;
            self.down(0);
        }
    }

    fn place_of(&self, vcpu: &Vcpu) -> Option<usize> {
        let at = vcpu.time.place.0.load(Ordering::Relaxed) as usize;
        let (_, there) = self.entries.get(at)?;
        core::ptr::eq(Arc::as_ptr(there), vcpu).then_some(at)
    }

    fn settle(&self, at: usize) {
        self.entries[at].1.time.place.0.store(at as u32, Ordering::Relaxed);
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 && self.entries[at].0 < self.entries[(at - 1) / 2].0 {
            self.entries.swap(at, (at - 1) / 2);
            self.settle(at);
            at = (at - 1) / 2;
        }
        self.settle(at);
    }

    fn down(&mut self, mut at: usize) {
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.entries.len());
            let least = children.min_by_key(|&child| self.entries[child].0);
            match least {
                Some(child) if self.entries[child].0 < self.entries[at].0 => {
                    self.entries.swap(at, child);
                    self.settle(at);
                    at = child;
                }
                _ => break,
            }
        }
        self.settle(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{DomId, Mfn, VcpuId};
    use crate::domain::{Domain, VcpuState};
    use crate::effort::effort;
    use crate::sched::tests::Random;
    use std::collections::BTreeMap;

    fn vcpus(count: u32) -> Vec<Arc<Vcpu>> {
        let domain = Arc::new(Domain::new(DomId::new(1), false, Mfn::new(1), 0, Arc::default()));
        let vcpu = |id| Vcpu::new(VcpuId::new(id), &domain, VcpuState::new(0).unwrap());
        (0..count).map(|id| Arc::new(vcpu(id))).collect()
    }

    #[test]
    fn the_first_is_the_least_whatever_happens() {
        let all = vcpus(20);
        let mut heap = Heap::default();
        let mut model = BTreeMap::new();
        let mut random = Random(7);
        for _ in 0..effort(20_000, 300) {
            let vcpu = &all[random.below(20) as usize];
            let (id, key) = (vcpu.id.raw(), random.below(1000));
            match random.below(4) {
                0 | 1 => {
                    heap.add(vcpu, key);
                    let kept = model.entry(id).or_insert(key);
                    *kept = (*kept).min(key);
                }
                2 => {
                    heap.remove(vcpu);
                    model.remove(&id);
                }
                _ => {
                    if let Some(first) = heap.first_vcpu().map(|first| first.id.raw()) {
                        heap.rekey_first(key);
                        model.insert(first, key);
                    }
                }
            }
            assert_eq!(heap.first(), model.values().min().copied());
            assert_eq!(heap.entries.len(), model.len());
        }
    }
}
