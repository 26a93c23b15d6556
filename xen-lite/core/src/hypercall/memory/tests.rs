//! `memory_op` through the shim, as a guest calls it.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use super::{COMMAND, memory_op};
use crate::addr::{DomId, Mfn};
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::frame::Owner;
use crate::mm::testing::{Space, space, space_of};
use crate::platform::Platform;

const SELF: u64 = DomId::SELF.raw() as u64;

fn call(space: &Space, command: u64, words: &[u64]) -> Result<i64, Errno> {
    let mut args = [command, space.put(0, words), 0, 0, 0, 0];
    for _ in 0..1000 {
        match space.call(|hv, caller| memory_op(hv, caller, &mut args)) {
            Ok(Done { value, .. }) => return Ok(value),
            Err(Fail::Errno(errno)) => return Err(errno),
            Err(Fail::Again | Fail::AgainWith(_)) => assert_eq!(args[0] & COMMAND, command),
            Err(Fail::Crash(why)) => panic!("{why}"),
        }
    }
    panic!("it never ends")
}

fn word(space: &Space, n: usize) -> u64 {
    space.hv.platform.load(space.data(0), n)
}

#[test]
fn what_is_populated_can_be_given_up_again() {
    let space = space();
    let before = (space.hv.frames.free_frames(), space.domain.memory.total.load(Ordering::Relaxed));
    for every in [0, 1, 2] {
        space.hv.platform.interrupt_every(every);
        // Three pairs of frames for the pfns 100, 200, 300.
        assert_eq!(call(&space, 6, &[32, 3, 1, SELF, 100, 200, 300]), Ok(3));
        let mfns: Vec<u64> = (4..7).map(|n| word(&space, n)).collect();
        for (mfn, pfn) in mfns.iter().zip([100, 200, 300]) {
            assert_eq!(space.hv.platform.m2p(Mfn::new(*mfn)), pfn);
            assert_eq!(space.hv.platform.m2p(Mfn::new(mfn + 1)), pfn + 1);
            assert_eq!(space.hv.frames.owner(Mfn::new(mfn + 1)), Owner::Domain(space.domain.id));
        }
        assert_eq!(call(&space, 3, &[SELF]), Ok(i64::from(before.1) + 6));
        space.audit();
        assert_eq!(call(&space, 1, &[32, 3, 1, SELF, mfns[0], mfns[1], mfns[2]]), Ok(3));
        assert_eq!(space.hv.platform.m2p(Mfn::new(mfns[0])), u64::MAX);
        let after = (space.hv.frames.free_frames(), space.domain.memory.total.load(Ordering::Relaxed));
        assert_eq!(before, after);
        space.audit();
    }
}

#[test]
fn the_limit_ends_a_list_where_it_is_reached() {
    let space = space();
    let total = space.domain.memory.total.load(Ordering::Relaxed);
    space.domain.memory.max.store(total + 2, Ordering::Relaxed);
    assert_eq!(call(&space, 4, &[SELF]), Ok(i64::from(total) + 2));
    assert_eq!(call(&space, 6, &[32, 4, 0, SELF, 1, 2, 3, 4]), Ok(2));
    assert_eq!(word(&space, 6), 3, "not reached");
    assert_eq!(call(&space, 0, &[0, 1, 0, SELF]), Ok(0));
    assert_eq!(call(&space, 1, &[32, 3, 0, SELF, word(&space, 4), 0, 1]), Ok(1), "the hypervisor's frame");
    space.audit();
}

#[test]
fn an_exchange_moves_what_nobody_uses() {
    let space = space();
    let total = space.domain.memory.total.load(Ordering::Relaxed);
    let old = [space.spare(0), space.spare(1)];
    // Two frames for one pair, at pfn 9.
    let list = [72, 2, 0, SELF, 88, 1, 1, SELF, 0, old[0].raw(), old[1].raw(), 9];
    assert_eq!(call(&space, 11, &list), Ok(0));
    assert_eq!(word(&space, 8), 2, "both are exchanged");
    let new = Mfn::new(word(&space, 11));
    assert_eq!((space.hv.platform.m2p(new), new.raw() % 2), (9, 0));
    assert_eq!(space.domain.memory.total.load(Ordering::Relaxed), total);
    space.audit();
    // One that is mapped cannot go, and the other one stays.
    let list = [72, 2, 0, SELF, 88, 1, 1, SELF, 0, space.spare(2).raw(), space.data(3).raw(), 9];
    assert_eq!(call(&space, 11, &list), Err(Errno::EINVAL));
    assert_eq!(word(&space, 8), 0);
    assert_eq!(space.hv.frames.owner(space.spare(2)), Owner::Domain(space.domain.id));
    // An address limit that nothing can meet: the lowest frame is somebody's.
    assert!(crate::frame::alloc_below(&space.hv, 0, DomId::XEN, 2).is_some());
    let list = [72, 1, 0, SELF, 80, 1, 13 << 32, SELF, 0, space.spare(2).raw(), 9];
    assert_eq!(call(&space, 11, &list), Err(Errno::ENOMEM));
    let list = [72, 1, 0, SELF, 80, 1, 0, 2, 0, space.spare(2).raw(), 9];
    assert_eq!(call(&space, 11, &list), Err(Errno::EINVAL), "two domains");
    space.audit();
}

#[test]
fn claims_set_frames_aside() {
    let space = space_of(true);
    let has = space.other.memory.total.load(Ordering::Relaxed);
    let free = space.hv.frames.free_frames();
    space.other.memory.max.store(10_000, Ordering::Relaxed);
    let claim = |frames: u64| call(&space, 24, &[0, frames, 0, 2]);
    assert_eq!(claim(u64::from(has)), Err(Errno::EINVAL), "no more than it has");
    assert_eq!(claim(10_001), Err(Errno::EINVAL), "more than it may have");
    assert_eq!(claim(u64::from(has) + free + 1), Err(Errno::ENOMEM));
    assert_eq!(claim(u64::from(has) + free), Ok(0));
    assert_eq!(call(&space, 6, &[32, 1, 0, SELF, 1]), Ok(0), "nothing is left for others");
    assert!(crate::mm::give_frames(&space.hv, &space.other, 0).is_some());
    assert_eq!(space.hv.frames.claimed_frames(), free - 1);
    assert_eq!(claim(0), Ok(0));
    assert_eq!(call(&space, 6, &[32, 1, 0, SELF, 1]), Ok(1));
    assert_eq!(call(&self::space(), 24, &[0, 0, 0, 2]), Err(Errno::EPERM));
}

#[test]
fn maps_are_what_was_set() {
    let space = space_of(true);
    assert_eq!(call(&space, 9, &[1, 64]), Err(Errno::ENOSYS), "none yet");
    // Domain, entries, buffer; one entry of 20 bytes.
    let set = [SELF, 1, 24, 0x1000, 0x5000, 2];
    assert_eq!(call(&space, 13, &set), Ok(0));
    assert_eq!(space.domain.settings.lock().memory_map, [(0x1000, 0x5000, 2)]);
    assert_eq!(call(&space, 9, &[5, 64]), Ok(0));
    assert_eq!((word(&space, 0), word(&space, 8), word(&space, 9)), (1, 0x1000, 0x5000));
    assert_eq!(call(&space, 13, &[SELF, 1025, 24]), Err(Errno::EINVAL));
    assert_eq!(call(&space, 10, &[1, 64]), Err(Errno::EINVAL), "too short a list");
    assert_eq!(call(&space, 10, &[2, 64]), Ok(0));
    assert_eq!(call(&space, 12, &[]), Ok(0));
    assert_eq!([word(&space, 0), word(&space, 1)], [0xffff_8000_0000_0000, 0xffff_8040_0000_0000]);
    assert_eq!(call(&space, 2, &[]), Ok(space.hv.frames.len() as i64));
    assert_eq!(call(&self::space(), 10, &[2, 64]), Err(Errno::EPERM));
}

#[test]
fn strangers_are_refused() {
    let space = space();
    for (command, expected) in [(3, Errno::EPERM), (4, Errno::EPERM), (14, Errno::EPERM), (7, Errno::EACCES)]
    {
        assert_eq!(call(&space, command, &[2]), Err(expected), "command {command}");
        assert_eq!(call(&space, command, &[77]), Err(Errno::ESRCH), "command {command}");
    }
    assert_eq!(call(&space, 7, &[SELF]), Err(Errno::EACCES), "no physical map");
    assert_eq!(call(&space, 6, &[32, 1, 0, 2, 1]), Ok(0), "another's reservation");
    assert_eq!(call(&space, 28, &[2 | 1 << 16, 1, 0, 64]), Err(Errno::EPERM));
    assert_eq!(call(&space, 15, &[SELF, space.foreign.raw()]), Err(Errno::EACCES));
    assert_eq!(call(&space, 63, &[]), Err(Errno::ENOSYS));
}

#[test]
fn a_toolstack_gets_the_grant_table() {
    let space = space_of(true);
    let kind = 1u64 << 16;
    assert_eq!(call(&space, 28, &[2 | kind, 0, 0, 0]), Ok(0));
    assert_eq!(word(&space, 1), u64::from(space.other.grants.size().1), "how many there may be");
    assert_eq!(call(&space, 28, &[2 | kind, 2, 0, 32]), Ok(0));
    for n in [4, 5] {
        assert_eq!(space.hv.frames.owner(Mfn::new(word(&space, n))), Owner::Lent(space.other.id));
    }
    assert_eq!(call(&space, 28, &[2 | kind, 1, 1 << 20, 32]), Err(Errno::EINVAL), "beyond the end");
    assert_eq!(call(&space, 28, &[2 | kind, 1 | 1 << 32, 0, 32]), Err(Errno::EINVAL), "padding");
    assert_eq!(call(&space, 28, &[2, 1, 0, 32]), Err(Errno::EINVAL), "no such resource");
}
