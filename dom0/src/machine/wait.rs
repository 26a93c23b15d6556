//! Sleeping until an event, a key or a moment.

use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;

use domu_sdk::console;
use domu_sdk::events::Channel;
use domu_sdk::executor::{self, WaitList};
use domu_sdk::time::{self, Instant};

static NEWS: AtomicBool = AtomicBool::new(false);
static WAITING: WaitList = WaitList::new();

/// Events of this channel end a sleep.
pub fn listen(channel: &Channel) {
    channel.on_event(|_| {
        NEWS.store(true, Ordering::Release);
        WAITING.wake_all();
    });
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
