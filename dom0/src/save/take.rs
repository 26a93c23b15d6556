//! Reads a domain that stands still, and writes it as a stream.
//!
//! The guest says in its shared page where the list of its frames is (public header `arch-x86/xen.h`, `arch_shared_info`): a page of frame
//! numbers of pages of frame numbers of the list's pages. All of that is the guest's claim: the hypervisor maps a frame only if it is the
//! guest's, and a frame that is listed twice is refused.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::mem::offset_of;

use abi::xen::{ArchSharedInfo, SharedInfo};

use super::stream::{BATCH, Pages, Writer, page};
use super::{PAGE, Result, Sink, tables};
use crate::DomId;
use crate::hypervisor::{DomainInfo, Hypervisor, Window, explain};

/// Entries of a page of frame numbers.
const ENTRIES: usize = PAGE / 8;
/// Frames that the list may have: 512 on each of 512 pages on each of 16.
const FRAMES_MAX: u64 = (ENTRIES * ENTRIES * 16) as u64;
/// `INVALID_P2M_ENTRY`: no frame is there.
const HOLE: u64 = u64::MAX;
const MAX_PFN: usize = offset_of!(SharedInfo, arch) + offset_of!(ArchSharedInfo, max_pfn);
const LISTS: usize = offset_of!(SharedInfo, arch) + offset_of!(ArchSharedInfo, pfn_to_mfn_frame_list_list);

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Pages of the guest.
    pub pages: u64,
    /// Those of them that are zero, and of which only the number was written.
    pub zero: u64,
    /// Those that are page tables.
    pub tables: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
}

/// Where each of the guest's pages is in the machine, in both directions.
struct Frames {
    p2m: Vec<u64>,
    /// Sorted by the first: machine frame and pfn.
    m2p: Vec<(u64, u64)>,
    /// Pages that hold the list, by machine frame.
    list: Vec<u64>,
}

impl Frames {
    fn pfn(&self, mfn: u64) -> Option<u64> {
        let at = self.m2p.binary_search_by_key(&mfn, |(mfn, _)| *mfn).ok()?;
        Some(self.m2p[at].1)
    }
}

/// Writes the domain.
pub fn take<H: Hypervisor>(hv: &mut H, info: &DomainInfo, sink: &mut dyn Sink) -> Result<Summary> {
    let version = hv.host_info().map_err(|e| explain("xen_version", e))?.version;
    let mut taker = Taker { hv, dom: info.dom };
    let shared = taker.page(info.shared_info, "the shared page")?;
    let frames = taker.frames(&shared, info.max_pages)?;
    let mut writer = Writer::new(sink, version)?;
    writer.pv_info()?;
    let list =
        frames.list.iter().map(|mfn| frames.pfn(*mfn).ok_or_else(|| stray("the list of frames", *mfn)));
    let last = frames.p2m.len() as u32 - 1;
    writer.p2m_frames(0, last, &list.collect::<Result<Vec<u64>>>()?)?;
    let mut summary = Summary::default();
    taker.pages(&frames, &mut writer, &mut summary)?;
    taker.vcpus(info, &frames, &mut writer, &mut summary)?;
    writer.shared_info(shared.first_chunk().ok_or("no shared page")?)?;
    writer.end()?;
    Ok(summary)
}

fn stray(what: &str, mfn: u64) -> alloc::string::String {
    format!("{what} names frame {mfn:#x}, which is not in the guest's list of frames")
}

struct Taker<'h, H> {
    hv: &'h mut H,
    dom: DomId,
}

impl<H: Hypervisor> Taker<'_, H> {
    fn page(&mut self, mfn: u64, what: &str) -> Result<Vec<u8>> {
        let window = self.hv.map_foreign_read_only(self.dom, &[mfn]);
        let window = window
            .map_err(|e| format!("{what}, frame {mfn:#x}: {}", explain("mapping of guest memory", e)))?;
        let mut bytes = vec![0; PAGE];
        window.read(0, &mut bytes);
        Ok(bytes)
    }

    /// A page of frame numbers, or the first part of it.
    fn numbers(&mut self, mfn: u64, count: usize) -> Result<Vec<u64>> {
        let bytes = self.page(mfn, "the list of frames")?;
        Ok(words(&bytes).take(count).collect())
    }

    /// Reads the guest's list of frames.
    fn frames(&mut self, shared: &[u8], max_pages: u64) -> Result<Frames> {
        let field = |at: usize| words(&shared[at..at + 8]).next().unwrap_or(0);
        let (count, top) = (field(MAX_PFN), field(LISTS));
        if count == 0 || top == 0 || top == HOLE {
            return Err("the guest does not tell where the list of its frames is".to_string());
        }
        // Holes may be listed, too; but the list must not cost more than the guest's memory warrants.
        let most = FRAMES_MAX.min(max_pages.saturating_mul(2));
        if count > most {
            return Err(format!("the guest says that it has {count:#x} frames; at most {most:#x} are read"));
        }
        let pages = (count as usize).div_ceil(ENTRIES);
        let mut list = Vec::new();
        for lower in self.numbers(top, pages.div_ceil(ENTRIES))? {
            let more = self.numbers(lower, (pages - list.len()).min(ENTRIES))?;
            list.extend(more);
        }
        let mut p2m = Vec::new();
        for mfn in &list {
            let more = self.numbers(*mfn, (count as usize - p2m.len()).min(ENTRIES))?;
            p2m.extend(more);
        }
        let there = p2m.iter().zip(0..).filter(|(mfn, _)| **mfn != HOLE);
        let mut m2p: Vec<(u64, u64)> = there.map(|(mfn, pfn)| (*mfn, pfn)).collect();
        m2p.sort_unstable();
        match m2p.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(twice) => Err(format!(
                "the guest lists frame {:#x} twice, as {:#x} and {:#x}",
                twice[0].0, twice[0].1, twice[1].1
            )),
            None => Ok(Frames { p2m, m2p, list }),
        }
    }

    fn pages<S: Sink + ?Sized>(
        &mut self,
        frames: &Frames,
        writer: &mut Writer<'_, S>,
        summary: &mut Summary,
    ) -> Result {
        let there: Vec<(u64, u64)> =
            (0..).zip(&frames.p2m).filter(|(_, mfn)| **mfn != HOLE).map(|(pfn, mfn)| (pfn, *mfn)).collect();
        for batch in there.chunks(BATCH) {
            let mfns: Vec<u64> = batch.iter().map(|(_, mfn)| *mfn).collect();
            let kinds = self.hv.page_kinds(self.dom, &mfns).map_err(|e| explain("getpageframeinfo3", e))?;
            let window = self.hv.map_foreign_read_only(self.dom, &mfns);
            let window = window.map_err(|e| explain("mapping of guest memory", e))?;
            let mut pages = Pages::default();
            let mut bytes = vec![0; PAGE];
            for (index, (&(pfn, mfn), kind)) in batch.iter().zip(kinds).enumerate() {
                let kind = (kind >> 28) as u8;
                if !page::has_data(kind) {
                    return Err(format!("page {pfn:#x}, frame {mfn:#x}, is not the guest's or damaged"));
                }
                window.read(index * PAGE, &mut bytes);
                summary.pages += 1;
                if page::level(kind) != 0 {
                    tables::table(&mut bytes, kind, pfn, &|mfn| frames.pfn(mfn))?;
                    summary.tables += 1;
                } else if bytes.iter().all(|byte| *byte == 0) {
                    summary.zero += 1;
                    pages.list.push((pfn, page::XALLOC));
                    continue;
                }
                pages.list.push((pfn, kind));
                pages.data.extend_from_slice(&bytes);
            }
            writer.pages(&pages)?;
        }
        Ok(())
    }

    fn vcpus<S: Sink + ?Sized>(
        &mut self,
        info: &DomainInfo,
        frames: &Frames,
        writer: &mut Writer<'_, S>,
        summary: &mut Summary,
    ) -> Result {
        for id in 0..=info.max_vcpu {
            let state = self.hv.vcpu_info(self.dom, id).map_err(|e| explain("getvcpuinfo", e))?;
            if !state.online {
                continue;
            }
            let mut context = self.hv.vcpu_context(self.dom, id).map_err(|e| explain("getvcpucontext", e))?;
            tables::pack(id, &mut context, &|mfn| frames.pfn(mfn)).map_err(|e| format!("vCPU {id}: {e}"))?;
            writer.vcpu(id, &context)?;
            summary.vcpus += 1;
        }
        if summary.vcpus == 0 {
            return Err("no vCPU of the guest is online".to_string());
        }
        Ok(())
    }
}

/// The words of bytes.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}
