//! The table of contents of a tar archive (the format `ustar` of POSIX): a header of 512 bytes before each file.

use alloc::string::{String, ToString};

/// Bytes of a header, and what files are filled up to.
pub const BLOCK: usize = 512;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its path, without `./` before it.
    pub path: String,
    /// Its bytes.
    pub len: u64,
    /// Whether it is a file, and not a folder or something else.
    pub is_file: bool,
}

impl Header {
    /// Blocks between this header and the next one.
    pub fn blocks(&self) -> u64 {
        self.len.div_ceil(BLOCK as u64)
    }
}

/// Why an archive cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged(pub &'static str);

/// Reads a header. `None`: the archive ends here.
///
/// # Errors
/// If it is no header.
pub fn header(block: &[u8; BLOCK]) -> Result<Option<Header>, Damaged> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    // The checksum's own field counts as eight blanks.
    let own: u32 = block[148..156].iter().map(|byte| u32::from(*byte)).sum();
    let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>() - own + 8 * u32::from(b' ');
    if number(&block[148..156]) != Some(sum.into()) {
        return Err(Damaged("a wrong checksum"));
    }
    let (name, prefix) = (text(&block[..100])?, text(&block[345..500])?);
    let joined = match prefix {
        _ if &block[257..262] != b"ustar" || prefix.is_empty() => name.to_string(),
        _ => [prefix, "/", name].concat(),
    };
    let path = joined.strip_prefix("./").unwrap_or(&joined).to_string();
    let len = number(&block[124..136]).ok_or(Damaged("no length"))?;
    Ok(Some(Header { path, len, is_file: matches!(block[156], 0 | b'0') }))
}

/// An octal number, which blanks or zeros may follow.
fn number(field: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

fn text(field: &[u8]) -> Result<&str, Damaged> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    core::str::from_utf8(&field[..end]).map_err(|_| Damaged("a name that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &[u8], prefix: &[u8], len: &[u8], kind: u8) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name);
        block[124..124 + len.len()].copy_from_slice(len);
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    #[test]
    fn headers_are_read() {
        let file = header(&made(b"./a/b.txt", b"", b"00000001750 ", b'0')).unwrap().unwrap();
        assert_eq!(file, Header { path: "a/b.txt".into(), len: 1000, is_file: true });
        assert_eq!(file.blocks(), 2);
        let long = header(&made(b"c", b"a/b", b"0", b'5')).unwrap().unwrap();
        assert_eq!((long.path.as_str(), long.is_file), ("a/b/c", false));
        assert_eq!(header(&[0; BLOCK]), Ok(None));
    }

    #[test]
    fn damage_is_told() {
        let mut block = made(b"a", b"", b"1", b'0');
        block[0] = b'b';
        assert_eq!(header(&block), Err(Damaged("a wrong checksum")));
        assert_eq!(header(&made(b"a", b"", b"9", b'0')), Err(Damaged("no length")));
        assert_eq!(header(&made(b"\xff", b"", b"1", b'0')), Err(Damaged("a name that is not UTF-8")));
        assert!(header(&[0x80; BLOCK]).is_err());
    }
}
