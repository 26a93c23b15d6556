//! What CPUID shows: the policies of the machine, of all guests, and of one domain.
//!
//! A policy travels as a list of [`Entry`], in the order and with the bounds that toolstacks expect: basic leaves, Xen's two,
//! extended leaves; sub-leaves only where there are some. A toolstack reads the guests' policy, takes features away, and gives the
//! result back for its domain. Nobody can be given more than all guests have: features are combined with AND when
//! they are shown ([`Policy::show`]), so a policy needs no second check later.

use alloc::boxed::Box;
use alloc::vec::Vec;

use abi::xen::XEN_CPUID_NO_SUBLEAF as NO_SUBLEAF;

use crate::Hypervisor;
use crate::emulate::cpuid::{Context, Leaf, TscInfo, allowed, pv_leaf};
use crate::emulate::xcr0;
use crate::fail::Errno;
use crate::platform::Platform;
use crate::room;

/// Highest basic leaf of a list.
const LAST_BASIC: u32 = 0xd;
/// Highest extended leaf of a list.
const LAST_EXTENDED: u32 = 0x8000_0021;
/// First extended leaf.
const EXTENDED: u32 = 0x8000_0000;
/// Leaves that Xen's own may start at.
const XEN_LEAVES: [u32; 2] = [0x4000_0000, 0x4000_0100];
/// Sub-leaves of leaf 4 (caches), 7 (features), 0xb (topology), 0xd (state components) that a list may hold.
const CACHES: u32 = 6;
const FEATURES: u32 = 3;
const TOPOLOGY: u32 = 2;
const COMPONENTS: u32 = 63;

/// Entries that a list may have.
pub const MOST_ENTRIES: usize = (LAST_BASIC - 3 + CACHES + FEATURES + TOPOLOGY + COMPONENTS) as usize
    + XEN_LEAVES.len()
    + (LAST_EXTENDED - EXTENDED + 1) as usize;

/// MSRs of a policy: `PLATFORM_INFO` and `ARCH_CAPABILITIES`, both 0 for guests.
pub const MSRS: [u32; 2] = [0xce, 0x10a];

/// Words of a feature set (arch-x86/cpufeatureset.h): leaf, sub-leaf, register. Words 16 and 17 are an MSR's.
const WORDS: [(u32, u32, usize); 19] = [
    (1, NO_SUBLEAF, 3),
    (1, NO_SUBLEAF, 2),
    (0x8000_0001, NO_SUBLEAF, 3),
    (0x8000_0001, NO_SUBLEAF, 2),
    (0xd, 1, 0),
    (7, 0, 1),
    (7, 0, 2),
    (0x8000_0007, NO_SUBLEAF, 3),
    (0x8000_0008, NO_SUBLEAF, 1),
    (7, 0, 3),
    (7, 1, 0),
    (0x8000_0021, NO_SUBLEAF, 0),
    (7, 1, 1),
    (7, 2, 3),
    (7, 1, 2),
    (7, 1, 3),
    (NO_SUBLEAF, 0, 0),
    (NO_SUBLEAF, 0, 0),
    (0x8000_0021, NO_SUBLEAF, 2),
];

/// A leaf of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// EAX before CPUID.
    pub leaf: u32,
    /// ECX before CPUID; all ones for a leaf without sub-leaves.
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX after it.
    pub values: Leaf,
}

/// What is wrong with a list that a toolstack gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The leaf.
    pub leaf: u32,
    /// Its sub-leaf.
    pub subleaf: u32,
    /// What the toolstack is told.
    pub errno: Errno,
}

/// A domain's own policy: the leaves that its toolstack gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    entries: Box<[Entry]>,
}

impl Policy {
    /// The guests' policy with the leaves of `given` in the place of its own.
    ///
    /// # Errors
    /// `ERANGE` for a leaf that no list holds, `EINVAL` for a highest leaf above that of all guests, `ENOMEM` without a leaf.
    pub fn new<P: Platform>(hv: &Hypervisor<P>, given: &[Entry]) -> Result<Policy, Bad> {
        let no_leaf = |errno| Bad { leaf: u32::MAX, subleaf: u32::MAX, errno };
        let mut entries = guests(hv).map_err(no_leaf)?;
        for new in given {
            check(hv, new).map_err(|errno| Bad { leaf: new.leaf, subleaf: new.subleaf, errno })?;
            // A leaf that guests do not have stays empty.
            if let Some(old) =
                entries.iter_mut().find(|old| (old.leaf, old.subleaf) == (new.leaf, new.subleaf))
            {
                *old = *new;
            }
        }
        // Without the room that is left.
        Ok(Policy { entries: room::copy(&entries).map_err(no_leaf)?.into_boxed_slice() })
    }

    /// All its leaves.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the domain sees where all guests would see `values`: highest leaves are lowered, features taken away.
    pub fn show(&self, leaf: u32, subleaf: u32, mut values: Leaf) -> Leaf {
        let highest = |of| self.find(of, 0).map_or(u32::MAX, |own| own.values[0]);
        if (leaf <= LAST_BASIC && leaf > highest(0)) || (leaf >= EXTENDED && leaf > highest(EXTENDED)) {
            return [0; 4];
        }
        let Some(own) = self.find(leaf, subleaf) else { return values };
        match leaf {
            0 | EXTENDED => values[0] = values[0].min(own.values[0]),
            _ => {
                let features = allowed(leaf, if own.subleaf == NO_SUBLEAF { 0 } else { subleaf });
                for register in (0..4).filter(|register| features[*register] != 0) {
                    values[register] &= own.values[register] | always_shown(leaf, register);
                }
            }
        }
        values
    }

    fn find(&self, leaf: u32, subleaf: u32) -> Option<&Entry> {
        let fits =
            |entry: &&Entry| entry.leaf == leaf && (entry.subleaf == subleaf || entry.subleaf == NO_SUBLEAF);
        self.entries.iter().find(fits)
    }
}

/// Features that tell of the moment or of the hypervisor, not of what was configured: OSXSAVE and HYPERVISOR.
fn always_shown(leaf: u32, register: usize) -> u32 {
    if leaf == 1 && register == 2 { 1 << 27 | 1 << 31 } else { 0 }
}

fn check<P: Platform>(hv: &Hypervisor<P>, new: &Entry) -> Result<(), Errno> {
    let subleaves = match new.leaf {
        4 => CACHES,
        7 => FEATURES,
        0xb => TOPOLOGY,
        0xd => COMPONENTS,
        0..=LAST_BASIC | EXTENDED..=LAST_EXTENDED => 0,
        leaf if XEN_LEAVES.contains(&leaf) => 0,
        _ => return Err(Errno::ERANGE),
    };
    let in_range = if subleaves == 0 { new.subleaf == NO_SUBLEAF } else { new.subleaf < subleaves };
    if !in_range {
        return Err(Errno::ERANGE);
    }
    if matches!(new.leaf, 0 | EXTENDED) && new.values[0] > guest_leaf(hv, new.leaf, 0)[0] {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn host_leaf<P: Platform>(hv: &Hypervisor<P>, leaf: u32, subleaf: u32) -> Leaf {
    let (a, b, c, d) = hv.platform.cpuid(leaf, subleaf);
    [a, b, c, d]
}

/// vCPU 0 of a domain that nothing is known of.
struct NewGuest<'h, P: Platform>(&'h Hypervisor<P>);

impl<P: Platform> Context for NewGuest<'_, P> {
    fn host(&self, leaf: u32, subleaf: u32) -> Leaf {
        host_leaf(self.0, leaf, subleaf)
    }
    fn vcpu_id(&self) -> u32 {
        0
    }
    fn supported_xcr0(&self) -> u64 {
        guest_xcr0(self.0)
    }
    fn xcr0(&self) -> u64 {
        self.supported_xcr0()
    }
    fn osxsave(&self) -> bool {
        false
    }
    fn fsgsbase(&self) -> bool {
        self.host(0, 0)[0] >= 7 && self.host(7, 0)[1] & 1 != 0
    }
    fn shows_invariant_tsc(&self) -> bool {
        false
    }
    fn tsc(&self) -> TscInfo {
        TscInfo::default()
    }
    fn address_bits(&self) -> u32 {
        address_bits(self.0)
    }
    fn controls_speculation(&self) -> bool {
        self.0.config.speculation.guest_msrs
    }
}

/// State components that guests may enable.
pub fn guest_xcr0<P: Platform>(hv: &Hypervisor<P>) -> u64 {
    xcr0::supported(|leaf, subleaf| host_leaf(hv, leaf, subleaf))
}

/// Bits of a machine address.
pub fn address_bits<P: Platform>(hv: &Hypervisor<P>) -> u32 {
    const SIZES: u32 = 0x8000_0008;
    if host_leaf(hv, EXTENDED, 0)[0] >= SIZES { host_leaf(hv, SIZES, 0)[0] & 0xff } else { 36 }
}

/// A leaf of the policy of all guests. Xen's own are the hypervisor's business alone.
fn guest_leaf<P: Platform>(hv: &Hypervisor<P>, leaf: u32, subleaf: u32) -> Leaf {
    if XEN_LEAVES.contains(&leaf) { [0; 4] } else { pv_leaf(leaf, subleaf, &NewGuest(hv)) }
}

/// The policy of the machine.
///
/// # Errors
/// `ENOMEM`.
pub fn machine<P: Platform>(hv: &Hypervisor<P>) -> Result<Vec<Entry>, Errno> {
    list(|leaf, subleaf| if XEN_LEAVES.contains(&leaf) { [0; 4] } else { host_leaf(hv, leaf, subleaf) })
}

/// The policy of all guests.
///
/// # Errors
/// `ENOMEM`.
pub fn guests<P: Platform>(hv: &Hypervisor<P>) -> Result<Vec<Entry>, Errno> {
    list(|leaf, subleaf| guest_leaf(hv, leaf, subleaf))
}

fn list(read: impl Fn(u32, u32) -> Leaf) -> Result<Vec<Entry>, Errno> {
    let mut all = room::list(MOST_ENTRIES)?;
    let mut add = |leaf, subleaf| {
        let values = read(leaf, if subleaf == NO_SUBLEAF { 0 } else { subleaf });
        all.push(Entry { leaf, subleaf, values });
        values
    };
    for leaf in 0..=add(0, NO_SUBLEAF)[0].min(LAST_BASIC) {
        match leaf {
            0 => {}
            // Ends with the first cache of type 0.
            4 => {
                let _ = (0..CACHES).find(|n| add(4, *n)[0] & 0x1f == 0);
            }
            7 => {
                let last = add(7, 0)[0].min(FEATURES - 1);
                for subleaf in 1..=last {
                    add(7, subleaf);
                }
            }
            // Ends with the first level of type 0.
            0xb => {
                let _ = (0..TOPOLOGY).find(|n| add(0xb, *n)[2] & 0xff00 == 0);
            }
            0xd => state_components(&mut add),
            _ => {
                add(leaf, NO_SUBLEAF);
            }
        }
    }
    for leaf in XEN_LEAVES {
        add(leaf, NO_SUBLEAF);
    }
    for leaf in EXTENDED + 1..=add(EXTENDED, NO_SUBLEAF)[0].min(LAST_EXTENDED) {
        add(leaf, NO_SUBLEAF);
    }
    Ok(all)
}

fn state_components(add: &mut impl FnMut(u32, u32) -> Leaf) {
    let [low, .., high] = add(0xd, 0);
    add(0xd, 1);
    let states = u64::from(low) | u64::from(high) << 32;
    for subleaf in (2..COMPONENTS).filter(|n| states >> n & 1 != 0) {
        add(0xd, subleaf);
    }
}

/// The feature words of a list.
pub fn featureset(list: &[Entry]) -> [u32; WORDS.len()] {
    WORDS.map(|(leaf, subleaf, register)| {
        let entry = list.iter().find(|entry| (entry.leaf, entry.subleaf) == (leaf, subleaf));
        entry.map_or(0, |entry| entry.values[register])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::machine as test_machine;

    fn entry(leaf: u32, subleaf: u32, a: u32) -> Entry {
        Entry { leaf, subleaf, values: [a, 0, 0, 0] }
    }

    fn refusal(new: Entry) -> Option<Errno> {
        Policy::new(&test_machine(4), &[new]).err().map(|bad| bad.errno)
    }

    #[test]
    fn leaves_that_no_list_holds_are_refused() {
        let ns = NO_SUBLEAF;
        let refused = [(0x30, ns), (4, 6), (7, 3), (7, ns), (0xb, 2), (0xd, 63), (0x8000_0022, ns)];
        for (leaf, subleaf) in refused.into_iter().chain([(0x4000_0001, ns), (0xc000_0000, ns), (0, 0)]) {
            assert_eq!(refusal(entry(leaf, subleaf, 0)), Some(Errno::ERANGE), "{leaf:#x}.{subleaf:#x}");
        }
    }

    #[test]
    fn a_policy_cannot_raise_the_highest_leaf() {
        assert_eq!(refusal(entry(0, NO_SUBLEAF, 0x20)), Some(Errno::EINVAL));
        assert_eq!(refusal(entry(0x8000_0000, NO_SUBLEAF, 0x8000_0040)), Some(Errno::EINVAL));
    }

    #[test]
    fn features_can_be_taken_away_and_not_added() {
        let values = [1, 2, 1 << 31 | 0b11, 0b1010];
        let own = Entry { leaf: 1, subleaf: NO_SUBLEAF, values: [9, 9, 0b110, 0b0011] };
        let policy = Policy { entries: Box::new([entry(0, NO_SUBLEAF, 7), own]) };
        for subleaf in [0, 5] {
            assert_eq!(policy.show(1, subleaf, values), [1, 2, 1 << 31 | 0b10, 0b0010]);
        }
        assert_eq!(policy.show(0, 0, [0xd, 1, 2, 3]), [7, 1, 2, 3]);
        assert_eq!(policy.show(0xd, 0, [7, 1, 2, 3]), [0; 4]);
        assert_eq!(policy.show(7, 0, [0, 1, 2, 3]), [0, 1, 2, 3]);
    }

    #[test]
    fn lists_stay_within_their_bound() {
        assert_eq!(MOST_ENTRIES, 120);
        let everything = |leaf: u32, subleaf: u32| match (leaf, subleaf) {
            (EXTENDED, _) => [u32::MAX; 4],
            _ => [u32::MAX, 0, u32::MAX, u32::MAX],
        };
        assert!(list(everything).unwrap().len() <= MOST_ENTRIES);
        assert!(guests(&test_machine(4)).unwrap().len() <= MOST_ENTRIES);
    }
}
