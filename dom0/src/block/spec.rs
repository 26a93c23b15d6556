//! What a configuration says about a disk, in the syntax of `xl` (`xl-disk-configuration`).
//!
//! A disk is a text of parts between commas. Parts without `=` are positional: target, format, vdev, access. Others name what they set. A
//! target with one of the old prefixes (`phy:`, `file:`, …) tells its format, so the next position is vdev, as in `xl`.
//!
//! | understood | as |
//! |---|---|
//! | `ram:SIZE` | memory of Dom0, zero at first, gone with the domain; SIZE in bytes or with `K`, `M`, `G` |
//! | `ram:SIZE:NAME` | the same, but kept until Dom0 ends, for whoever names it next |
//! | `file:PATH` | a file of Dom0's archive; what is written goes to memory (an overlay) and is gone with the domain |
//! | `phy:NAME`, `phy:/dev/NAME`, `virtio:NAME` | a disk of the machine |
//! | `overlay:TARGET` | TARGET, never written: what is written goes to memory |
//! | `raw:PATH`, `qcow2:PATH` | as `file:`, with the format |
//! | a target that begins with `/dev/` | as `phy:` |
//! | another target | as `file:` |
//! | format `raw`, `qcow2` | `qcow2` is read, and written through an overlay |
//! | vdev `xvda`, `xvdb3`, `sda`, `hda`, `d0`, `d0p1` | the virtual device's number |
//! | access `r`, `ro`, `w`, `rw` | |
//! | `discard`, `no-discard` | whether the guest may discard |
//! | `backend=NAME` | the guest NAME serves the disk, and what the target says is its business; `0` and `Domain-0` are Dom0 |
//! | `devtype=disk`, `backendtype=…`, `direct-io-safe` | taken, no effect |
//!
//! Everything else is an error with its place: `cdrom`, `script=`, formats `qcow` and `vhd`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};

/// Offset in the text, and what is wrong there.
pub type Wrong = (usize, String);

/// A disk as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where the bytes are.
    pub target: Target,
    /// How they are laid out.
    pub format: Format,
    /// The name the guest knows it by.
    pub vdev: Vdev,
    /// Whether the guest may write.
    pub writable: bool,
    /// Whether the guest may discard.
    pub discard: bool,
    /// The guest that serves it, if it is not Dom0.
    pub backend: Option<String>,
}

/// Where a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Dom0's memory.
    Ram {
        /// Its size, a multiple of 512.
        bytes: u64,
        /// Under this name it outlives the domain.
        name: Option<String>,
    },
    /// A file of Dom0's archive.
    File(String),
    /// A disk of the machine, without `/dev/`.
    Machine(String),
    /// Another target that is only read.
    Overlay(Box<Target>),
    /// What another domain understands.
    Foreign(String),
}

/// How an image is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// A virtual device: a name, and the number that the block protocol has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdev {
    /// Such as `xvda`.
    pub name: String,
    /// Such as 51712.
    pub number: u32,
}

impl Vdev {
    /// Reads a name such as `xvda`. `None` if it is none.
    pub fn parse(name: &str) -> Option<Self> {
        vdev(name, 0).ok()
    }
}

impl Target {
    /// The path, if it is a file of the archive.
    pub fn file_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::File(path) => Some(path),
            Self::Overlay(below) => below.file_mut(),
            Self::Ram { .. } | Self::Machine(_) | Self::Foreign(_) => None,
        }
    }
}

impl core::fmt::Display for Target {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Ram { bytes, name: None } => write!(f, "ram:{bytes}"),
            Self::Ram { bytes, name: Some(name) } => write!(f, "ram:{bytes}:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Machine(name) => write!(f, "phy:/dev/{name}"),
            Self::Overlay(below) => write!(f, "overlay:{below}"),
            Self::Foreign(text) => f.write_str(text),
        }
    }
}

impl Disk {
    /// Reads one disk.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut draft = Draft::default();
        let mut at = 0;
        for part in text.split(',') {
            let lead = part.len() - part.trim_start().len();
            let trimmed = part.trim();
            if let Some(target) = trimmed.strip_prefix("target=") {
                // The target is the rest of the text, commas and all.
                let start = at + lead + "target=".len();
                let _ = target;
                draft.set_target(text[start..].trim(), start)?;
                break;
            }
            draft.part(trimmed, at + lead)?;
            at += part.len() + 1;
        }
        draft.finish(text)
    }
}

#[derive(Default)]
struct Draft {
    /// Its place, and the text.
    target: Option<(usize, String)>,
    format: Option<Format>,
    /// The position of the format is passed, or there is none.
    format_passed: bool,
    vdev: Option<Vdev>,
    writable: Option<bool>,
    no_discard: bool,
    backend: Option<String>,
}

impl Draft {
    fn part(&mut self, part: &str, at: usize) -> Result<(), Wrong> {
        match part.split_once('=') {
            Some((key, value)) if !key.contains([':', '/']) => self.named(key, value, at, at + key.len() + 1),
            _ if self.flag(part, at)? => Ok(()),
            _ => self.positional(part, at),
        }
    }

    fn named(&mut self, key: &str, value: &str, at: usize, at_value: usize) -> Result<(), Wrong> {
        match key {
            "format" => self.format = Some(format_of(value, at_value)?),
            "vdev" => self.vdev = Some(vdev(value, at_value)?),
            "access" => self.writable = Some(access(value, at_value)?),
            "devtype" if value == "disk" => {}
            "devtype" => return Err((at_value, format!("devtype {value:?} is not supported; only disk is"))),
            "backend" if value == "0" || value == "Domain-0" => {}
            "backend" if value.is_empty() => return Err((at_value, "no name of a domain".to_string())),
            "backend" => self.backend = Some(value.to_string()),
            "backendtype" if ["phy", "qdisk", "tap", "standalone"].contains(&value) => {}
            "backendtype" => {
                return Err((at_value, format!("{value:?} is no backendtype; use phy, tap or qdisk")));
            }
            "script" => return Err((at, "script= is not supported: Dom0 runs no scripts".to_string())),
            _ => return Err((at, format!("unknown disk option {key}"))),
        }
        Ok(())
    }

    /// Words that are never positional.
    fn flag(&mut self, part: &str, at: usize) -> Result<bool, Wrong> {
        match part {
            "discard" => self.no_discard = false,
            "no-discard" => self.no_discard = true,
            "direct-io-safe" => {}
            "cdrom" => return Err((at, "cdrom is not supported; only disks are".to_string())),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn positional(&mut self, part: &str, at: usize) -> Result<(), Wrong> {
        if self.target.is_none() {
            return self.set_target(part, at);
        }
        if !self.format_passed && self.vdev.is_none() {
            self.format_passed = true;
            if !part.is_empty() {
                self.format = Some(format_of(part, at)?);
            }
        } else if self.vdev.is_none() {
            self.vdev = Some(vdev(part, at)?);
        } else if self.writable.is_none() {
            if !part.is_empty() {
                self.writable = Some(access(part, at)?);
            }
        } else {
            return Err((at, format!("unknown disk option {part:?}")));
        }
        Ok(())
    }

    fn set_target(&mut self, text: &str, at: usize) -> Result<(), Wrong> {
        // Who serves the disk may be said later; until then, Dom0.
        if self.backend.is_none() {
            target(text, at)?;
        }
        self.format_passed |= text.contains(':');
        self.target = Some((at, text.to_string()));
        Ok(())
    }

    fn finish(self, text: &str) -> Result<Disk, Wrong> {
        let end = text.len();
        let (at, said) = self.target.ok_or((end, "no target; begin with one like ram:64M".to_string()))?;
        let (target, format) = match &self.backend {
            Some(_) => (Target::Foreign(said), None),
            None => target(&said, at)?,
        };
        let vdev = self.vdev.ok_or((end, "no virtual device; add one like xvda".to_string()))?;
        Ok(Disk {
            target,
            format: format.or(self.format).unwrap_or(Format::Raw),
            vdev,
            writable: self.writable.unwrap_or(true),
            discard: !self.no_discard,
            backend: self.backend,
        })
    }
}

fn target(text: &str, at: usize) -> Result<(Target, Option<Format>), Wrong> {
    let named = |name: &str, skipped: usize| match name.strip_prefix("/dev/").unwrap_or(name) {
        "" => Err((at + skipped, "no name of a disk".to_string())),
        name => Ok((Target::Machine(name.to_string()), None)),
    };
    let file = |path: &str, format| match path {
        "" => Err((at, "no name of a file".to_string())),
        _ => Ok((Target::File(path.to_string()), format)),
    };
    match text.split_once(':') {
        Some(("ram", rest)) => ram(rest, at + 4).map(|target| (target, None)),
        Some(("phy", name)) => named(name, 4),
        Some(("virtio", name)) => named(name, 7),
        Some(("overlay", below)) => {
            let (below, format) = target(below, at + 8)?;
            Ok((Target::Overlay(Box::new(below)), format))
        }
        Some(("file", path)) => file(path, None),
        Some(("raw", path)) => file(path, Some(Format::Raw)),
        Some(("qcow2", path)) => file(path, Some(Format::Qcow2)),
        Some((prefix, _)) => Err((
            at,
            format!("{prefix}: is no kind of disk here; use ram:, phy:, file:, raw:, qcow2: or overlay:"),
        )),
        None if text.starts_with("/dev/") => named(text, 0),
        None => file(text, None),
    }
}

/// `SIZE` or `SIZE:NAME`.
fn ram(text: &str, at: usize) -> Result<Target, Wrong> {
    let (size, name) = match text.split_once(':') {
        Some((size, name)) => (size, Some(name)),
        None => (text, None),
    };
    if name == Some("") {
        return Err((at + size.len() + 1, "no name after the size".to_string()));
    }
    let digits = size.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']);
    let shift = match &size[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return Err((at, format!("{size:?} is no size; use one like 64M"))),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes > 0 && bytes.is_multiple_of(512) => {
            Ok(Target::Ram { bytes, name: name.map(String::from) })
        }
        Some(_) => Err((at, format!("{size:?} is no multiple of 512 bytes"))),
        None => Err((at, format!("{size:?} is no size; use one like 64M"))),
    }
}

fn format_of(text: &str, at: usize) -> Result<Format, Wrong> {
    match text {
        "raw" => Ok(Format::Raw),
        "qcow2" => Ok(Format::Qcow2),
        _ => Err((at, format!("format {text:?} is not supported; use raw or qcow2"))),
    }
}

fn access(text: &str, at: usize) -> Result<bool, Wrong> {
    match text {
        "r" | "ro" => Ok(false),
        "w" | "rw" => Ok(true),
        _ => Err((at, format!("{text:?} is no access; use r, ro, w or rw"))),
    }
}

/// Numbers as in the header `io/blkif.h` and `xen-vbd-interface`: major and minor for the old names, bit 28 for disks beyond.
fn vdev(text: &str, at: usize) -> Result<Vdev, Wrong> {
    let wrong = || (at, format!("{text:?} is no virtual device; use one like xvda or xvdb1"));
    let bare = text.strip_prefix("/dev/").unwrap_or(text);
    let (disk, part) = split_name(bare).ok_or_else(wrong)?;
    let number = match bare.get(..2) {
        Some("sd") if disk < 16 && part < 16 => 8 << 8 | disk << 4 | part,
        Some("hd") if disk < 2 && part < 64 => 3 << 8 | disk << 6 | part,
        Some("hd") if disk < 4 && part < 64 => 22 << 8 | (disk & 1) << 6 | part,
        Some("sd" | "hd") => return Err(wrong()),
        _ if disk < 16 && part < 16 => 202 << 8 | disk << 4 | part,
        _ if disk < 1 << 20 && part < 256 => 1 << 28 | disk << 8 | part,
        _ => return Err(wrong()),
    };
    Ok(Vdev { name: bare.to_string(), number })
}

/// Disk and partition, both from 0 (partition 0 is the whole disk).
fn split_name(name: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text {
        "" => Some(0),
        _ => text.parse().ok(),
    };
    if let Some(rest) = name.strip_prefix('d').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        let (disk, part) = rest.split_once('p').unwrap_or((rest, ""));
        return Some((disk.parse().ok()?, number(part)?));
    }
    let rest = ["xvd", "sd", "hd"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.is_empty() || letters.len() > 4 || !letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    let disk = letters.bytes().fold(0, |n, letter| n * 26 + u32::from(letter - b'a') + 1) - 1;
    Some((disk, number(&rest[letters.len()..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(bytes: u64) -> Target {
        Target::Ram { bytes, name: None }
    }

    fn disk(text: &str) -> Disk {
        Disk::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    #[test]
    fn positions_and_names() {
        let a = disk("ram:64M,xvda,w");
        assert_eq!((a.target, a.vdev.number, a.writable), (ram(64 << 20), 51712, true));
        let b = disk("/dev/vda, raw, hda, r");
        assert_eq!((b.target, b.vdev.number, b.writable), (Target::Machine("vda".into()), 768, false));
        let c = disk("images/a.qcow2,qcow2,xvdb");
        assert_eq!((c.target, c.format), (Target::File("images/a.qcow2".into()), Format::Qcow2));
        assert_eq!(c.vdev.number, 51728);
        let d = disk("format=raw,vdev=sdb2,access=ro,no-discard,target=overlay:phy:a,b");
        assert_eq!(d.target, Target::Overlay(Box::new(Target::Machine("a,b".into()))));
        assert_eq!((d.vdev.number, d.writable, d.discard), (8 << 8 | 1 << 4 | 2, false, false));
        let e = disk("a.img,,xvda");
        assert_eq!((e.target, e.format, e.writable), (Target::File("a.img".into()), Format::Raw, true));
        let f = disk("ram:1K:keys,xvdq");
        assert_eq!(f.target, Target::Ram { bytes: 1024, name: Some("keys".into()) });
        assert_eq!(f.vdev.number, 1 << 28 | 16 << 8);
        assert_eq!(disk("ram:512,d1p3").vdev.number, 202 << 8 | 1 << 4 | 3);
        assert_eq!(disk("ram:512,xvdaa").vdev.number, 1 << 28 | 26 << 8);
    }

    #[test]
    fn another_domain_may_serve() {
        let disk = disk("backend=storage,vdev=xvda,access=r,target=what it likes, all of it");
        assert_eq!(disk.backend.as_deref(), Some("storage"));
        assert_eq!((disk.target.to_string(), disk.writable), ("what it likes, all of it".into(), false));
        assert_eq!(super::Disk::parse("ram:1M,xvda,w,backend=Domain-0").unwrap().backend, None);
        assert_eq!(super::Disk::parse("ram:1M,xvda,w,backend=").unwrap_err().0, 22);
    }

    #[test]
    fn errors_name_the_place() {
        let wrong = |text| Disk::parse(text).unwrap_err();
        assert_eq!(
            wrong("ram:64M,xvdA"),
            (8, "\"xvdA\" is no virtual device; use one like xvda or xvdb1".into())
        );
        assert_eq!(wrong("ram:x,xvda").0, 4);
        assert_eq!(wrong("ram:100,xvda").1, "\"100\" is no multiple of 512 bytes");
        assert_eq!(wrong("ram:1M, xvda, x").0, 14);
        assert_eq!(wrong("ram:1M,xvda,w,what").0, 14);
        assert_eq!(wrong("ram:1M,xvda,w,cdrom").0, 14);
        assert_eq!(wrong("nbd:1M,xvda").0, 0);
        assert_eq!(wrong("ram:1M,xvda,colour=red"), (12, "unknown disk option colour".into()));
        assert_eq!(wrong("a.img,vhd,xvda").0, 6);
        assert_eq!(wrong("ram:1M").1, "no virtual device; add one like xvda");
        assert_eq!(wrong("").1, "no name of a file");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(ram:|phy:|xvda|,|=|target|[a-z0-9:/ \u{e9}]){0,12}") {
            let _ = Disk::parse(&text);
        }
    }
}
