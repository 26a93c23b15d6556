//! A guest that fills its disk with a pattern, reads it back, and says whether every byte is what it was.
//!
//! It opens the disk several times, each time with other limits, so that all forms of rings and requests are used:
//! `passes=N` on the command line repeats the writing with other patterns; `disk=NAME` names another disk than `xvda`.
//!
//! With `keep` it writes records instead, one after the other, each flushed before the next, until it is destroyed; it says which it
//! found from an earlier life. A record that was acknowledged as flushed must be found.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{vec, vec::Vec};
use domu_sdk::{
    block::{self, Disk, Error, Options, SECTOR},
    executor,
    grant::LeakCheck,
    println, start,
    time::Instant,
};

/// Bytes of one access.
const STEP: usize = 1 << 20;

/// Limits to try: what a front end of any age might use.
const FORMS: &[Options] = &[
    Options { queues: 4, ring_order: 2, persistent: true, segments: 256, buffers: 1024 },
    Options { queues: 1, ring_order: 0, persistent: false, segments: 11, buffers: 64 },
    Options { queues: 2, ring_order: 4, persistent: false, segments: 32, buffers: 512 },
    Options { queues: 1, ring_order: 1, persistent: true, segments: 1, buffers: 16 },
];

type Outcome<T = ()> = Result<T, Error>;

#[domu_sdk::main]
async fn main() {
    let outcome = match start::parameter("keep") {
        Some(_) => keep().await,
        None => run().await,
    };
    match outcome {
        Ok(bytes) => println!("RESULT: pass, {bytes} bytes each way"),
        Err(error) => println!("RESULT: fail: {error}"),
    }
}

async fn run() -> Outcome<u64> {
    let name = start::parameter("disk").unwrap_or("xvda");
    let number = block::number_of(name).unwrap_or(0);
    let passes: u64 = start::parameter("passes").and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("disks: {:?}", block::list().await?);
    let grants = LeakCheck::new();
    let mut moved = 0;
    for pass in 0..passes {
        let form = FORMS[pass as usize % FORMS.len()];
        let disk = Disk::open(number, &form).await?;
        let started = Instant::now();
        fill(&disk, pass).await?;
        disk.flush().await?;
        let sum = verify(&disk, pass).await?;
        let info = disk.info();
        let bytes = info.sectors * SECTOR as u64;
        moved += bytes;
        println!(
            "pass {pass}: {} MiB, {} queue(s) of {} page(s), {} segments, persistent {}, checksum {sum:#018x}, {} ms",
            bytes >> 20,
            info.queues,
            info.ring_pages,
            info.segments,
            info.persistent,
            started.elapsed().as_millis()
        );
        disk.close().await?;
    }
    for form in FORMS {
        let disk = Disk::open(number, form).await?;
        let sum = verify(&disk, passes - 1).await?;
        println!("reopened: {:?}, checksum {sum:#018x}", disk.info());
        if form.queues == 4 {
            several_tasks(&disk, passes - 1).await?;
        }
        disk.close().await?;
    }
    let disk = Disk::open(number, &Options::default()).await?;
    discard(&disk, passes - 1).await?;
    refusals(&disk).await;
    disk.close().await?;
    let lost = grants.finish();
    println!("grants: {lost:?}");
    lost.map(|()| moved).map_err(|_| Error::Broken)
}

/// The word at a place of the disk.
fn word(seed: u64, place: u64) -> u64 {
    let mut z =
        place.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 29;
    z.wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn pattern(seed: u64, sector: u64, into: &mut [u8]) {
    let first = sector * (SECTOR as u64 / 8);
    for (place, bytes) in (first..).zip(into.as_chunks_mut::<8>().0) {
        *bytes = word(seed, place).to_le_bytes();
    }
}

/// Places of accesses: first sector and bytes.
fn steps(disk: &Disk) -> impl Iterator<Item = (u64, usize)> {
    let sectors = disk.info().sectors;
    let step = STEP / SECTOR;
    (0..sectors).step_by(step).map(move |sector| (sector, ((sectors - sector) as usize).min(step) * SECTOR))
}

async fn fill(disk: &Disk, seed: u64) -> Outcome {
    let mut data = vec![0; STEP];
    for (sector, bytes) in steps(disk) {
        pattern(seed, sector, &mut data[..bytes]);
        disk.write(sector, &data[..bytes]).await?;
    }
    Ok(())
}

/// Reads the disk; the sum of what was read, if all of it is the pattern.
async fn verify(disk: &Disk, seed: u64) -> Outcome<u64> {
    let mut data = vec![0; STEP];
    let mut sum = 0u64;
    for (sector, bytes) in steps(disk) {
        disk.read(sector, &mut data[..bytes]).await?;
        let first = sector * (SECTOR as u64 / 8);
        for (place, chunk) in (first..).zip(data[..bytes].as_chunks::<8>().0) {
            let value = u64::from_le_bytes(*chunk);
            if value != word(seed, place) {
                println!("sector {}: word {place} is {value:#x}", place * 8 / SECTOR as u64);
                return Err(Error::Failed(0));
            }
            sum = sum.rotate_left(5) ^ value;
        }
    }
    Ok(sum)
}

/// Many tasks, each with small accesses of its own, at the same time.
async fn several_tasks(disk: &Disk, seed: u64) -> Outcome {
    use core::sync::atomic::{AtomicU32, Ordering};
    static DONE: AtomicU32 = AtomicU32::new(0);
    static GOOD: AtomicU32 = AtomicU32::new(0);
    const TASKS: u64 = 24;
    for task in 0..TASKS {
        let disk = disk.clone();
        executor::spawn(async move {
            let mut data = vec![0; 3 * SECTOR];
            let mut wanted = data.clone();
            let mut good = true;
            for turn in 0..16 {
                let sector = word(task, turn) % (disk.info().sectors - 3);
                good &= disk.read(sector, &mut data).await.is_ok();
                pattern(seed, sector, &mut wanted);
                good &= data == wanted;
            }
            GOOD.fetch_add(good.into(), Ordering::Relaxed);
            DONE.fetch_add(1, Ordering::Release);
        });
    }
    while u64::from(DONE.load(Ordering::Acquire)) < TASKS {
        domu_sdk::time::sleep(core::time::Duration::from_millis(1)).await;
    }
    let good = GOOD.load(Ordering::Relaxed);
    println!("tasks: {good} of {TASKS} read what they wanted");
    if u64::from(good) == TASKS { Ok(()) } else { Err(Error::Failed(0)) }
}

/// Sectors of a record.
const RECORD: usize = 3;

/// Reads the records of earlier lives, then writes more, for ever or until the disk is full.
async fn keep() -> Outcome<u64> {
    let number = block::number_of(start::parameter("disk").unwrap_or("xvda")).unwrap_or(0);
    let disk = Disk::open(number, &Options::default()).await?;
    let all = disk.info().sectors / RECORD as u64;
    let (mut data, mut wanted) = (vec![0; RECORD * SECTOR], vec![0; RECORD * SECTOR]);
    let mut count = 0;
    while count < all {
        disk.read(count * RECORD as u64, &mut data).await?;
        record(count, &mut wanted);
        if data != wanted {
            break;
        }
        count += 1;
        if count % 10 == 0 {
            println!("found {count}.");
        }
    }
    println!("{count} records from earlier lives");
    for next in count..all {
        record(next, &mut data);
        disk.write(next * RECORD as u64, &data).await?;
        disk.flush().await?;
        if (next + 1) % 10 == 0 {
            println!("flushed {}.", next + 1);
        }
    }
    disk.close().await?;
    Ok(all)
}

fn record(number: u64, into: &mut [u8]) {
    pattern(number + 1, 0, into);
    into[..8].copy_from_slice(&(number + 1).to_le_bytes());
}

/// Discarding touches nothing else.
async fn discard(disk: &Disk, seed: u64) -> Outcome {
    let Some(how) = disk.info().discard else {
        println!("discard: not offered");
        return Ok(());
    };
    disk.discard(64, 64).await?;
    let mut around = vec![0; 192 * SECTOR];
    let mut wanted = around.clone();
    disk.read(0, &mut around).await?;
    pattern(seed, 0, &mut wanted);
    let middle = 64 * SECTOR..128 * SECTOR;
    let kept =
        around[..middle.start] == wanted[..middle.start] && around[middle.end..] == wanted[middle.end..];
    let zero = around[middle].iter().all(|byte| *byte == 0);
    println!("discard: granularity {}, what is around is kept: {kept}, zero inside: {zero}", how.granularity);
    if kept { Ok(()) } else { Err(Error::Failed(0)) }
}

/// What must not work.
async fn refusals(disk: &Disk) {
    let sectors = disk.info().sectors;
    let mut data: Vec<u8> = vec![0; 2 * SECTOR];
    let beyond = disk.read(sectors - 1, &mut data).await;
    let odd = disk.write(0, &data[..100]).await;
    println!("refused: {beyond:?}, {odd:?}");
}
