//! What identifies this build: the note that the linker computes from the image's contents (`--build-id`).
//!
//! A note is three words (length of the name, length of the contents, type), the name `GNU` with its zero, the contents.

/// Bytes before the contents.
const HEAD: usize = 16;

/// The contents of the note; empty if the linker made none.
pub fn build_id() -> &'static [u8] {
    unsafe extern "C" {
        static __build_id_start: [u8; 1];
        static __build_id_end: [u8; 1];
    }
    let (start, end) = (&raw const __build_id_start, &raw const __build_id_end);
    // SAFETY: S-09: as with the exception table, the linker put the bytes between two symbols, read-only.
    let note = unsafe { core::slice::from_raw_parts(start.cast::<u8>(), end as usize - start as usize) };
    let length = note.get(4..8).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
    note.get(HEAD..HEAD + length as usize).unwrap_or(&[])
}
