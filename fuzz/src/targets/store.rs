//! The xenstore: messages of hostile guests, whole and through a ring that they write, with the tree checked after each.

use std::cell::RefCell;

use dom0::DomId;
use dom0::page::SharedPage;
use dom0::xenstore::Server;
use dom0::xenstore::ring::Ring;
use dom0::xenstore::wire::Header;
use fuzz_grammar::{Bytes, Source};

/// Parts of payloads that lead somewhere.
const PARTS: [&[u8]; 20] = [
    b"/local/domain/1/data",
    b"/local/domain/1",
    b"data",
    b"data/a",
    b"/",
    b"//",
    b"@introduceDomain",
    b"\0",
    b"token",
    b"/local/domain/2/x",
    b"b0",
    b"n1",
    b"r2",
    b"w1",
    b"T",
    b"F",
    b"1",
    b"0",
    b"/a/b/c/d/e/f",
    b"-",
];
/// Guests that are connected.
const GUESTS: u16 = 3;

fn payload(source: &mut impl Source) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..source.below(8) {
        match source.below(24) as usize {
            part if part < PARTS.len() => payload.extend(PARTS[part]),
            20 => payload.push(source.byte()),
            21 => payload.resize(payload.len() + source.below(4200) as usize, b'x'),
            _ => payload.push(0),
        }
        if source.below(3) != 0 {
            payload.push(0);
        }
    }
    // The ring lets no longer one through.
    payload.truncate(4096);
    payload
}

fn server() -> Server {
    let mut server = Server::new();
    (0..GUESTS).for_each(|dom| server.introduce(DomId(dom)));
    for dom in 1..GUESTS {
        let home = format!("/local/domain/{dom}/data");
        server.write(&home, b"here").expect("domain 0 may");
    }
    server
}

fn check(server: &mut Server) {
    server.tree().check().expect("the tree is sound");
    while server.next_action().is_some() {}
}

/// Requests of several domains, some in transactions. Each is answered, and the tree stays sound.
pub fn messages(input: &[u8]) {
    let mut source = Bytes::new(input);
    let mut server = server();
    let mut transactions = [0_u32; GUESTS as usize];
    while !source.is_empty() {
        let dom = source.below(u64::from(GUESTS)) as u16;
        let kind = source.below(25) as u32;
        let payload = payload(&mut source);
        let tx_id = if source.below(3) == 0 { transactions[usize::from(dom)] } else { 0 };
        let header = Header { kind, req_id: 7, tx_id, len: payload.len() as u32 };
        server.request(DomId(dom), header, &payload);
        check(&mut server);
        for other in 0..GUESTS {
            let Some(client) = server.client(DomId(other)) else { continue };
            while let Some(message) = client.next_message() {
                let length = message.header.len as usize;
                assert!(length == message.payload.len() && length <= 4096, "a reply of {length} bytes");
                if other == dom && message.header.kind == 6 {
                    let text = String::from_utf8_lossy(&message.payload);
                    transactions[usize::from(dom)] = text.trim_end_matches('\0').parse().unwrap_or(0);
                }
            }
        }
    }
}

struct Page(RefCell<Vec<u8>>);

impl SharedPage for Page {
    fn byte(&self, offset: usize) -> u8 {
        self.0.borrow()[offset % 4096]
    }
    fn set_byte(&self, offset: usize, value: u8) {
        self.0.borrow_mut()[offset % 4096] = value;
    }
    fn load(&self, offset: usize) -> u32 {
        let page = self.0.borrow();
        u32::from_le_bytes(std::array::from_fn(|n| page[(offset + n) % 4096]))
    }
    fn store(&self, offset: usize, value: u32) {
        value.to_le_bytes().iter().enumerate().for_each(|(n, byte)| self.set_byte(offset + n, *byte));
    }
}

/// A guest that writes what it likes into its ring, indices included: the server serves, or says that the ring is broken, and
/// each round ends.
pub fn ring(input: &[u8]) {
    let mut source = Bytes::new(input);
    let mut server = server();
    let page = Page(RefCell::new(vec![0; 4096]));
    let mut ring = Ring::attach(&page);
    // Requests are in the first KiB, their producer's index at 2052.
    let mut produced = page.load(2052);
    while !source.is_empty() && ring.broken().is_none() {
        match source.below(12) {
            0 => page.store(2048 + 4 * source.below(8) as usize, source.word() as u32),
            1 => page.set_byte(source.below(4096) as usize, source.byte()),
            2 => page.store(2056, page.load(2060)),
            _ => {
                let payload = payload(&mut source);
                let len = if source.once_in(16) { source.word() as u32 } else { payload.len() as u32 };
                let header = Header { kind: source.below(25) as u32, req_id: 1, tx_id: 0, len };
                for byte in header.encode().iter().chain(&payload).take(1024) {
                    page.set_byte(produced as usize % 1024, *byte);
                    produced = produced.wrapping_add(1);
                }
                page.store(2052, produced);
            }
        }
        ring.serve(&page, DomId(1), &mut server);
        check(&mut server);
        // Answers are read, or else the server stops listening.
        page.store(2056, page.load(2060));
    }
}
