//! Packs cpio archives in the `newc` format, the one that Linux and the Rust Dom0 read.

use anyhow::{Context, Result};
use cpio::newc::{Builder, ModeFileType, trailer};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::Path;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a folder.
    ///
    /// # Errors
    /// Never in practice: the archive is in memory.
    pub fn folder(&mut self, name: &str) -> Result<()> {
        let entry = self.entry(name, 0o755, ModeFileType::Directory);
        self.put(entry, &[])
    }

    /// Adds a file; `mode` are its permission bits.
    ///
    /// # Errors
    /// If it is larger than the format can hold.
    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        let entry = self.entry(name, mode, ModeFileType::Regular);
        self.put(entry, data).with_context(|| format!("packing {name}"))
    }

    /// Adds a file with the content of the file `from`.
    ///
    /// # Errors
    /// If that cannot be read or is too large.
    pub fn file_from(&mut self, name: &str, mode: u32, from: &Path) -> Result<()> {
        let data = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.file(name, mode, &data)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// Never in practice.
    pub fn link(&mut self, name: &str, to: &str) -> Result<()> {
        let entry = self.entry(name, 0o777, ModeFileType::Symlink);
        self.put(entry, to.as_bytes())
    }

    /// Adds a character device.
    ///
    /// # Errors
    /// Never in practice.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        let entry = self.entry(name, 0o600, ModeFileType::Char).rdev_major(major).rdev_minor(minor);
        self.put(entry, &[])
    }

    /// Ends the archive and returns its bytes.
    ///
    /// # Errors
    /// Never in practice.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(trailer(self.bytes)?)
    }

    fn entry(&mut self, name: &str, mode: u32, kind: ModeFileType) -> Builder {
        self.entries += 1;
        // Numbers and times are fixed, so that equal content gives an equal archive.
        Builder::new(name).ino(self.entries).mode(mode).set_mode_file_type(kind)
    }

    fn put(&mut self, entry: Builder, data: &[u8]) -> Result<()> {
        let mut writer =
            entry.write(&mut self.bytes, u32::try_from(data.len()).context("the file is over 4 GiB")?);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    }
}

/// Compresses with gzip.
///
/// # Errors
/// Never in practice: the output is in memory.
pub fn gzip(data: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;
    use std::io::Read;

    #[test]
    fn what_is_packed_can_be_read() {
        let mut archive = Archive::default();
        archive.folder("dev").unwrap();
        archive.character_device("dev/console", 5, 1).unwrap();
        archive.file("init", 0o755, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!((reader.entry().name(), reader.entry().mode()), ("dev", 0o040_755));
        let reader = Reader::new(reader.finish().unwrap()).unwrap();
        assert_eq!((reader.entry().mode(), reader.entry().rdev_major()), (0o020_600, 5));
        let mut reader = Reader::new(reader.finish().unwrap()).unwrap();
        let mut data = String::new();
        reader.read_to_string(&mut data).unwrap();
        assert_eq!(data, "hello");
    }
}
