//! Feature bits that a kernel names in its notes (`xen/features.h`, sub-map 0).
//!
//! A feature string is a list of names separated by `|`; a name with `!` in front is required.

use alloc::format;
use alloc::string::String;

use crate::ImageError;

/// Names of `xen/features.h`, without the prefix `XENFEAT_`, and their bit numbers.
pub const NAMES: [(&str, u32); 17] = [
    ("writable_page_tables", 0),
    ("writable_descriptor_tables", 1),
    ("auto_translated_physmap", 2),
    ("supervisor_mode_kernel", 3),
    ("pae_pgdir_above_4gb", 4),
    ("mmu_pt_update_preserve_ad", 5),
    ("highmem_assist", 6),
    ("gnttab_map_avail_bits", 7),
    ("hvm_callback_vector", 8),
    ("hvm_safe_pvclock", 9),
    ("hvm_pirqs", 10),
    ("dom0", 11),
    ("memory_op_vnode_supported", 13),
    ("ARM_SMCCC_supported", 14),
    ("linux_rsdp_unrestricted", 15),
    ("not_direct_mapped", 16),
    ("direct_mapped", 17),
];

/// Mask of `XENFEAT_dom0`.
pub const DOM0: u32 = 1 << 11;

/// The name of feature `bit`, if the public header has one.
#[must_use]
pub fn name(bit: u32) -> Option<&'static str> {
    NAMES.iter().find(|(_, number)| *number == bit).map(|(name, _)| *name)
}

/// The names of all bits in `mask`, separated by spaces; unnamed bits as `bitN`.
#[must_use]
pub fn names_of(mask: u32) -> String {
    let mut out = String::new();
    for bit in (0..32).filter(|bit| mask >> bit & 1 != 0) {
        if !out.is_empty() {
            out.push(' ');
        }
        match name(bit) {
            Some(name) => out.push_str(name),
            None => out.push_str(&format!("bit{bit}")),
        }
    }
    out
}

/// What a feature string says: (supported, required). A required feature is also supported.
///
/// # Errors
/// A required name that is in no known header; unknown names that are only supported are ignored.
pub fn parse(list: &str) -> Result<(u32, u32), ImageError> {
    let (mut supported, mut required) = (0, 0);
    for word in list.split('|').map(str::trim).filter(|word| !word.is_empty()) {
        let (name, is_required) = word.strip_prefix('!').map_or((word, false), |name| (name, true));
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, bit)) => {
                supported |= 1 << bit;
                required |= u32::from(is_required) << bit;
            }
            None if is_required => return Err(ImageError::MissingFeatures { names: name.into() }),
            None => {}
        }
    }
    Ok((supported, required))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_required_and_supported() {
        let (supported, required) =
            parse("!writable_page_tables|pae_pgdir_above_4gb|from_the_future").unwrap();
        assert_eq!((supported, required), (0x11, 1));
        assert_eq!(names_of(supported), "writable_page_tables pae_pgdir_above_4gb");
        assert_eq!(names_of(1 << 12), "bit12");
        assert_eq!(
            alloc::format!("{}", parse("!from_the_future").unwrap_err()),
            "the kernel requires features not offered: from_the_future"
        );
    }
}
