//! The xenstore wire protocol: message header, message types, error strings.
//!
//! A message is a 16-byte header ([`Header`]) and up to [`PAYLOAD_MAX`] bytes of payload. Requests and replies
//! have the same type; an error is a message of type [`Kind::Error`] whose payload is the error's name with a final
//! NUL. The numbers answer to the public header `io/xs_wire.h`.

use alloc::vec::Vec;

/// Longest payload of one message in bytes (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_MAX: usize = 4096;
/// Longest absolute path in bytes (`XENSTORE_ABS_PATH_MAX`).
pub const ABS_PATH_MAX: usize = 3072;
/// Longest relative path in bytes (`XENSTORE_REL_PATH_MAX`).
pub const REL_PATH_MAX: usize = 2048;
/// Bytes of a message header (`struct xsd_sockmsg`).
pub const HEADER_LEN: usize = 16;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// What a message asks for or answers (`enum xsd_sockmsg_type`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// The kind with this number, or `None` for a number that the protocol does not have.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($value => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// `XS_CONTROL`: maintenance commands of the server, privileged clients only.
    Control = 0,
    /// `XS_DIRECTORY`: names of a node's children.
    Directory = 1,
    /// `XS_READ`: a node's value.
    Read = 2,
    /// `XS_GET_PERMS`: a node's permission list.
    GetPerms = 3,
    /// `XS_WATCH`: tell the client when a node or anything below it changes.
    Watch = 4,
    /// `XS_UNWATCH`: end a watch.
    Unwatch = 5,
    /// `XS_TRANSACTION_START`: open a transaction.
    TransactionStart = 6,
    /// `XS_TRANSACTION_END`: commit or drop a transaction.
    TransactionEnd = 7,
    /// `XS_INTRODUCE`: connect a domain, privileged clients only.
    Introduce = 8,
    /// `XS_RELEASE`: disconnect a domain, privileged clients only.
    Release = 9,
    /// `XS_GET_DOMAIN_PATH`: a domain's home path.
    GetDomainPath = 10,
    /// `XS_WRITE`: set a node's value, creating it if needed.
    Write = 11,
    /// `XS_MKDIR`: make sure that a node exists.
    Mkdir = 12,
    /// `XS_RM`: remove a node and all below it.
    Rm = 13,
    /// `XS_SET_PERMS`: replace a node's permission list.
    SetPerms = 14,
    /// `XS_WATCH_EVENT`: sent by the server when a watch fires.
    WatchEvent = 15,
    /// `XS_ERROR`: reply to a request that failed.
    Error = 16,
    /// `XS_IS_DOMAIN_INTRODUCED`: whether a domain is connected.
    IsDomainIntroduced = 17,
    /// `XS_RESUME`: a domain continues after a suspend, privileged clients only.
    Resume = 18,
    /// `XS_SET_TARGET`: let one domain act for another, privileged clients only.
    SetTarget = 19,
    /// `XS_RESET_WATCHES`: drop the caller's watches and transactions.
    ResetWatches = 21,
    /// `XS_DIRECTORY_PART`: children of a node that has too many for one message.
    DirectoryPart = 22,
}

/// Header of a message (`struct xsd_sockmsg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Message type number; see [`Kind`].
    pub kind: u32,
    /// Chosen by the client, echoed in the reply.
    pub req_id: u32,
    /// Transaction number, 0 outside transactions.
    pub tx_id: u32,
    /// Payload bytes that follow.
    pub len: u32,
}

impl Header {
    /// Decodes a header from its 16 little-endian bytes.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Self {
        let word = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        Self { kind: word(0), req_id: word(4), tx_id: word(8), len: word(12) }
    }

    /// Encodes the header into its 16 little-endian bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        for (i, word) in [self.kind, self.req_id, self.tx_id, self.len].into_iter().enumerate() {
            bytes[i * 4..i * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// A whole message, header and payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The header; its `len` is the payload's length.
    pub header: Header,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// Builds a message; `len` is taken from the payload.
    pub fn new(kind: Kind, req_id: u32, tx_id: u32, payload: Vec<u8>) -> Self {
        let header = Header { kind: kind as u32, req_id, tx_id, len: payload.len() as u32 };
        Self { header, payload }
    }

    /// Header and payload as the bytes that go over the ring.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.encode().to_vec();
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Why a request failed; the wire carries the name (`xsd_errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request is malformed.
    EINVAL,
    /// The client lacks the permission.
    EACCES,
    /// The thing exists already (a second identical watch).
    EEXIST,
    /// No such node, watch or transaction.
    ENOENT,
    /// A quota is used up.
    ENOSPC,
    /// No such request.
    ENOSYS,
    /// A limit on open things (transactions) is reached.
    EBUSY,
    /// The transaction conflicts with another change: start again.
    EAGAIN,
    /// Value or path too long, or the reply would not fit.
    E2BIG,
}

impl Error {
    /// The name as the wire carries it, without the final NUL.
    pub fn name(self) -> &'static str {
        match self {
            Self::EINVAL => "EINVAL",
            Self::EACCES => "EACCES",
            Self::EEXIST => "EEXIST",
            Self::ENOENT => "ENOENT",
            Self::ENOSPC => "ENOSPC",
            Self::ENOSYS => "ENOSYS",
            Self::EBUSY => "EBUSY",
            Self::EAGAIN => "EAGAIN",
            Self::E2BIG => "E2BIG",
        }
    }

    /// The reply payload: the name with a final NUL.
    pub fn payload(self) -> Vec<u8> {
        let mut bytes = self.name().as_bytes().to_vec();
        bytes.push(0);
        bytes
    }
}

/// Splits a payload of exactly `N` NUL-terminated strings; the last byte must be the last NUL.
pub fn strings<const N: usize>(payload: &[u8]) -> Result<[&str; N], Error> {
    let body = payload.strip_suffix(&[0]).ok_or(Error::EINVAL)?;
    let mut out = [""; N];
    let mut parts = body.split(|&b| b == 0);
    for slot in &mut out {
        *slot = utf8(parts.next().ok_or(Error::EINVAL)?)?;
    }
    if parts.next().is_some() { Err(Error::EINVAL) } else { Ok(out) }
}

/// Splits a payload into its first NUL-terminated string and the rest.
pub fn first_string(payload: &[u8]) -> Result<(&str, &[u8]), Error> {
    let end = payload.iter().position(|&b| b == 0).ok_or(Error::EINVAL)?;
    Ok((utf8(&payload[..end])?, &payload[end + 1..]))
}

/// Parses a decimal domain id as requests carry it.
pub fn number<T: core::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::EINVAL)
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    core::str::from_utf8(bytes).map_err(|_| Error::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip() {
        let header = Header { kind: 11, req_id: 7, tx_id: 3, len: 4096 };
        assert_eq!(Header::decode(&header.encode()), header);
    }

    #[test]
    fn strings_need_every_nul() {
        assert_eq!(strings::<1>(b"a\0"), Ok(["a"]));
        assert_eq!(strings::<2>(b"a\0b\0"), Ok(["a", "b"]));
        assert_eq!(strings::<1>(b"a"), Err(Error::EINVAL));
        assert_eq!(strings::<1>(b"a\0b\0"), Err(Error::EINVAL));
        assert_eq!(strings::<1>(b""), Err(Error::EINVAL));
        assert_eq!(strings::<1>(b"\xff\0"), Err(Error::EINVAL));
        assert_eq!(first_string(b"path\0val\0ue"), Ok(("path", &b"val\0ue"[..])));
    }

    #[test]
    fn kinds_have_the_header_numbers() {
        assert_eq!(Kind::from_number(21), Some(Kind::ResetWatches));
        assert_eq!(Kind::from_number(20), None);
        assert_eq!(Kind::from_number(23), None);
        assert_eq!(Kind::DirectoryPart as u32, 22);
    }
}
