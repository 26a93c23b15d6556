//! Allocations that fail: where a test's own allocator asks whether the present one is to.
//!
//! A test in another crate has a global allocator that asks [`fails_now`]; this crate has no unsafe code, and so none. What fails
//! is what the hypervisor allocates while [`fail_allocation`] counts, in this thread. What the machine of vectors takes for itself
//! ([`own`]) and what was set aside does not.

use core::alloc::Layout;
use std::cell::Cell;

std::thread_local! {
    static FAILS_IN: Cell<u64> = const { Cell::new(0) };
    static ASIDE: Cell<Option<Layout>> = const { Cell::new(None) };
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Lets the `n`th allocation of this thread from now on fail; 0 is none. Returns what was left to count.
pub fn fail_allocation(n: u64) -> u64 {
    FAILS_IN.replace(n)
}

/// Counts an allocation down. Whether it is the one that is to fail.
pub fn fails_now(layout: Layout) -> bool {
    let left = FAILS_IN.get();
    if left == 0 || OWN.get() {
        return false;
    }
    if ASIDE.get() == Some(layout) {
        ASIDE.set(None);
        return false;
    }
    FAILS_IN.set(left - 1);
    left == 1
}

/// Something that the machine does for itself: it takes the memory of tests, not of the hypervisor.
pub(super) fn own<R>(work: impl FnOnce() -> R) -> R {
    let before = OWN.replace(true);
    let result = work();
    OWN.set(before);
    result
}

/// As [`crate::platform::Platform::set_aside`]. That this asks the allocator is what can fail; what comes then does not.
pub(super) fn set_aside(layout: Layout) -> bool {
    let there = !fails_now(layout);
    ASIDE.set(there.then_some(layout));
    there
}
