//! Memory that comes and goes: ballooning, by hand and as the store says, and pages between guard pages.
//!
//! Each check prints a line as those of `selftest` do.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{format, string::String, string::ToString, vec::Vec};
use core::time::Duration;
use domu_sdk::{
    DomId, executor, hypercall,
    memory::{
        self, Pages, balloon,
        layout::{DIRECT_BASE, PAGE_SIZE},
        region::{Access, Region},
    },
    println, start, store, time,
};
use test_guests::report;

type Check = Result<(), String>;

/// What the domain has, as the hypervisor counts.
fn reservation() -> Result<u64, String> {
    hypercall::memory::current_reservation(DomId::SELF).map_err(|error| error.to_string())
}

fn set(pages: u64) -> Check {
    let had = reservation()? - balloon::current();
    let got = balloon::set_target(pages).map_err(|error| error.to_string())?;
    let now = reservation()?;
    if (got, now) == (pages, pages + had) {
        return Ok(());
    }
    Err(format!(
        "asked for {pages} pages, got {got}; the hypervisor counts {now}, {had} of them not the allocator's"
    ))
}

/// Half of the free memory goes, and comes back usable.
fn by_hand() -> Check {
    let all = balloon::current();
    let free = memory::usage().free;
    for _ in 0..3 {
        set(all - free / 2)?;
        if memory::usage().free > free - free / 2 {
            return Err("frames that were given back are still free".into());
        }
        set(all)?;
    }
    if memory::usage().free != free {
        return Err(format!("{free} pages were free before, {} after", memory::usage().free));
    }
    // Every frame that came back is used once.
    let mut pages: Vec<Pages> = Vec::new();
    while memory::usage().free > balloon::RESERVE {
        let mut page = Pages::new(1).ok_or("a free page was not to be had")?;
        page[..8].copy_from_slice(&pages.len().to_le_bytes());
        pages.push(page);
    }
    let intact = pages.iter().enumerate().all(|(at, page)| page[..8] == at.to_le_bytes());
    if intact { Ok(()) } else { Err("pages overlap".into()) }
}

/// No more goes than is free, and no more comes than there was.
fn limits() -> Check {
    let all = balloon::current();
    let least = balloon::set_target(0).map_err(|error| error.to_string())?;
    println!("with a target of 0, {least} of {all} pages stay");
    let kept = memory::usage().free;
    let most = balloon::set_target(u64::MAX).map_err(|error| error.to_string())?;
    if kept != balloon::RESERVE || most != all || least >= all {
        return Err(format!("{kept} pages stayed free, and {most} came back of {all}"));
    }
    Ok(())
}

/// A frame that was given back has no address.
fn holes() -> Check {
    let page = Pages::new(1).ok_or("no page")?;
    let pfn = page.pfn(0);
    drop(page);
    let all = balloon::current();
    balloon::set_target(0).map_err(|error| error.to_string())?;
    let gone = (0..all + balloon::holes())
        .filter(|&pfn| memory::machine_frame(domu_sdk::Pfn(pfn)).is_none())
        .collect::<Vec<u64>>();
    let readable = gone.iter().any(|pfn| memory::probe(DIRECT_BASE + pfn * PAGE_SIZE as u64).is_some());
    balloon::set_target(u64::MAX).map_err(|error| error.to_string())?;
    let back = memory::machine_frame(pfn).and_then(memory::domain_frame);
    if gone.is_empty() || readable || back != Some(pfn) {
        return Err(format!("{} holes, readable: {readable}, frame {pfn} back: {back:?}", gone.len()));
    }
    Ok(())
}

/// The store's wish is followed.
async fn follows() -> Check {
    /// A node that the domain may write itself; the toolstack's is `memory/target`.
    const NODE: &str = "data/target";
    let Some(store) = store::get() else { return Err("there is no store".into()) };
    let all = balloon::current();
    let write = async |pages: u64| {
        store.write(NODE, format!("{}", pages * 4)).await.map_err(|error| error.to_string())
    };
    write(all - 500).await?;
    executor::spawn(balloon::follow(NODE));
    for wish in [all - 500, all - 100, all] {
        write(wish).await?;
        let mut turns = 0;
        while balloon::current() != wish {
            time::sleep(Duration::from_millis(10)).await;
            turns += 1;
            if turns > 500 {
                return Err(format!("the wish is {wish} pages, the domain has {}", balloon::current()));
            }
        }
    }
    store.rm(NODE).await.map_err(|error| error.to_string())
}

/// Running over either end of a region faults; read-only is read-only at both addresses.
fn regions() -> Check {
    let mut region = Region::new(3).map_err(|error| error.to_string())?;
    let (first, end) = (region.address() as u64, region.address() as u64 + 3 * PAGE_SIZE as u64);
    region.store_u64(0, 1);
    region.store_u64(3 * PAGE_SIZE - 8, 2);
    if memory::probe(first - 8).is_some() || memory::probe(end).is_some() {
        return Err("a guard page can be read".into());
    }
    let frame = memory::page_table_entry(first).ok_or("the region has no table")?;
    let frame =
        memory::domain_frame(domu_sdk::Mfn(memory::layout::entry_frame(frame))).ok_or("not our frame")?;
    let direct = DIRECT_BASE + frame.0 * PAGE_SIZE as u64;
    if memory::probe(direct) != Some(1) || !memory::probe_write(direct) {
        return Err("the direct map does not show the region's page".into());
    }
    region.set_access(Access::Read).map_err(|error| error.to_string())?;
    if memory::probe_write(first) || memory::probe_write(direct) || memory::probe(first) != Some(1) {
        return Err("a read-only region can be written".into());
    }
    drop(region);
    if memory::probe(first).is_some() || !memory::probe_write(direct) {
        return Err("a region's pages are not what they were before it".into());
    }
    Ok(())
}

#[domu_sdk::main]
async fn main() {
    println!("{} pages, {} free", start::info().nr_pages, memory::usage().free);
    let checks = [
        ("regions", regions()),
        ("by-hand", by_hand()),
        ("limits", limits()),
        ("holes", holes()),
        ("follows-the-store", follows().await),
    ];
    report::checks(checks);
}
