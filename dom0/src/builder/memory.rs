//! A new domain's memory: allocated frame by frame, written through a sliding window of foreign mappings.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::DomId;
use crate::hypervisor::{Hypervisor, Window, explain};

const PAGE: usize = 4096;
/// Pages in the window.
const WINDOW: usize = 64;
/// Frames asked for in one call.
const BATCH: usize = 1024;

/// The message for a guest that is larger than the free memory; both numbers are pages.
pub fn too_little(have: u64, want: u64) -> String {
    let (have, want) = (have >> 8, want >> 8);
    format!("not enough free memory: {have} of {want} MiB; type free, destroy a guest or give this one less")
}

/// The frames and the window over some of them.
pub struct Memory<W> {
    dom: DomId,
    mfns: Vec<u64>,
    window: Option<(usize, usize, W)>,
}

impl<W: Window> Memory<W> {
    /// Allocates all pages.
    pub fn populate<H: Hypervisor<Window = W>>(hv: &mut H, dom: DomId, pages: u64) -> Result<Self, String> {
        // Grows with what was really allocated: a guest's file may ask for any amount.
        let mut mfns = Vec::new();
        while mfns.len() < pages as usize {
            let count = BATCH.min(pages as usize - mfns.len());
            let more =
                hv.populate(dom, mfns.len() as u64, count).map_err(|e| explain("populate_physmap", e))?;
            let short = more.len() < count;
            mfns.extend(more);
            if short {
                return Err(too_little(mfns.len() as u64, pages));
            }
        }
        Ok(Self { dom, mfns, window: None })
    }

    /// Machine frames by pseudo-physical number.
    pub fn mfns(&self) -> &[u64] {
        &self.mfns
    }

    /// The machine frame of a page.
    pub fn mfn(&self, pfn: u64) -> Result<u64, String> {
        let mfn = self.mfns.get(pfn as usize).copied();
        mfn.ok_or_else(|| format!("page {pfn:#x} is outside the guest's {:#x} pages", self.mfns.len()))
    }

    /// Copies bytes to a pseudo-physical address.
    pub fn write<H: Hypervisor<Window = W>>(
        &mut self,
        hv: &mut H,
        at: u64,
        mut bytes: &[u8],
    ) -> Result<(), String> {
        let mut at = at as usize;
        while !bytes.is_empty() {
            let (window, offset, room) = self.window(hv, at)?;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            window.write(offset, now);
            at += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// Zeroes a pseudo-physical range.
    pub fn zero<H: Hypervisor<Window = W>>(&mut self, hv: &mut H, at: u64, len: u64) -> Result<(), String> {
        let (mut at, end) = (at as usize, (at + len) as usize);
        while at < end {
            let (window, offset, room) = self.window(hv, at)?;
            let now = room.min(end - at);
            window.zero(offset, now);
            at += now;
        }
        Ok(())
    }

    /// Takes the window away: nothing of the domain stays mapped.
    pub fn finish(&mut self) {
        self.window = None;
    }

    /// The window with the byte `at` in it, its offset there, and the bytes from there to the window's end.
    fn window<H: Hypervisor<Window = W>>(
        &mut self,
        hv: &mut H,
        at: usize,
    ) -> Result<(&W, usize, usize), String> {
        let page = at / PAGE;
        let held =
            self.window.as_ref().is_some_and(|(first, count, _)| (*first..first + count).contains(&page));
        if !held {
            self.window = None;
            let end = self.mfns.len().min(page + WINDOW);
            let mfns = self.mfns.get(page..end).filter(|m| !m.is_empty());
            let mfns = mfns.ok_or_else(|| format!("address {at:#x} is outside the guest's memory"))?;
            let window = hv.map_foreign(self.dom, mfns).map_err(|e| explain("mapping of guest memory", e))?;
            self.window = Some((page, end - page, window));
        }
        let Some((first, count, window)) = &self.window else { return Err("no window".into()) };
        let offset = at - first * PAGE;
        Ok((window, offset, count * PAGE - offset))
    }
}
