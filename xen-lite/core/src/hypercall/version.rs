//! `xen_version` (version.h): what hypervisor this is.

use abi::features::*;
use abi::version::*;

use super::coverage::{Sub, full};
use super::guest::{read_one, write_bytes, write_one};
use super::{Args, Caller};
use crate::Hypervisor;
use crate::effects::Done;
use crate::fail::{Errno, Fail};
use crate::platform::Platform;

/// Sub-operations.
pub const SUBS: &[Sub] = &[
    full(XENVER_VERSION, "XENVER_version"),
    full(XENVER_EXTRAVERSION, "XENVER_extraversion"),
    full(XENVER_COMPILE_INFO, "XENVER_compile_info"),
    full(XENVER_CAPABILITIES, "XENVER_capabilities"),
    full(XENVER_CHANGESET, "XENVER_changeset"),
    full(XENVER_PLATFORM_PARAMETERS, "XENVER_platform_parameters"),
    full(XENVER_GET_FEATURES, "XENVER_get_features"),
    full(XENVER_PAGESIZE, "XENVER_pagesize"),
    full(XENVER_GUEST_HANDLE, "XENVER_guest_handle"),
    full(XENVER_COMMANDLINE, "XENVER_commandline"),
    full(XENVER_BUILD_ID, "XENVER_build_id"),
];

/// The Xen version whose ABI this is, as `XENVER_version` encodes it.
pub const VERSION: i64 = 4 << 16 | 17;
/// The rest of the version, `XENVER_extraversion`.
pub const EXTRA: &str = concat!(".0-lite-", env!("CARGO_PKG_VERSION"));

/// Argument 0 is the sub-operation, argument 1 the buffer. Guests ask for the version alone where they want an event to be
/// noticed, so that is the short way.
#[inline(always)]
pub fn xen_version<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    if args[0] as u32 == XENVER_VERSION {
        return Ok(Done::value(VERSION));
    }
    write_answer(hv, caller, args)
}

#[inline(never)]
fn write_answer<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    args: &mut Args,
) -> Result<Done, Fail> {
    let buffer = args[1];
    match args[0] as u32 {
        XENVER_GET_FEATURES => features(hv, caller, buffer)?,
        XENVER_EXTRAVERSION => text::<16, P>(hv, buffer, EXTRA)?,
        XENVER_COMPILE_INFO => compile_info(hv, buffer)?,
        XENVER_CAPABILITIES => text::<1024, P>(hv, buffer, "xen-3.0-x86_64 ")?,
        XENVER_CHANGESET => text::<64, P>(hv, buffer, "xen-lite")?,
        XENVER_PLATFORM_PARAMETERS => write_one(hv, buffer, &super::guest::HOLE_START)?,
        XENVER_PAGESIZE if buffer != 0 => return Err(Errno::EINVAL.into()),
        XENVER_PAGESIZE => return Ok(Done::value(crate::addr::PAGE_SIZE as i64)),
        XENVER_GUEST_HANDLE => {
            let handle = *caller.domain.handle.lock();
            write_bytes(hv, buffer, &handle)?;
        }
        XENVER_COMMANDLINE => {
            let shown = if caller.domain.privileged { hv.config.command_line.as_str() } else { "<denied>" };
            text::<1024, P>(hv, buffer, shown)?;
        }
        XENVER_BUILD_ID if !caller.domain.privileged => return Err(Errno::EPERM.into()),
        XENVER_BUILD_ID => return build_id(hv, buffer),
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(Done::OK)
}

/// `struct xen_build_id`: its room in, the bytes out; the result is their number. A null pointer asks for the number only.
fn build_id<P: Platform>(hv: &Hypervisor<P>, buffer: u64) -> Result<Done, Fail> {
    let id = &hv.config.build_id;
    if id.is_empty() {
        return Err(Errno::ENODATA.into());
    }
    if buffer != 0 {
        let room: u32 = read_one(hv, buffer)?;
        if room == 0 {
            return Err(Errno::EINVAL.into());
        }
        if (room as usize) < id.len() {
            return Err(Errno::ENOBUFS.into());
        }
        let bytes = core::mem::offset_of!(BuildId, buf) as u64;
        write_bytes(hv, buffer.checked_add(bytes).ok_or(Errno::EFAULT)?, id)?;
    }
    Ok(Done::value(id.len() as i64))
}

/// Writes a text into a fixed field of `N` bytes, zero-filled and terminated.
fn text<const N: usize, P: Platform>(hv: &Hypervisor<P>, buffer: u64, text: &str) -> Result<(), Errno> {
    write_bytes(hv, buffer, &field::<N>(text))
}

fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let length = text.len().min(N - 1);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes
}

/// `struct xen_compile_info`: compiler 64, by 16, domain 32, date 32 bytes.
fn compile_info<P: Platform>(hv: &Hypervisor<P>, buffer: u64) -> Result<(), Errno> {
    let mut bytes = [0; 64 + 16 + 32 + 32];
    bytes[..64].copy_from_slice(&field::<64>("rustc"));
    bytes[64..80].copy_from_slice(&field::<16>("xen-lite"));
    write_bytes(hv, buffer, &bytes)
}

/// Features of submap 0 that every PV guest has.
pub const PV_FEATURES: u32 = 1 << XENFEAT_MMU_PT_UPDATE_PRESERVE_AD
    | 1 << XENFEAT_HIGHMEM_ASSIST
    | 1 << XENFEAT_GNTTAB_MAP_AVAIL_BITS
    | 1 << XENFEAT_MEMORY_OP_VNODE_SUPPORTED
    | 1 << XENFEAT_DIRECT_MAPPED;

fn features<P: Platform>(hv: &Hypervisor<P>, caller: &Caller<'_>, buffer: u64) -> Result<(), Errno> {
    let mut info: FeatureInfo = read_one(hv, buffer)?;
    if info.submap_idx != 0 {
        return Err(Errno::EINVAL);
    }
    info.submap = PV_FEATURES;
    if caller.domain.privileged {
        info.submap |= 1 << XENFEAT_DOM0;
    }
    if caller.domain.assists(abi::xen::VMASST_TYPE_PAE_EXTENDED_CR3) {
        info.submap |= 1 << XENFEAT_PAE_PGDIR_ABOVE_4GB;
    }
    write_one(hv, buffer, &info)
}
