//! What the interface's few functions do. They stand here, because the library takes long to compile a second time for tests of its own.

use abi::errno::Errno;
use abi::io::ring::{BackRing, FrontRing, bytes_readable, bytes_writable, must_notify, slot_offset, slots};
use abi::trap::has_error_code;
use abi::{GuestPtr, Union};

#[test]
fn a_member_comes_back_and_the_rest_is_zero() {
    let mut u = Union::<u32, 3>::default();
    u.bytes_mut().fill(0xff);
    u.set(0x1122_3344_u32);
    assert_eq!(u.get::<u32>(), 0x1122_3344);
    assert_eq!(u.get::<[u32; 3]>(), [0x1122_3344, 0, 0]);
    assert_eq!(u.bytes()[..2], [0x44, 0x33]);
}

#[test]
fn error_codes_are_those_of_the_manual() {
    let with: [bool; 256] = core::array::from_fn(|v| has_error_code(v as u8));
    let expected = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];
    for (vector, has) in with.iter().enumerate() {
        assert_eq!(*has, expected.contains(&vector), "vector {vector}");
    }
}

#[test]
fn slots_round_down_to_a_power_of_two() {
    assert_eq!(slots(4096, 112), 32);
    assert_eq!(slots(4096, 12), 256);
    assert_eq!(slots(64, 8), 0);
    assert_eq!(slots(72, 8), 1);
    assert_eq!(slots(4096, 0), 0);
}

#[test]
fn notify_only_when_stepping_over_the_event() {
    assert!(must_notify(0, 1, 1));
    assert!(!must_notify(1, 2, 1));
    assert!(must_notify(u32::MAX, 1, 0));
    assert!(!must_notify(5, 5, 5));
}

#[test]
fn a_lying_peer_is_seen() {
    let mut back = BackRing::attach(32, 0);
    assert!(!back.request_overflow(32));
    assert!(back.request_overflow(33));
    assert_eq!(back.unconsumed_requests(1000), 32);
    back.req_cons = 32;
    assert_eq!(back.unconsumed_requests(1000), 0);
    assert!(FrontRing::new(32).response_overflow(33));
    assert_eq!(bytes_readable(1025, 0, 1024), None);
    assert_eq!(bytes_writable(5, u32::MAX, 1024), Some(1018));
}

#[test]
fn slot_offsets_wrap() {
    assert_eq!(slot_offset(0, 32, 112), 64);
    assert_eq!(slot_offset(33, 32, 112), 64 + 112);
    assert_eq!(slot_offset(u32::MAX, 32, 112), 64 + 31 * 112);
}

#[test]
fn offset_counts_elements_and_refuses_to_wrap() {
    let p = GuestPtr::<u32>::new(0x1000);
    assert_eq!(p.offset(3), Some(GuestPtr::new(0x100c)));
    assert_eq!(GuestPtr::<u32>::new(u64::MAX - 3).offset(1), None);
    assert_eq!(p.offset(u64::MAX / 2), None);
}

#[test]
fn return_values_go_both_ways() {
    for errno in Errno::ALL {
        assert_eq!(Errno::from_ret(errno.as_ret()), Some(*errno));
    }
    assert_eq!(Errno::check(7), Ok(7));
    assert_eq!(Errno::check(-38), Err(Errno::ENOSYS));
    assert_eq!(Errno::check(-1000), Err(Errno::EINVAL));
}
