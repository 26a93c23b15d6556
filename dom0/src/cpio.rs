//! Reader for the archive that carries guest images: cpio in the "newc" format, uncompressed.
//!
//! A member is a header of 110 ASCII bytes (magic `070701`, or `070702` with checksums, then thirteen 8-digit
//! hexadecimal fields), its name with a final NUL, and its data; name and data are each padded to four bytes. The archive ends with a
//! member called `TRAILER!!!`.

use core::fmt;

const HEADER: usize = 110;
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

/// A regular file of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Path without leading `./` or `/`.
    pub name: &'a str,
    /// Contents.
    pub data: &'a [u8],
}

/// Where and why the archive is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Byte offset of the member.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpio archive: {} at byte {}", self.what, self.offset)
    }
}

/// The regular files of an archive, in order; ends after the first damage.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    bytes: &'a [u8],
    at: usize,
    done: bool,
}

/// Iterates over an archive's regular files.
pub fn files(archive: &[u8]) -> Files<'_> {
    Files { bytes: archive, at: 0, done: archive.is_empty() }
}

struct Member<'a> {
    file: File<'a>,
    mode: u32,
    next: usize,
}

impl<'a> Files<'a> {
    fn member(&self) -> Result<Member<'a>, Damage> {
        let damage = |what| Damage { offset: self.at, what };
        let header = self.slice(self.at, HEADER).ok_or(damage("ends in a header"))?;
        if !matches!(&header[..6], b"070701" | b"070702") {
            return Err(damage("is no \"newc\" header (is it compressed, or another format?)"));
        }
        let field = |i: usize| {
            hex(&header[6 + i * 8..14 + i * 8]).ok_or(damage("has a field that is not hexadecimal"))
        };
        let (mode, size, name_len) = (field(1)?, field(6)? as usize, field(11)? as usize);
        let name = self.slice(self.at + HEADER, name_len).ok_or(damage("ends in a name"))?;
        let name = name.strip_suffix(&[0]).ok_or(damage("has a name without an end"))?;
        let name = core::str::from_utf8(name).map_err(|_| damage("has a name that is not UTF-8"))?;
        let start = pad(self.at + HEADER + name_len);
        let data = self.slice(start, size).ok_or(damage("ends in a file's data"))?;
        let name = name.trim_start_matches("./").trim_start_matches('/');
        Ok(Member { file: File { name, data }, mode, next: pad(start + size) })
    }

    fn slice(&self, start: usize, len: usize) -> Option<&'a [u8]> {
        self.bytes.get(start..start.checked_add(len)?)
    }
}

impl<'a> Iterator for Files<'a> {
    type Item = Result<File<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let member = match self.member() {
                Ok(member) => member,
                Err(damage) => {
                    self.done = true;
                    return Some(Err(damage));
                }
            };
            self.at = member.next;
            self.done = member.file.name == "TRAILER!!!";
            if !self.done && member.mode & S_IFMT == S_IFREG {
                return Some(Ok(member.file));
            }
        }
        None
    }
}

fn pad(at: usize) -> usize {
    at.next_multiple_of(4)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &d| Some(value << 4 | char::from(d).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    fn member(name: &str, mode: u32, data: &[u8]) -> Vec<u8> {
        let (size, len) = (data.len(), name.len() + 1);
        let mut out =
            format!("07070100000001{mode:08x}000000000000000000000001000000{:02x}{size:08x}", 0).into_bytes();
        out.extend_from_slice(format!("{:032x}{len:08x}{:08x}", 0, 0).as_bytes());
        assert_eq!(out.len(), HEADER);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(pad(out.len()), 0);
        out.extend_from_slice(data);
        out.resize(pad(out.len()), 0);
        out
    }

    fn archive() -> Vec<u8> {
        let trailer = member("TRAILER!!!", 0, b"");
        [member("guests", 0o040755, b""), member("./guests/a.cfg", 0o100644, b"name"), trailer].concat()
    }

    #[test]
    fn regular_files_only() {
        let bytes = archive();
        let all: Vec<_> = files(&bytes).collect();
        assert_eq!(all, [Ok(File { name: "guests/a.cfg", data: b"name" })]);
        assert_eq!(files(b"").count(), 0);
    }

    #[test]
    fn every_truncation_is_an_error_not_a_panic() {
        let bytes = archive();
        for end in 1..bytes.len() - 3 {
            assert!(files(&bytes[..end]).any(|f| f.is_err()), "cut at {end}");
        }
        assert!(matches!(files(b"\x1f\x8b08").next(), Some(Err(_))));
    }
}
