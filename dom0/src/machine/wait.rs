//! Sleeping until an event, a key or a moment.

use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Poll;

use domu_sdk::console;
use domu_sdk::events::Channel;
use domu_sdk::executor::{self, WaitList};
use domu_sdk::time::{self, Instant};

static NEWS: AtomicBool = AtomicBool::new(false);
/// Ports of the two-level form.
const PORTS: usize = 4096;
/// One bit for each port that was rung.
static RUNG: [AtomicU64; PORTS / 64] = [const { AtomicU64::new(0) }; PORTS / 64];
static WAITING: WaitList = WaitList::new();

/// Events of this channel end a sleep.
pub fn listen(channel: &Channel) {
    channel.on_event(|port| {
        if let Some(word) = RUNG.get(port.0 as usize / 64) {
            word.fetch_or(1 << (port.0 % 64), Ordering::AcqRel);
        }
        NEWS.store(true, Ordering::Release);
        WAITING.wake_all();
    });
}

/// Adds the ports that were rung since the last call.
pub fn rung(ports: &mut Vec<u32>) {
    for (base, word) in (0..).step_by(64).zip(&RUNG) {
        // Usually nothing is there, and looking is cheaper than taking.
        if word.load(Ordering::Acquire) == 0 {
            continue;
        }
        let mut bits = word.swap(0, Ordering::AcqRel);
        while bits != 0 {
            ports.push(base + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
}

/// Sleeps until an event came since the last sleep, a key was typed, or the time has come; keys are added to `keys`.
pub fn sleep_until(deadline: u64, keys: &mut Vec<u8>) {
    let mut buffer = [0; 64];
    let mut count = None;
    {
        let mut typed = pin!(console::read(&mut buffer));
        let mut clock = pin!(time::sleep_until(Instant::from_nanoseconds(deadline)));
        executor::block_on(poll_fn(|context| {
            // Registered first: an event between the two is not missed.
            WAITING.register(context);
            if NEWS.swap(false, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            if let Poll::Ready(read) = typed.as_mut().poll(context) {
                count = Some(read);
                return Poll::Ready(());
            }
            clock.as_mut().poll(context)
        }));
    }
    if let Some(count) = count {
        keys.extend_from_slice(&buffer[..count]);
    }
}

/// Keys typed so far.
pub fn keys(keys: &mut Vec<u8>) {
    let mut buffer = [0; 64];
    loop {
        match console::try_read(&mut buffer) {
            0 => return,
            count => keys.extend_from_slice(&buffer[..count]),
        }
    }
}
