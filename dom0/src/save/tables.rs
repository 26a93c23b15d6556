//! Page tables and registers in two numberings: the machine's and the guest's own.

use alloc::format;

use abi::xen::VcpuGuestContext;

use super::stream::page;
use super::{PAGE, Result};

const PRESENT: u64 = 1;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// Entries of a top-level table that are the hypervisor's.
const HYPERVISOR: core::ops::Range<usize> = 256..272;
/// Entries of a descriptor table on one page.
const DESCRIPTORS: u64 = 512;

/// Gives the other number of a frame; `None` for frames that are not the guest's.
pub type Translate<'t> = &'t dyn Fn(u64) -> Option<u64>;

/// Translates the entries of a page table, in place. The hypervisor's own entries become empty.
pub fn table(bytes: &mut [u8], kind: u8, pfn: u64, by: Translate<'_>) -> Result {
    let level = page::level(kind);
    for (index, entry) in bytes[..PAGE].as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let value = u64::from_le_bytes(*entry);
        if value & PRESENT == 0 {
            continue;
        }
        if level == page::L4 && HYPERVISOR.contains(&index) {
            *entry = [0; 8];
            continue;
        }
        let frame = (value & FRAME) >> 12;
        let Some(other) = by(frame) else {
            return Err(format!(
                "entry {index} of the page table at {pfn:#x} (level {level}) maps frame {frame:#x}, which is not the guest's"
            ));
        };
        *entry = (value & !FRAME | other << 12 & FRAME).to_le_bytes();
    }
    Ok(())
}

fn frame(what: &str, number: u64, by: Translate<'_>) -> Result<u64> {
    by(number).ok_or_else(|| format!("{what}, frame {number:#x}, is not the guest's"))
}

/// Makes a virtual CPU's registers independent of the machine. `start_info` is in `rdx` of the first one.
pub fn pack(id: u32, context: &mut VcpuGuestContext, by: Translate<'_>) -> Result {
    descriptors(context, by)?;
    if id == 0 {
        context.user_regs.rdx = frame("start_info", context.user_regs.rdx, by)?;
    }
    context.ctrlreg[3] = frame("the root page table", context.ctrlreg[3] >> 12, by)? << 12;
    if context.ctrlreg[1] != 0 {
        // In a stream, bit 0 says that there is one.
        context.ctrlreg[1] =
            frame("the root page table of user mode", context.ctrlreg[1] >> 12, by)? << 12 | 1;
    }
    Ok(())
}

/// Undoes [`pack`]; the registers name frames of this machine then.
pub fn unpack(id: u32, context: &mut VcpuGuestContext, by: Translate<'_>) -> Result {
    descriptors(context, by)?;
    if id == 0 {
        context.user_regs.rdx = frame("start_info", context.user_regs.rdx, by)?;
    }
    context.ctrlreg[3] = frame("the root page table", context.ctrlreg[3] >> 12, by)? << 12;
    context.ctrlreg[1] = match context.ctrlreg[1] & 1 {
        0 => 0,
        _ => frame("the root page table of user mode", context.ctrlreg[1] >> 12, by)? << 12,
    };
    Ok(())
}

fn descriptors(context: &mut VcpuGuestContext, by: Translate<'_>) -> Result {
    let used = usize::try_from(context.gdt_ents.div_ceil(DESCRIPTORS)).unwrap_or(usize::MAX);
    let Some(frames) = context.gdt_frames.get_mut(..used) else {
        return Err(format!("a descriptor table of {} entries", context.gdt_ents));
    };
    for place in frames {
        *place = frame("a page of the descriptor table", *place, by)?;
    }
    Ok(())
}
