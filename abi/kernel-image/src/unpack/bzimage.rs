//! The Linux bzImage container: only the fields that lead to the payload.
//!
//! A bzImage is a real-mode part of `setup_sects + 1` sectors with a header at 0x1f1, then the protected-mode part.
//! Since boot protocol 2.08 the header tells offset and length of the compressed kernel within the latter. See
//! "The Linux/x86 Boot Protocol".

use crate::ImageError;

const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const SETUP_SECTS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const HEADER_END: usize = 0x250;

fn word(file: &[u8], at: usize) -> u64 {
    file.get(at..at + 4).map_or(0, |b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
}

/// Whether `file` has the marks of a bzImage.
pub(super) fn is_bzimage(file: &[u8]) -> bool {
    file.get(BOOT_FLAG..BOOT_FLAG + 2) == Some(&[0x55, 0xaa]) && file.get(MAGIC..MAGIC + 4) == Some(b"HdrS")
}

/// The payload and its offset in the file.
///
/// # Errors
/// The protocol is older than 2.08, or the payload does not lie within the file.
pub(super) fn payload(file: &[u8]) -> Result<(&[u8], u64), ImageError> {
    ImageError::check_range("bzImage header", 0, HEADER_END as u64, file.len())?;
    let version = (word(file, VERSION) & 0xffff) as u16;
    if version < 0x208 {
        return Err(ImageError::OldBootProtocol { version });
    }
    let setup_sectors = match word(file, SETUP_SECTS) & 0xff {
        0 => 4,
        n => n,
    };
    let start = (setup_sectors + 1) * 512 + word(file, PAYLOAD_OFFSET);
    let len = word(file, PAYLOAD_LENGTH);
    ImageError::check_range("bzImage payload", start, len, file.len())?;
    Ok((&file[start as usize..(start + len) as usize], start))
}
