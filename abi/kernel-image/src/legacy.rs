//! The `__xen_guest` section: `NAME=VALUE,NAME=VALUE,...`, what kernels had before ELF notes.
//!
//! Two meanings differ from the notes: `HYPERCALL_PAGE` is a page number counted from the virtual base, and
//! `ELF_PADDR_OFFSET` defaults to the virtual base instead of 0.

use alloc::format;

use crate::notes::{Notes, pae_mode};
use crate::{ImageError, PAGE_SIZE};

/// Reads the string into notes.
///
/// # Errors
/// A number that is none, an unknown required feature, a hypercall page beyond the address space.
pub(crate) fn parse(section: &[u8]) -> Result<Notes, ImageError> {
    let end = section.iter().position(|byte| *byte == 0).unwrap_or(section.len());
    let text = core::str::from_utf8(&section[..end]).map_err(|_| ImageError::BadNote {
        name: "__xen_guest",
        reason: "not a string of ASCII characters".into(),
    })?;
    let mut notes = Notes::default();
    let mut hypercall_page = None;
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        match name {
            "LOADER" => notes.loader = Some(value.into()),
            "GUEST_OS" => notes.guest_os = Some(value.into()),
            "GUEST_VER" | "GUEST_VERSION" => notes.guest_version = Some(value.into()),
            "XEN_VER" => notes.xen_version = Some(value.into()),
            "PAE" => notes.pae_mode = Some(pae_mode("PAE", value)?),
            "BSD_SYMTAB" => notes.bsd_symtab = true,
            "VIRT_BASE" => notes.virt_base = Some(number("VIRT_BASE", value)?),
            "VIRT_ENTRY" => notes.entry = Some(number("VIRT_ENTRY", value)?),
            "ELF_PADDR_OFFSET" => notes.paddr_offset = Some(number("ELF_PADDR_OFFSET", value)?),
            "HYPERCALL_PAGE" => hypercall_page = Some(number("HYPERCALL_PAGE", value)?),
            "FEATURES" => notes.add_features(value)?,
            _ => notes.warnings.push(format!("__xen_guest: {name} is not known and was ignored")),
        }
    }
    let base = *notes.virt_base.get_or_insert(0);
    notes.paddr_offset.get_or_insert(base);
    if let Some(page) = hypercall_page {
        let address = page.checked_mul(PAGE_SIZE).and_then(|offset| offset.checked_add(base));
        notes.hypercall_page = Some(address.ok_or_else(|| ImageError::BadNote {
            name: "HYPERCALL_PAGE",
            reason: format!("page {page:#x} from {base:#x} is beyond the address space"),
        })?);
    }
    Ok(notes)
}

/// A number as C writes it: decimal, `0x` hexadecimal, or octal with a leading 0.
fn number(name: &'static str, value: &str) -> Result<u64, ImageError> {
    let parsed = if let Some(digits) = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        u64::from_str_radix(digits, 16)
    } else if value.len() > 1 && value.starts_with('0') {
        u64::from_str_radix(value, 8)
    } else {
        value.parse()
    };
    parsed.map_err(|_| ImageError::BadNote { name, reason: format!("\"{value}\" is not a number") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mach() {
        let notes = parse(
            b"GUEST_OS=GNU Mach,GUEST_VERSION=1.3,XEN_VER=xen-3.0,VIRT_BASE=0x40000000,HYPERCALL_PAGE=0x2,LOADER=generic\0junk",
        )
        .unwrap();
        assert_eq!(notes.hypercall_page, Some(0x4000_2000));
        assert_eq!(notes.paddr_offset, Some(0x4000_0000));
        assert_eq!(notes.guest_os.as_deref(), Some("GNU Mach"));
        assert_eq!(notes.entry, None);
    }

    #[test]
    fn bad_values_are_named() {
        let text = |section: &[u8]| format!("{}", parse(section).unwrap_err());
        assert_eq!(text(b"VIRT_BASE=zero"), "Xen note VIRT_BASE: \"zero\" is not a number");
        assert_eq!(
            text(b"HYPERCALL_PAGE=0xffffffffffffffff"),
            "Xen note HYPERCALL_PAGE: page 0xffffffffffffffff from 0x0 is beyond the address space"
        );
        assert_eq!(text(b"PAE=maybe"), "Xen note PAE: \"maybe\" is not yes, no or bimodal");
    }
}
