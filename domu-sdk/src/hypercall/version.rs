//! `xen_version`: which hypervisor this is.

use super::{Result, op, output};
use abi::{
    version::{
        CompileInfo, FeatureInfo, PlatformParameters, XENVER_CAPABILITIES, XENVER_CHANGESET,
        XENVER_COMMANDLINE, XENVER_COMPILE_INFO, XENVER_EXTRAVERSION, XENVER_GET_FEATURES,
        XENVER_GUEST_HANDLE, XENVER_PAGESIZE, XENVER_PLATFORM_PARAMETERS, XENVER_VERSION,
    },
    xen::{DomainHandle, hypercall::XEN_VERSION},
};
use alloc::string::String;

/// Major and minor version number.
pub fn version() -> Result<(u16, u16)> {
    let packed = op(XEN_VERSION, XENVER_VERSION, 0)?;
    Ok(((packed >> 16) as u16, packed as u16))
}

/// The rest of the version, such as `.6`.
pub fn extra_version() -> Result<String> {
    text::<16>(XENVER_EXTRAVERSION)
}

/// Guest types that can run, such as `xen-3.0-x86_64`, separated by spaces.
pub fn capabilities() -> Result<String> {
    text::<1024>(XENVER_CAPABILITIES)
}

/// Where the source came from.
pub fn changeset() -> Result<String> {
    text::<64>(XENVER_CHANGESET)
}

/// The hypervisor's command line; privileged domains only.
pub fn command_line() -> Result<String> {
    text::<1024>(XENVER_COMMANDLINE)
}

/// Compiler, builder and date, as zero-terminated strings.
pub fn compile_info() -> Result<CompileInfo> {
    let mut info = CompileInfo::default();
    op(XEN_VERSION, XENVER_COMPILE_INFO, output(&mut info))?;
    Ok(info)
}

/// Start of the hypervisor's part of the address space.
pub fn platform_parameters() -> Result<PlatformParameters> {
    let mut parameters = PlatformParameters::default();
    op(XEN_VERSION, XENVER_PLATFORM_PARAMETERS, output(&mut parameters))?;
    Ok(parameters)
}

/// 32 feature bits (`XENFEAT_*`) from number `32 * map` on.
pub fn features(map: u32) -> Result<u32> {
    let mut info = FeatureInfo { submap_idx: map, submap: 0 };
    op(XEN_VERSION, XENVER_GET_FEATURES, output(&mut info))?;
    Ok(info.submap)
}

/// Bytes per page.
pub fn page_size() -> Result<u64> {
    op(XEN_VERSION, XENVER_PAGESIZE, 0)
}

/// The UUID of this domain.
pub fn guest_handle() -> Result<DomainHandle> {
    let mut handle = DomainHandle::default();
    op(XEN_VERSION, XENVER_GUEST_HANDLE, output(&mut handle))?;
    Ok(handle)
}

fn text<const N: usize>(operation: u32) -> Result<String> {
    let mut buffer = [0; N];
    op(XEN_VERSION, operation, output(&mut buffer))?;
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(N);
    Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
}
