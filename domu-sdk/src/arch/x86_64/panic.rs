//! The panic handler: says what, where and how it came there, then ends the domain as crashed.

use crate::{console, print, println, shutdown};
use core::{
    arch::asm,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

/// More frames than this are not printed.
const MAX_FRAMES: usize = 32;

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = super::events_disable();
    if !PANICKING.swap(true, Ordering::SeqCst) {
        console::enter_emergency();
        println!("\n{info}");
        let frame: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
        println!("back trace:");
        back_trace(frame, |address| println!("  {address:#018x}"));
        // On one line, to be copied: whoever has the kernel's file gets functions and lines.
        print!("to see lines: addr2line -fipCe KERNEL");
        back_trace(frame, |address| print!(" {address:#x}"));
        println!();
        console::flush();
    }
    shutdown::now(shutdown::Reason::Crash)
}

/// Walks the chain of frame pointers from `frame` and reports each return address.
///
/// Ends at the first frame pointer that does not lie above the last one on this vCPU's stack, so a damaged chain, or code that
/// keeps no frame pointers, gives a short trace and nothing worse.
pub fn back_trace(frame: u64, mut report: impl FnMut(u64)) {
    let stack = super::vcpu::stack();
    let (mut frame, mut floor) = (frame, stack.start);
    for _ in 0..MAX_FRAMES {
        if frame < floor || !frame.is_multiple_of(8) || frame + 16 > stack.end {
            return;
        }
        let slots = core::ptr::with_exposed_provenance::<u64>(frame as usize);
        // SAFETY: two words that lie on this vCPU's stack, which is always mapped.
        let (next, address) = unsafe { (slots.read_volatile(), slots.add(1).read_volatile()) };
        if address == 0 {
            return;
        }
        report(address);
        floor = frame + 16;
        frame = next;
    }
}

/// Opens a lock whose holder never runs again.
pub(crate) fn force_unlock<T: ?Sized>(lock: &spin::Mutex<T>) {
    if PANICKING.load(Ordering::SeqCst) {
        // SAFETY: a panic has begun, with events masked: the holder is below us on the stack and is never returned to.
        unsafe { lock.force_unlock() }
    }
}
