//! Dom0's files: the archive that came as its initial RAM disk.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::config::{self, Guest, Remark};
use crate::cpio::{self, File};

/// All regular files, by path.
#[derive(Debug, Default)]
pub struct Files<'a> {
    files: Vec<File<'a>>,
}

impl<'a> Files<'a> {
    /// Reads an archive. A damaged one yields the files before the damage and the message.
    pub fn read(archive: &'a [u8]) -> (Self, Option<String>) {
        let mut files = Vec::new();
        for file in cpio::files(archive) {
            match file {
                Ok(file) => files.push(file),
                Err(damage) => return (Self { files }, Some(damage.to_string())),
            }
        }
        (Self { files }, None)
    }

    /// A file by path; a leading slash does not count.
    pub fn get(&self, path: &str) -> Option<File<'a>> {
        let path = path.trim_start_matches('/');
        self.files.iter().copied().find(|f| f.name == path)
    }

    /// A file as UTF-8 text.
    pub fn text(&self, path: &str) -> Option<&'a str> {
        core::str::from_utf8(self.get(path)?.data).ok()
    }

    /// Names that `create` takes: the configuration files without folder and ending.
    pub fn guests(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.files.iter().filter_map(|f| Some(stem(f.name)?.to_string())).collect();
        names.sort();
        names
    }

    /// Reads the configuration of a guest by its short name or path.
    pub fn guest(&self, name: &str) -> Result<(Guest, Vec<String>), String> {
        let wanted = stem(name).unwrap_or(name);
        let by_path = self.get(name).filter(|f| stem(f.name).is_some());
        let file = by_path.or_else(|| self.files.iter().copied().find(|f| stem(f.name) == Some(wanted)));
        let file = file.ok_or_else(|| match self.guests() {
            all if all.is_empty() => "there are no guests: Dom0's archive has no .cfg file".to_string(),
            all => format!("no guest called {name}; there are: {}", all.join(", ")),
        })?;
        let at = |remark: Remark| format!("{}: {remark}", file.name);
        let text = core::str::from_utf8(file.data).map_err(|_| format!("{}: not UTF-8 text", file.name))?;
        let (mut guest, remarks) = config::parse(text, wanted).map_err(at)?;
        let folder = file.name.rsplit_once('/').map_or("", |(folder, _)| folder);
        guest.kernel =
            self.resolve(folder, &guest.kernel).ok_or_else(|| self.missing(file.name, &guest.kernel))?;
        if let Some(ramdisk) = &guest.ramdisk {
            guest.ramdisk =
                Some(self.resolve(folder, ramdisk).ok_or_else(|| self.missing(file.name, ramdisk))?);
        }
        for disk in &mut guest.disks {
            if let Some(path) = disk.target.file_mut() {
                *path = self.resolve(folder, path).ok_or_else(|| self.missing(file.name, path))?;
            }
        }
        Ok((guest, remarks.into_iter().map(at).collect()))
    }

    /// A path as written, else beside the configuration file, else by the last component alone.
    fn resolve(&self, folder: &str, path: &str) -> Option<String> {
        let beside = format!("{folder}/{path}");
        let leaf = path.rsplit('/').next().unwrap_or(path);
        let leaf_beside = if folder.is_empty() { leaf.to_string() } else { format!("{folder}/{leaf}") };
        [path, &beside, &leaf_beside].into_iter().find_map(|p| self.get(p)).map(|f| f.name.to_string())
    }

    /// The full path of a file that is named as in a configuration.
    pub fn find(&self, path: &str) -> Option<String> {
        self.resolve("guests", path)
    }

    fn missing(&self, config: &str, path: &str) -> String {
        let others: Vec<&str> = self.files.iter().map(|f| f.name).filter(|n| stem(n).is_none()).collect();
        format!("{config}: Dom0's archive has no file {path}; it has: {}", others.join(", "))
    }
}

fn stem(path: &str) -> Option<&str> {
    path.rsplit('/').next().unwrap_or(path).strip_suffix(".cfg")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(list: &[(&'a str, &'a str)]) -> Files<'a> {
        Files { files: list.iter().map(|(name, text)| File { name, data: text.as_bytes() }).collect() }
    }

    #[test]
    fn guests_by_name_and_path() {
        let files = files(&[
            ("guests/hello.cfg", "kernel='hello.elf'\nramdisk = '/boot/rd'\nodd=1"),
            ("guests/hello.elf", ""),
            ("boot/rd", ""),
            ("grub.cfg", "kernel='/usr/lib/none.bin'"),
        ]);
        assert_eq!(files.guests(), ["grub", "hello"]);
        for name in ["hello", "guests/hello.cfg", "/guests/hello.cfg", "hello.cfg"] {
            let (guest, remarks) = files.guest(name).unwrap();
            assert_eq!((guest.name.as_str(), guest.kernel.as_str()), ("hello", "guests/hello.elf"));
            assert_eq!(guest.ramdisk.as_deref(), Some("boot/rd"));
            assert_eq!(remarks, ["guests/hello.cfg: line 3, column 1: unknown key odd, ignored"]);
        }
        assert!(
            files.guest("grub").unwrap_err().contains("no file /usr/lib/none.bin; it has: guests/hello.elf")
        );
        assert_eq!(files.guest("x").unwrap_err(), "no guest called x; there are: grub, hello");
    }
}
