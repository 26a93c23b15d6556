//! Finds domains by number, in the same time however many there are.
//!
//! Numbers have 15 bits: the upper ones choose a leaf, the lower ones a place in it. A leaf is made when a domain first needs it, and
//! stays.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::RwLock;

use super::Domain;
use crate::addr::DomId;
use crate::fail::Errno;
use crate::speculation;

/// Places in a leaf.
const PLACES: usize = 256;
/// Leaves: as many as numbers of domains need.
const LEAVES: usize = 1 << 15 >> 8;

type Leaf = Box<[Option<Arc<Domain>>]>;

#[derive(Debug)]
struct Tree {
    leaves: [Option<Leaf>; LEAVES],
    count: usize,
}

/// All domains.
#[derive(Debug)]
pub struct Domains {
    tree: RwLock<Tree>,
}

impl Default for Domains {
    fn default() -> Self {
        Domains { tree: RwLock::new(Tree { leaves: [const { None }; LEAVES], count: 0 }) }
    }
}

impl Tree {
    fn place(&self, id: DomId) -> Option<&Option<Arc<Domain>>> {
        let id = usize::from(id.raw());
        let leaf = speculation::get(&self.leaves, id / PLACES)?.as_ref()?;
        speculation::get(leaf, id % PLACES)
    }

    fn place_mut(&mut self, id: DomId) -> Option<&mut Option<Arc<Domain>>> {
        let id = usize::from(id.raw());
        self.leaves.get_mut(id / PLACES)?.as_mut()?.get_mut(id % PLACES)
    }

    /// The place of a number, in a leaf that is made if there is none.
    fn make_place(&mut self, id: DomId) -> Result<&mut Option<Arc<Domain>>, Errno> {
        let leaf = self.leaves.get_mut(usize::from(id.raw()) / PLACES).ok_or(Errno::EINVAL)?;
        if leaf.is_none() {
            let mut places = Vec::new();
            places.try_reserve_exact(PLACES).map_err(|_| Errno::ENOMEM)?;
            places.resize_with(PLACES, || None);
            *leaf = Some(places.into_boxed_slice());
        }
        self.place_mut(id).ok_or(Errno::EINVAL)
    }
}

impl Domains {
    /// The domain of that number.
    pub fn get(&self, id: DomId) -> Option<Arc<Domain>> {
        self.tree.read().place(id)?.clone()
    }

    /// The domain of the lowest number that is at least `id`: for walking over all.
    pub fn next_from(&self, id: DomId) -> Option<Arc<Domain>> {
        let tree = self.tree.read();
        let first = usize::from(id.raw());
        let mut from = first % PLACES;
        for leaf in tree.leaves.get(first / PLACES..)? {
            if let Some(found) = leaf.iter().flat_map(|leaf| &leaf[from..]).flatten().next() {
                return Some(found.clone());
            }
            from = 0;
        }
        None
    }

    /// Number of domains.
    pub fn count(&self) -> usize {
        self.tree.read().count
    }

    /// Enters a domain.
    ///
    /// # Errors
    /// `EEXIST` when the number is taken, `EINVAL` when it is none for domains, `ENOMEM`.
    pub fn insert(&self, domain: Arc<Domain>) -> Result<(), Errno> {
        let mut tree = self.tree.write();
        let place = tree.make_place(domain.id)?;
        if place.is_some() {
            return Err(Errno::EEXIST);
        }
        *place = Some(domain);
        tree.count += 1;
        Ok(())
    }

    /// Takes a domain out, if it is this very one: its number may have gone to another meanwhile.
    pub fn remove(&self, domain: &Domain) -> Option<Arc<Domain>> {
        let mut tree = self.tree.write();
        let place = tree.place_mut(domain.id)?;
        let is_it = place.as_ref().is_some_and(|found| core::ptr::eq(Arc::as_ptr(found), domain));
        let found = if is_it { place.take() } else { None };
        tree.count -= usize::from(found.is_some());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mfn;

    fn domain(id: u16) -> Arc<Domain> {
        Arc::new(Domain::new(DomId::new(id), false, Mfn::new(1), 0, Arc::default()))
    }

    #[test]
    fn domains_are_found_walked_over_and_taken_out_once() {
        let all = Domains::default();
        for id in [0, 255, 256, 0x7fef] {
            all.insert(domain(id)).unwrap();
        }
        assert_eq!(all.insert(domain(256)), Err(Errno::EEXIST));
        assert_eq!(all.insert(domain(0x8000)), Err(Errno::EINVAL));
        assert!(all.get(DomId::new(1)).is_none() && all.get(DomId::new(0xffff)).is_none());
        let walk = |from| all.next_from(DomId::new(from)).map(|found| found.id.raw());
        assert_eq!(
            [walk(0), walk(1), walk(256), walk(257), walk(0x7ff0)],
            [Some(0), Some(255), Some(256), Some(0x7fef), None]
        );
        assert!(all.remove(&domain(255)).is_none(), "another one of that number");
        let found = all.get(DomId::new(255)).unwrap();
        assert!(all.remove(&found).is_some() && all.remove(&found).is_none());
        assert_eq!((all.count(), walk(1)), (3, Some(256)));
    }
}
