//! What an HTTP request asks for, and what it gets: methods GET and HEAD, one range of bytes.

use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

/// Longest head of a request.
pub const HEAD_MAX: usize = 4096;
/// Header lines that a request may have.
const HEADERS: usize = 32;

/// A request that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether the body is wanted, and not only the head.
    pub body: bool,
    /// The path, decoded, without the first slash.
    pub path: String,
    /// The bytes that are wanted.
    pub range: Option<Wanted>,
}

/// A range as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// From this byte on.
    From(u64),
    /// From this byte to that one, which is the last.
    Through(u64, u64),
    /// The last so many.
    Last(u64),
}

/// The status of an answer, with its reason.
pub type Status = (u16, &'static str);

/// All is sent.
pub const OK: Status = (200, "OK");
/// A part is sent.
pub const PARTIAL: Status = (206, "Partial Content");
/// Not a request.
pub const BAD: Status = (400, "Bad Request");
/// There is no such file.
pub const MISSING: Status = (404, "Not Found");
/// Not GET and not HEAD.
pub const METHOD: Status = (405, "Method Not Allowed");
/// No byte of the file is in the range.
pub const RANGE: Status = (416, "Range Not Satisfiable");
/// More than [`HEAD_MAX`] bytes, or too many lines.
pub const LONG: Status = (431, "Request Header Fields Too Large");

/// Reads a request's head. `Ok(None)`: there is more to come.
///
/// # Errors
/// The status of the answer, if it is not a request that can be answered otherwise.
pub fn request(head: &[u8]) -> Result<Option<Request>, Status> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() >= HEAD_MAX => return Err(LONG),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(LONG),
        Err(_) => return Err(BAD),
    }
    let body = match parsed.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Err(METHOD),
    };
    let target = parsed.path.and_then(|path| path.strip_prefix('/')).ok_or(BAD)?;
    let path = decoded(target.split(['?', '#']).next().unwrap_or("")).ok_or(BAD)?;
    let range = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("range"));
    Ok(Some(Request { body, path, range: range.and_then(|header| wanted(header.value)) }))
}

/// Bytes for `%41` and the like; `None` if that is not UTF-8, or not two digits.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// One range of bytes. Others are ignored, as the standard allows: then all is sent.
fn wanted(value: &[u8]) -> Option<Wanted> {
    let (first, last) = core::str::from_utf8(value).ok()?.trim().strip_prefix("bytes=")?.split_once('-')?;
    // `parse` would take a sign.
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    match (first, last) {
        ("", last) => Some(Wanted::Last(number(last)?)),
        (first, "") => Some(Wanted::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Wanted::Through(first, last))
        }
    }
}

/// Which bytes of a file are sent, and with what status. Without a range, all.
///
/// # Errors
/// [`RANGE`] if there is none of them.
pub fn select(range: Option<Wanted>, len: u64) -> Result<(Status, Range<u64>), Status> {
    let bytes = match range {
        None => return Ok((OK, 0..len)),
        Some(Wanted::From(first)) => first..len,
        Some(Wanted::Through(first, last)) => first..len.min(last.saturating_add(1)),
        Some(Wanted::Last(count)) => len.saturating_sub(count)..len,
    };
    if bytes.is_empty() { Err(RANGE) } else { Ok((PARTIAL, bytes)) }
}

/// The head of an answer with so many bytes of body.
pub fn head(status: Status, bytes: u64, more: &str) -> Vec<u8> {
    let (code, reason) = status;
    format!("HTTP/1.1 {code} {reason}\r\nContent-Length: {bytes}\r\nConnection: close\r\n{more}\r\n")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(head: &str) -> Result<Option<Request>, Status> {
        request(head.as_bytes())
    }

    #[test]
    fn requests_are_read() {
        let found =
            get("GET /a%20b/c.txt?x=1 HTTP/1.1\r\nHost: a\r\nrange: bytes=2-5\r\n\r\n").unwrap().unwrap();
        assert_eq!((found.body, found.path.as_str()), (true, "a b/c.txt"));
        assert_eq!(found.range, Some(Wanted::Through(2, 5)));
        assert!(!get("HEAD / HTTP/1.0\r\n\r\n").unwrap().unwrap().body);
        assert_eq!(get("GET / HTTP/1.1\r\nHo"), Ok(None));
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(get("POST / HTTP/1.1\r\n\r\n"), Err(METHOD));
        for bad in [
            "GET a HTTP/1.1\r\n\r\n",
            "GET /%4 HTTP/1.1\r\n\r\n",
            "GET /%ff HTTP/1.1\r\n\r\n",
            "\0\0\0\0\r\n\r\n",
        ] {
            assert_eq!(get(bad), Err(BAD), "{bad:?}");
        }
        assert_eq!(get(&format!("GET /{}", "a".repeat(HEAD_MAX))), Err(LONG));
        assert_eq!(get(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(33))), Err(LONG));
    }

    #[test]
    fn ranges() {
        let chosen = |text: &str, len| select(wanted(text.as_bytes()), len).map(|(_, bytes)| bytes);
        assert_eq!(chosen("bytes=0-0", 10), Ok(0..1));
        assert_eq!(chosen("bytes=5-100", 10), Ok(5..10));
        assert_eq!(chosen("bytes=-3", 10), Ok(7..10));
        assert_eq!(chosen("bytes=-30", 10), Ok(0..10));
        assert_eq!(chosen("bytes=9-", 10), Ok(9..10));
        assert_eq!(chosen("bytes=3-18446744073709551615", 10), Ok(3..10));
        for none in ["bytes=10-", "bytes=-0", "bytes=10-11"] {
            assert_eq!(chosen(none, 10), Err(RANGE), "{none}");
        }
        for ignored in ["bytes=5-4", "bytes=1-2,3-4", "bytes=+1-2", "lines=1-2", "bytes=x-"] {
            assert_eq!(chosen(ignored, 10), Ok(0..10), "{ignored}");
        }
    }
}
