//! The corpora: small files in `fuzz/corpus/TARGET`, which `cargo test` replays.

use std::path::PathBuf;

use crate::Target;

/// The folder of a target's corpus.
pub fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// A target's inputs, by file name.
///
/// # Errors
/// If a file cannot be read; a folder that is missing is an empty corpus.
pub fn read(target: &Target) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return Ok(all) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.push((name, std::fs::read(&path)?));
    }
    all.sort();
    Ok(all)
}
