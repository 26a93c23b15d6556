//! A guest that counts, and goes on counting when it was saved and restored.
//!
//! Everything that must outlive a suspend is in use when it comes: two vCPUs, timers, a watch, transactions of the store, and a disk on which
//! several tasks write records, each with a checksum, and read them again. Every record is read once more at the end. `turns=N` on the command
//! line says how many records a task writes after a restore; `peer=ADDRESS` names an echo server, to which a connection stands all the time.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec,
};
use core::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};
use domu_sdk::{
    block::{self, Disk, Options, SECTOR},
    executor,
    net::{Stack, TcpStream},
    println, shutdown, start, store, suspend,
    time::{self, Instant},
    vcpu,
};

/// Tasks that write, and sectors of a record.
const TASKS: u64 = 4;
const RECORD: usize = 16;
/// Bytes of memory that are compared at the end.
const BALLAST: usize = 2 << 20;

static COUNT: AtomicU64 = AtomicU64::new(0);
static ELSEWHERE: AtomicU64 = AtomicU64::new(0);
static WATCHED: AtomicU32 = AtomicU32::new(0);
static ECHOED: AtomicU32 = AtomicU32::new(0);
static DONE: AtomicU32 = AtomicU32::new(0);
static WRONG: AtomicU32 = AtomicU32::new(0);

type Outcome<T = ()> = Result<T, String>;

#[domu_sdk::main]
async fn main() {
    executor::spawn(shutdown::obey());
    match run().await {
        Ok(text) => println!("RESULT: pass, {text}"),
        Err(why) => println!("RESULT: fail: {why}"),
    }
}

fn words<E: core::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

async fn run() -> Outcome<String> {
    let turns: u64 = start::parameter("turns").and_then(|text| text.parse().ok()).unwrap_or(30);
    let number = block::number_of("xvda").unwrap_or(0);
    let form = Options { queues: 2, ring_order: 1, segments: 64, ..Options::default() };
    let disk = Disk::open(number, &form).await.map_err(words("the disk"))?;
    let before = (start::domain_id(), Instant::now());
    // Memory that nothing but the image carries over, and that does not fit on a small disk.
    let mut ballast = vec![0; BALLAST];
    record(TASKS, 0, &mut ballast);
    let other = vcpu::spawn(|| {
        while DONE.load(Ordering::Acquire) < TASKS as u32 {
            ELSEWHERE.fetch_add(1, Ordering::Relaxed);
            executor::block_on(time::sleep(Duration::from_millis(5)));
        }
    });
    let other = other.map_err(words("the second vCPU"))?;
    executor::spawn(watch());
    if let Some(peer) = start::parameter("peer") {
        let stack = Stack::start().await.map_err(words("the network"))?;
        let peer = peer.parse().map_err(words("peer="))?;
        let stream = TcpStream::connect(&stack, peer, 7).await.map_err(words("connecting"))?;
        executor::spawn(talk(stream));
    }
    for task in 0..TASKS {
        executor::spawn(write(disk.clone(), task, turns));
    }
    println!("counting on domain {:?}", before.0);
    let mut last = 0;
    let mut elsewhere = 0;
    while DONE.load(Ordering::Acquire) < TASKS as u32 {
        time::sleep(Duration::from_millis(20)).await;
        let now = COUNT.load(Ordering::Relaxed) / 100;
        for hundred in last + 1..=now {
            println!("count {hundred}00.");
        }
        if now != last {
            last = now;
            in_the_store(now).await?;
        }
        if suspend::restored() == 0 {
            elsewhere = ELSEWHERE.load(Ordering::Relaxed);
        }
    }
    let more = ELSEWHERE.load(Ordering::Relaxed) - elsewhere;
    other.await;
    if Instant::now() < before.1 || more == 0 {
        return Err(format!("the clock went back, or the second vCPU stopped: {more}"));
    }
    if WATCHED.load(Ordering::Relaxed) < 2 {
        return Err("the watch did not report after the restore".to_string());
    }
    let mut wanted = vec![0; BALLAST];
    record(TASKS, 0, &mut wanted);
    if ballast != wanted {
        return Err("memory is not what it was".to_string());
    }
    if start::parameter("peer").is_some() {
        // An answer to what was said after the restore.
        let said = ECHOED.load(Ordering::Relaxed);
        while ECHOED.load(Ordering::Relaxed) < said + 3 {
            time::sleep(Duration::from_millis(20)).await;
        }
    }
    let good = verify(&disk).await?;
    let wrong = WRONG.load(Ordering::Relaxed);
    if wrong > 0 {
        return Err(format!("{wrong} records were not what had been written"));
    }
    disk.close().await.map_err(words("closing the disk"))?;
    let now = start::domain_id();
    Ok(format!(
        "{good} records, restored {} time(s), domain {:?} and then {now:?}",
        suspend::restored(),
        before.0
    ))
}

/// Says numbers and hears them again, over a connection that goes on when both ends were restored.
async fn talk(stream: TcpStream) {
    for number in 0_u64.. {
        let mut heard = [0; 8];
        let exchange = async {
            stream.write_all(&number.to_le_bytes()).await?;
            stream.read_exact(&mut heard).await
        };
        if exchange.await.is_err() || heard != number.to_le_bytes() {
            println!("RESULT: fail: the connection at number {number}");
            return;
        }
        ECHOED.fetch_add(1, Ordering::Relaxed);
        time::sleep(Duration::from_millis(5)).await;
    }
}

/// Counts the reports of a node that the toolstack makes anew.
async fn watch() {
    let Some(store) = store::get() else { return };
    let Ok(watch) = store.watch("control").await else { return };
    let mut seen = u32::MAX;
    while watch.next().await.is_ok() {
        if suspend::restored() != seen {
            seen = suspend::restored();
            WATCHED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes the count to the store, in a transaction.
async fn in_the_store(count: u64) -> Outcome {
    let Some(store) = store::get() else { return Err("no store".to_string()) };
    loop {
        let transaction = store.transaction().await.map_err(words("a transaction"))?;
        transaction.write("data/count", count.to_string()).await.map_err(words("data/count"))?;
        if transaction.commit().await.map_err(words("a commit"))? {
            return Ok(());
        }
    }
}

fn record(task: u64, turn: u64, into: &mut [u8]) {
    let mut word = (task << 32 | turn).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for bytes in into.as_chunks_mut::<8>().0 {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        *bytes = word.to_le_bytes();
    }
}

fn place(task: u64, turn: u64, sectors: u64) -> u64 {
    let each = sectors / TASKS / RECORD as u64;
    (task * each + turn % each) * RECORD as u64
}

/// The last turn of each task.
static TURNS: [AtomicU64; TASKS as usize] = [const { AtomicU64::new(0) }; TASKS as usize];

/// Writes record after record, and reads each again, until enough were written after a restore.
async fn write(disk: Disk, task: u64, turns: u64) {
    let disk = Arc::new(disk);
    let (mut data, mut wanted) = (vec![0; RECORD * SECTOR], vec![0; RECORD * SECTOR]);
    let mut left = turns;
    for turn in 0.. {
        let at = place(task, turn, disk.info().sectors);
        record(task, turn, &mut wanted);
        let mut good = disk.write(at, &wanted).await.is_ok();
        if turn % 8 == 0 {
            good &= disk.flush().await.is_ok();
        }
        good &= disk.read(at, &mut data).await.is_ok() && data == wanted;
        WRONG.fetch_add(u32::from(!good), Ordering::Relaxed);
        COUNT.fetch_add(1, Ordering::Relaxed);
        TURNS[task as usize].store(turn, Ordering::Relaxed);
        if suspend::restored() > 0 {
            left -= 1;
            if left == 0 {
                break;
            }
        }
        time::sleep(Duration::from_millis(3)).await;
    }
    DONE.fetch_add(1, Ordering::Release);
}

/// Reads the records that nothing has overwritten; their number.
async fn verify(disk: &Disk) -> Outcome<u64> {
    let (mut data, mut wanted) = (vec![0; RECORD * SECTOR], vec![0; RECORD * SECTOR]);
    let each = disk.info().sectors / TASKS / RECORD as u64;
    let mut good = 0;
    for task in 0..TASKS {
        let last = TURNS[task as usize].load(Ordering::Relaxed);
        for turn in (last + 1).saturating_sub(each)..=last {
            disk.read(place(task, turn, disk.info().sectors), &mut data).await.map_err(words("reading"))?;
            record(task, turn, &mut wanted);
            if data != wanted {
                return Err(format!("record {turn} of task {task} is lost"));
            }
            good += 1;
        }
    }
    Ok(good)
}
