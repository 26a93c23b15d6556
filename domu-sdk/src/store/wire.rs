//! Messages of the store: a header of 16 bytes and up to 4096 bytes of payload.

use abi::io::xs_wire::{XENSTORE_PAYLOAD_MAX, XsdSockmsg};
use alloc::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

const HEADER: usize = size_of::<XsdSockmsg>();

/// A message as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) header: XsdSockmsg,
    pub(super) payload: Vec<u8>,
}

/// The bytes of a message; `None` if the payload is too long.
pub(super) fn encode(kind: u32, request: u32, transaction: u32, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len > XENSTORE_PAYLOAD_MAX {
        return None;
    }
    let header = XsdSockmsg { type_: kind, req_id: request, tx_id: transaction, len: len as u32 };
    let mut bytes = Vec::with_capacity(HEADER + len);
    bytes.extend_from_slice(header.as_bytes());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    Some(bytes)
}

/// Puts messages together from pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    bytes: Vec<u8>,
}

/// A header announced more than the protocol allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Assembler {
    /// Takes a piece.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives the next message that is complete.
    pub(super) fn pop(&mut self) -> Result<Option<Message>, TooLong> {
        let Ok((header, rest)) = XsdSockmsg::read_from_prefix(&self.bytes) else { return Ok(None) };
        let len = header.len as usize;
        if len > XENSTORE_PAYLOAD_MAX {
            return Err(TooLong);
        }
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        let message = Message { header, payload: payload.to_vec() };
        self.bytes.drain(..HEADER + len);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_split() {
        let mut bytes = encode(2, 7, 0, &[b"a/b", b"\0"]).expect("short");
        bytes.extend(encode(11, 8, 3, &[]).expect("short"));
        for size in 1..bytes.len() {
            let mut assembler = Assembler::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                assembler.push(piece);
                while let Some(message) = assembler.pop().expect("well-formed") {
                    seen.push((message.header.type_, message.header.req_id, message.payload));
                }
            }
            assert_eq!(seen, [(2, 7, b"a/b\0".to_vec()), (11, 8, Vec::new())]);
        }
    }

    #[test]
    fn too_long_is_refused_both_ways() {
        assert_eq!(encode(2, 0, 0, &[&[0; 4097]]), None);
        let mut assembler = Assembler::default();
        assembler.push(XsdSockmsg { len: 4097, ..XsdSockmsg::default() }.as_bytes());
        assert_eq!(assembler.pop(), Err(TooLong));
    }
}
