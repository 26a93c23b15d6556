//! Xen ELF notes (`xen/elfnote.h`), gathered into one typed value.
//!
//! A note is three words (size of the name, size of the value, type), the name, the value, each padded to four
//! bytes. Only notes named "Xen" count. They stand in `PT_NOTE` segments; if no such segment has one, `SHT_NOTE`
//! sections are searched, as for kernels whose linker script made no segment. Numbers have 4 or 8 bytes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ImageError;
use crate::features;

/// How to recognise an L1 entry that is not present and yet holds a frame number: `entry & mask == value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MfnValid {
    /// Bits to look at.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

/// What a kernel says about PAE; of no consequence for a 64-bit kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaeMode {
    /// "no".
    No,
    /// "yes".
    Yes,
    /// "yes\[extended-cr3\]".
    ExtendedCr3,
    /// "bimodal" or "yes,bimodal".
    Bimodal,
}

/// Everything that a kernel says about itself. `None`: it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Virtual address of the entry point (`ENTRY`).
    pub entry: Option<u64>,
    /// Virtual address of the hypercall page (`HYPERCALL_PAGE`).
    pub hypercall_page: Option<u64>,
    /// Virtual address of pseudo-physical address 0 (`VIRT_BASE`).
    pub virt_base: Option<u64>,
    /// What to subtract from `p_paddr` (`PADDR_OFFSET`).
    pub paddr_offset: Option<u64>,
    /// "xen-3.0" (`XEN_VERSION`).
    pub xen_version: Option<String>,
    /// Name of the operating system (`GUEST_OS`).
    pub guest_os: Option<String>,
    /// Its version (`GUEST_VERSION`).
    pub guest_version: Option<String>,
    /// "generic" (`LOADER`).
    pub loader: Option<String>,
    /// `PAE_MODE`.
    pub pae_mode: Option<PaeMode>,
    /// Features that the kernel can use, a mask of `xen/features.h` (`FEATURES`, `SUPPORTED_FEATURES`).
    pub features_supported: u32,
    /// Features without which it does not run (`FEATURES`).
    pub features_required: u32,
    /// Whether the note `SUPPORTED_FEATURES` is there: then it must name `dom0` for a first domain.
    pub has_supported_note: bool,
    /// The kernel wants its symbol table behind its image (`BSD_SYMTAB`).
    pub bsd_symtab: bool,
    /// Lowest address at which the hypervisor's hole may begin (`HV_START_LOW`).
    pub hv_start_low: Option<u64>,
    /// `L1_MFN_VALID`.
    pub l1_mfn_valid: Vec<MfnValid>,
    /// The kernel can cancel a suspend (`SUSPEND_CANCEL`).
    pub suspend_cancel: bool,
    /// Virtual address for the phys-to-machine list (`INIT_P2M`).
    pub init_p2m: Option<u64>,
    /// The initrd need not be mapped (`MOD_START_PFN`).
    pub mod_start_pfn: bool,
    /// Physical entry point for PVH (`PHYS32_ENTRY`).
    pub phys32_entry: Option<u32>,
    /// Lines for the boot log: what was met and is not honoured.
    pub warnings: Vec<String>,
}

/// Splits `data` into notes named "Xen" and feeds them to `out`; returns how many there were.
///
/// A malformed note ends the walk with a warning, as what follows has no known place.
pub(crate) fn collect(data: &[u8], out: &mut Notes) -> Result<usize, ImageError> {
    let (mut at, mut found) = (0usize, 0);
    let word = |at: usize| {
        data.get(at..at.checked_add(4)?).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    };
    while at + 12 <= data.len() {
        let (Some(name_len), Some(value_len), Some(kind)) = (word(at), word(at + 4), word(at + 8)) else {
            break;
        };
        let name_at = at + 12;
        let parts = (|| {
            let value_at = name_at.checked_add(name_len.checked_next_multiple_of(4)?)?;
            let value_end = value_at.checked_add(value_len)?;
            let name = data.get(name_at..name_at.checked_add(name_len)?)?;
            Some((name, data.get(value_at..value_end)?, value_end))
        })();
        let Some((name, value, end)) = parts else {
            out.warnings
                .push(format!("a note at byte {at:#x} of its segment exceeds it ({:#x} bytes)", data.len()));
            break;
        };
        if name == b"Xen\0" || name == b"Xen" {
            out.add(kind as u32, value)?;
            found += 1;
        }
        at = end.next_multiple_of(4);
    }
    Ok(found)
}

fn number(name: &'static str, value: &[u8]) -> Result<u64, ImageError> {
    match *value {
        [a, b, c, d] => Ok(u64::from(u32::from_le_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(ImageError::BadNote {
            name,
            reason: format!("a number of {} bytes, 4 or 8 are allowed", value.len()),
        }),
    }
}

fn text(name: &'static str, value: &[u8]) -> Result<String, ImageError> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    match core::str::from_utf8(&value[..end]) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(ImageError::BadNote { name, reason: "not a string of ASCII characters".into() }),
    }
}

/// Reads the spellings of `PAE_MODE` and of the older `PAE`.
pub(crate) fn pae_mode(name: &'static str, value: &str) -> Result<PaeMode, ImageError> {
    match value {
        "no" => Ok(PaeMode::No),
        "yes" => Ok(PaeMode::Yes),
        "yes[extended-cr3]" => Ok(PaeMode::ExtendedCr3),
        "bimodal" | "yes,bimodal" => Ok(PaeMode::Bimodal),
        _ => Err(ImageError::BadNote { name, reason: format!("\"{value}\" is not yes, no or bimodal") }),
    }
}

impl Notes {
    fn add(&mut self, kind: u32, value: &[u8]) -> Result<(), ImageError> {
        match kind {
            0 => {}
            1 => self.entry = Some(number("ENTRY", value)?),
            2 => self.hypercall_page = Some(number("HYPERCALL_PAGE", value)?),
            3 => self.virt_base = Some(number("VIRT_BASE", value)?),
            4 => self.paddr_offset = Some(number("PADDR_OFFSET", value)?),
            5 => self.xen_version = Some(text("XEN_VERSION", value)?),
            6 => self.guest_os = Some(text("GUEST_OS", value)?),
            7 => self.guest_version = Some(text("GUEST_VERSION", value)?),
            8 => self.loader = Some(text("LOADER", value)?),
            9 => self.pae_mode = Some(pae_mode("PAE_MODE", &text("PAE_MODE", value)?)?),
            10 => self.add_features(&text("FEATURES", value)?)?,
            11 => self.bsd_symtab = text("BSD_SYMTAB", value)? == "yes",
            12 => self.hv_start_low = Some(number("HV_START_LOW", value)?),
            13 => self.l1_mfn_valid = mfn_valid(value)?,
            14 => self.suspend_cancel = number("SUSPEND_CANCEL", value)? != 0,
            15 => self.init_p2m = Some(number("INIT_P2M", value)?),
            16 => self.mod_start_pfn = number("MOD_START_PFN", value)? != 0,
            17 => {
                self.features_supported |= number("SUPPORTED_FEATURES", value)? as u32;
                self.has_supported_note = true;
            }
            18 => {
                let entry = number("PHYS32_ENTRY", value)?;
                self.phys32_entry = Some(u32::try_from(entry).map_err(|_| ImageError::BadNote {
                    name: "PHYS32_ENTRY",
                    reason: format!("{entry:#x} is above 4 GiB"),
                })?);
            }
            _ => self.warnings.push(format!("Xen note of unknown type {kind} ignored")),
        }
        Ok(())
    }

    /// Adds a feature string.
    pub(crate) fn add_features(&mut self, list: &str) -> Result<(), ImageError> {
        let (supported, required) = features::parse(list)?;
        self.features_supported |= supported;
        self.features_required |= required;
        Ok(())
    }

    /// Whether anything here speaks of starting as a PV kernel.
    pub(crate) fn speaks_of_pv(&self) -> bool {
        self.entry.is_some()
            || self.virt_base.is_some()
            || self.hypercall_page.is_some()
            || self.paddr_offset.is_some()
            || self.xen_version.is_some()
    }
}

fn mfn_valid(value: &[u8]) -> Result<Vec<MfnValid>, ImageError> {
    let pairs = value.chunks_exact(16);
    if value.is_empty() || !pairs.remainder().is_empty() {
        return Err(ImageError::BadNote {
            name: "L1_MFN_VALID",
            reason: format!("{} bytes are not pairs of two 8-byte numbers", value.len()),
        });
    }
    let word = |b: &[u8]| b.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    Ok(pairs.map(|pair| MfnValid { mask: word(&pair[..8]), value: word(&pair[8..]) }).collect())
}
