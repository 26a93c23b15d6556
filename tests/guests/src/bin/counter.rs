//! A second sample: several tasks that count together.
//!
//! Three workers add to one counter at different paces; the main task reports. Where there is a store, the count is also written
//! to `data/counter`. `until=N` on the command line ends it at N; without it, it runs until it is told to shut down.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{string::ToString, sync::Arc};
use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use domu_sdk::{executor, log, println, shutdown, start, store, time};

#[domu_sdk::main]
async fn main() {
    println!("counter: three workers, {} pages of memory", start::info().nr_pages);
    executor::spawn(shutdown::obey());
    let count = Arc::new(AtomicU64::new(0));
    for milliseconds in [100, 250, 400] {
        executor::spawn(work(count.clone(), Duration::from_millis(milliseconds)));
    }
    let until = start::parameter("until").and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
    loop {
        time::sleep(Duration::from_secs(1)).await;
        let now = count.load(Ordering::Relaxed);
        println!("count {now}");
        publish(now).await;
        if now >= until {
            println!("counter: done");
            return;
        }
    }
}

async fn work(count: Arc<AtomicU64>, pace: Duration) {
    loop {
        time::sleep(pace).await;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn publish(count: u64) {
    if let Some(store) = store::get()
        && let Err(error) = store.write("data/counter", count.to_string()).await
    {
        log::warn!("writing data/counter: {error}");
    }
}
