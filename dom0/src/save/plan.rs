//! Reads a stream once and decides whether a domain can be made of it; nothing is made yet.
//!
//! What is kept of the pages is only what they are. Their contents are read a second time by [`super::build`].

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use abi::xen::VcpuGuestContext;

use super::stream::{Reader, Record, page};
use super::{PAGE, Result, Source};

/// Frame numbers on a page.
const ENTRIES: usize = PAGE / 8;
/// What [`Plan::kinds`] has for a number without a page.
pub const HOLE: u8 = page::XTAB;
/// Highest number of a virtual CPU, and one.
const VCPUS_MAX: u32 = 128;

/// A domain to be made.
#[derive(Debug)]
pub struct Plan {
    /// What each page is, by pfn.
    pub kinds: Vec<u8>,
    /// The pages that hold the list of frames, in order.
    pub list: Vec<u64>,
    /// Registers by number.
    pub vcpus: BTreeMap<u32, Box<VcpuGuestContext>>,
    /// The page shared with the hypervisor.
    pub shared_info: Box<[u8; PAGE]>,
    /// What was not understood, and is left out.
    pub left_out: Vec<u32>,
}

impl Plan {
    /// Reads a stream of a guest that may have `pages_max` pages.
    pub fn read(source: &mut dyn Source, pages_max: u64) -> Result<Self> {
        let mut draft = Draft { pages_max, ..Draft::default() };
        let mut reader = Reader::new(source)?;
        loop {
            let record = reader.record()?;
            if matches!(record, Record::End) {
                return draft.finish();
            }
            draft.add(record)?;
        }
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.kinds.iter().filter(|kind| **kind != HOLE).count() as u64
    }

    /// Runs of pages without a hole: the first pfn and how many.
    pub fn runs(&self) -> Vec<(u64, usize)> {
        let mut runs: Vec<(u64, usize)> = Vec::new();
        for (pfn, _) in (0..).zip(&self.kinds).filter(|(_, kind)| **kind != HOLE) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count as u64 == pfn => *count += 1,
                _ => runs.push((pfn, 1)),
            }
        }
        runs
    }

    /// The frame of `start_info`.
    pub fn start_info(&self) -> u64 {
        self.vcpus.get(&0).map_or(0, |context| context.user_regs.rdx)
    }
}

#[derive(Default)]
struct Draft {
    pages_max: u64,
    is_pv: bool,
    kinds: Vec<u8>,
    list: Vec<u64>,
    vcpus: BTreeMap<u32, Box<VcpuGuestContext>>,
    shared_info: Option<Box<[u8; PAGE]>>,
    left_out: Vec<u32>,
}

impl Draft {
    fn add(&mut self, record: Record) -> Result {
        if !self.is_pv && !matches!(record, Record::PvInfo { .. } | Record::Unknown(_)) {
            return Err(format!("{record} comes before X86_PV_INFO"));
        }
        match record {
            Record::PvInfo { width: 8, levels: 4 } if !self.is_pv => self.is_pv = true,
            Record::PvInfo { width: 8, levels: 4 } => return Err("X86_PV_INFO comes twice".to_string()),
            Record::PvInfo { width, levels } => {
                return Err(format!("a guest with addresses of {width} bytes and {levels} levels of tables"));
            }
            Record::P2mFrames { first, last, frames } => self.p2m(first, last, frames)?,
            Record::Pages(pages) => {
                for (pfn, kind) in pages.list {
                    self.page(pfn, kind)?;
                }
            }
            Record::VcpuBasic(id, context) => {
                if id >= VCPUS_MAX || self.vcpus.insert(id, context).is_some() {
                    return Err(format!("registers of vCPU {id} come twice, or there can be no such vCPU"));
                }
            }
            Record::SharedInfo(page) => {
                if self.shared_info.replace(page).is_some() {
                    return Err("SHARED_INFO comes twice".to_string());
                }
            }
            Record::VcpuMore(kind, ..) => self.left_out.push(kind),
            Record::Unknown(kind) => self.left_out.push(kind),
            Record::TscInfo(_) => {}
            record @ (Record::Verify | Record::End) => return Err(format!("{record} has no place here")),
        }
        Ok(())
    }

    fn p2m(&mut self, first: u32, last: u32, frames: Vec<u64>) -> Result {
        let count = u64::from(last) + 1;
        if first != 0 || !self.kinds.is_empty() {
            return Err("only one list of frames, from page 0 on, is read here".to_string());
        }
        if count > self.pages_max {
            return Err(format!(
                "a guest of {count:#x} pages, where its settings allow {:#x}",
                self.pages_max
            ));
        }
        if frames.len() != (count as usize).div_ceil(ENTRIES) {
            return Err(format!("{} pages of frame numbers for {count:#x} pages", frames.len()));
        }
        self.kinds.try_reserve_exact(count as usize).map_err(|_| "no memory for the list of pages")?;
        self.kinds.resize(count as usize, HOLE);
        self.list = frames;
        Ok(())
    }

    fn page(&mut self, pfn: u64, kind: u8) -> Result {
        let count = self.kinds.len();
        match usize::try_from(pfn).ok().and_then(|pfn| self.kinds.get_mut(pfn)) {
            Some(place) if *place == HOLE => *place = kind,
            Some(_) => return Err(format!("page {pfn:#x} comes twice")),
            None => return Err(format!("page {pfn:#x} of a guest of {count:#x} pages")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Plan> {
        let shared_info = self.shared_info.ok_or("the stream has no SHARED_INFO")?;
        let plan = Plan {
            kinds: self.kinds,
            list: self.list,
            vcpus: self.vcpus,
            shared_info,
            left_out: self.left_out,
        };
        let kind = |pfn: u64| plan.kinds.get(usize::try_from(pfn).ok()?).copied();
        let plain = |pfn: u64| matches!(kind(pfn), Some(page::NOTAB | page::XALLOC));
        if let Some(bad) = plan.list.iter().find(|pfn| !plain(**pfn)) {
            return Err(format!("the list of frames is on page {bad:#x}, which is no ordinary page"));
        }
        let mut seen = plan.list.clone();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() != plan.list.len() {
            return Err("a page of the list of frames comes twice".to_string());
        }
        let Some(first) = plan.vcpus.get(&0) else {
            return Err("the stream has no registers of vCPU 0".to_string());
        };
        let start_info = first.user_regs.rdx;
        if !plain(start_info) || plan.list.contains(&start_info) {
            return Err(format!("start_info is on page {start_info:#x}, which is no ordinary page"));
        }
        for (id, context) in &plan.vcpus {
            let root = context.ctrlreg[3] >> 12;
            if kind(root).map(page::level) != Some(page::L4) {
                return Err(format!("the root of vCPU {id}, page {root:#x}, is no page table of level 4"));
            }
        }
        Ok(plan)
    }
}

/// Frame numbers as bytes, for page `index` of the list.
pub fn list_page(mfns: &[u64], index: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; PAGE];
    let numbers = mfns.iter().skip(index * ENTRIES).take(ENTRIES);
    for (place, mfn) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *place = mfn.to_le_bytes();
    }
    bytes
}
