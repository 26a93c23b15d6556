//! Conversations with the server, over memory and over a ring; and a comparison with a naive model.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::ring::{Broken, Ring};
use super::server::Server;
use super::wire::{Header, Kind, Message};
use crate::DomId;
use crate::page::{SharedPage, TestPage};

const D0: DomId = DomId(0);
const D1: DomId = DomId(1);

fn server() -> Server {
    let mut server = Server::new();
    server.introduce(D0);
    server.introduce(D1);
    server.write("/local/domain/1", b"").unwrap();
    server.set_perms("/local/domain/1", super::perms::Perms::decode(b"n1\0").unwrap()).unwrap();
    drain(&mut server, D0);
    drain(&mut server, D1);
    server
}

fn drain(server: &mut Server, dom: DomId) -> Vec<Message> {
    core::iter::from_fn(|| server.client(dom)?.next_message()).collect()
}

/// Sends one request and returns the reply's payload as text (`!NAME` for errors) and the events for the same domain.
fn ask_in(server: &mut Server, dom: DomId, tx: u32, kind: Kind, payload: &[u8]) -> (String, Vec<String>) {
    let header = Header { kind: kind as u32, req_id: 77, tx_id: tx, len: payload.len() as u32 };
    server.request(dom, header, payload);
    let mut messages = drain(server, dom);
    let reply = messages.remove(0);
    assert_eq!(reply.header.req_id, 77);
    let events = messages.iter().map(|m| text(&m.payload)).collect();
    let body = text(&reply.payload);
    if reply.header.kind == Kind::Error as u32 { (format!("!{body}"), events) } else { (body, events) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').replace('\0', "|")
}

fn ask(server: &mut Server, dom: DomId, kind: Kind, payload: &[u8]) -> String {
    ask_in(server, dom, 0, kind, payload).0
}

#[test]
fn write_read_directory() {
    let mut s = server();
    assert_eq!(ask(&mut s, D1, Kind::Write, b"data/a\0one"), "OK");
    assert_eq!(ask(&mut s, D1, Kind::Write, b"/local/domain/1/data/b\0two"), "OK");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"data/a\0"), "one");
    assert_eq!(ask(&mut s, D1, Kind::Directory, b"data\0"), "a|b");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"data/c\0"), "!ENOENT");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"data/c"), "!EINVAL");
    assert_eq!(ask(&mut s, D1, Kind::Write, b"/x\0y"), "!EACCES");
    assert_eq!(ask(&mut s, D1, Kind::Mkdir, b"data/a\0"), "OK");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"data/a\0"), "one");
    assert_eq!(ask(&mut s, D1, Kind::Rm, b"data\0"), "OK");
    assert_eq!(ask(&mut s, D1, Kind::Directory, b"/local/domain/1\0"), "");
    assert_eq!(ask(&mut s, D1, Kind::GetDomainPath, b"9\0"), "/local/domain/9");
    assert_eq!(ask(&mut s, D1, Kind::IsDomainIntroduced, b"9\0"), "F");
    assert_eq!(ask(&mut s, D1, Kind::Introduce, b"9\x001\x002\0"), "!EACCES");
    assert_eq!(ask(&mut s, D1, Kind::WatchEvent, b"a\0b\0"), "!ENOSYS");
    s.tree().check().unwrap();
}

#[test]
fn permissions_over_the_wire() {
    let mut s = server();
    s.introduce(DomId(2));
    drain(&mut s, DomId(2));
    assert_eq!(ask(&mut s, D1, Kind::Write, b"data\0x"), "OK");
    assert_eq!(ask(&mut s, D1, Kind::GetPerms, b"data\0"), "n1");
    assert_eq!(ask(&mut s, DomId(2), Kind::Read, b"/local/domain/1/data\0"), "!EACCES");
    assert_eq!(ask(&mut s, D1, Kind::SetPerms, b"data\0n1\0r2\0"), "OK");
    assert_eq!(ask(&mut s, DomId(2), Kind::Read, b"/local/domain/1/data\0"), "x");
    assert_eq!(ask(&mut s, DomId(2), Kind::SetPerms, b"/local/domain/1/data\0b2\0"), "!EACCES");
    assert_eq!(ask(&mut s, D1, Kind::SetPerms, b"data\0n2\0"), "!EACCES");
    assert_eq!(ask(&mut s, D0, Kind::SetTarget, b"2\x001\0"), "OK");
    assert_eq!(ask(&mut s, DomId(2), Kind::Write, b"/local/domain/1/more\0y"), "OK");
}

#[test]
fn watches_fire_in_order_and_as_spelled() {
    let mut s = server();
    let (reply, events) = ask_in(&mut s, D1, 0, Kind::Watch, b"data\0tok\0");
    assert_eq!((reply.as_str(), events), ("OK", ["data|tok".to_string()].to_vec()));
    assert_eq!(ask(&mut s, D1, Kind::Watch, b"data\0tok\0"), "!EEXIST");
    let (_, events) = ask_in(&mut s, D1, 0, Kind::Write, b"data/x/y\0");
    assert_eq!(events, ["data/x/y|tok"]);
    let (_, events) = ask_in(&mut s, D1, 0, Kind::Watch, b"/local/domain/1/data/x/y\0deep\0");
    assert_eq!(events, ["/local/domain/1/data/x/y|deep"]);
    let (_, events) = ask_in(&mut s, D1, 0, Kind::Rm, b"data/x\0");
    assert_eq!(events, ["data/x|tok", "/local/domain/1/data/x/y|deep"]);
    assert_eq!(ask(&mut s, D1, Kind::Unwatch, b"data\0tok\0"), "OK");
    assert_eq!(ask(&mut s, D1, Kind::Unwatch, b"data\0tok\0"), "!ENOENT");
    s.write("/local/domain/1/data", b"").unwrap();
    assert!(drain(&mut s, D1).is_empty());
}

#[test]
fn special_watches_need_the_permission() {
    let mut s = server();
    ask(&mut s, D0, Kind::Watch, b"@releaseDomain\0r\0");
    ask(&mut s, D1, Kind::Watch, b"@releaseDomain\0r\0");
    s.release(DomId(9));
    assert_eq!(drain(&mut s, D0).len(), 1);
    assert!(drain(&mut s, D1).is_empty());
    assert_eq!(ask(&mut s, D0, Kind::SetPerms, b"@releaseDomain\0n0\0r1\0"), "OK");
    s.release(DomId(9));
    assert_eq!(text(&drain(&mut s, D1)[0].payload), "@releaseDomain|r");
}

#[test]
fn a_watch_does_not_leak_what_may_not_be_read() {
    let mut s = server();
    ask(&mut s, D1, Kind::Watch, b"/\0all\0");
    s.write("/local/domain/2/secret", b"x").unwrap();
    assert_eq!(drain(&mut s, D1).len(), 1, "the root gives read access, so this one is seen");
    s.set_perms("/local/domain/2", super::perms::Perms::decode(b"n2\0").unwrap()).unwrap();
    s.write("/local/domain/2/more", b"x").unwrap();
    assert!(drain(&mut s, D1).is_empty());
}

#[test]
fn transactions_commit_or_say_eagain() {
    let mut s = server();
    let tx: u32 = ask(&mut s, D1, Kind::TransactionStart, b"\0").parse().unwrap();
    assert_eq!(ask_in(&mut s, D1, tx, Kind::Write, b"a\x001").0, "OK");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"a\0"), "!ENOENT");
    assert_eq!(ask_in(&mut s, D1, tx, Kind::Read, b"a\0").0, "1");
    assert_eq!(ask_in(&mut s, D1, tx, Kind::TransactionEnd, b"T\0").0, "OK");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"a\0"), "1");
    assert_eq!(ask_in(&mut s, D1, tx, Kind::TransactionEnd, b"T\0").0, "!ENOENT");

    let tx: u32 = ask(&mut s, D1, Kind::TransactionStart, b"\0").parse().unwrap();
    assert_eq!(ask_in(&mut s, D1, tx, Kind::Read, b"a\0").0, "1");
    s.write("/local/domain/1/a", b"2").unwrap();
    assert_eq!(ask_in(&mut s, D1, tx, Kind::Write, b"b\0x").0, "OK");
    assert_eq!(ask_in(&mut s, D1, tx, Kind::TransactionEnd, b"T\0").0, "!EAGAIN");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"b\0"), "!ENOENT");

    let tx: u32 = ask(&mut s, D1, Kind::TransactionStart, b"\0").parse().unwrap();
    ask_in(&mut s, D1, tx, Kind::Rm, b"a\0");
    assert_eq!(ask_in(&mut s, D1, tx, Kind::TransactionEnd, b"F\0").0, "OK");
    assert_eq!(ask(&mut s, D1, Kind::Read, b"a\0"), "2");
    assert_eq!(ask_in(&mut s, D1, 999, Kind::Read, b"a\0").0, "!ENOENT");
}

#[test]
fn quotas_of_a_hostile_client() {
    let mut s = server();
    let mut last = String::new();
    for i in 0..2000 {
        last = ask(&mut s, D1, Kind::Write, format!("n{i}\0").as_bytes());
    }
    assert_eq!(last, "!ENOSPC");
    assert!(s.tree().owned(D1) <= 1000);
    for i in 0..200 {
        last = ask(&mut s, D1, Kind::Watch, format!("n\0{i}\0").as_bytes());
    }
    assert_eq!(last, "!E2BIG");
    for _ in 0..20 {
        last = ask(&mut s, D1, Kind::TransactionStart, b"\0");
    }
    assert_eq!(last, "!ENOSPC");
    assert_eq!(ask(&mut s, D1, Kind::Write, &[b"big\0".as_slice(), &[1; 2049]].concat()), "!ENOSPC");
    assert_eq!(ask(&mut s, D1, Kind::ResetWatches, b"\0"), "OK");
    assert!(ask(&mut s, D1, Kind::TransactionStart, b"\0").parse::<u32>().is_ok());
}

#[test]
fn bytes_of_a_hostile_client() {
    let mut s = server();
    let mut held = 0;
    for _ in 0..10 {
        let tx: u32 = ask(&mut s, D1, Kind::TransactionStart, b"\0").parse().unwrap();
        for i in 0..100 {
            let payload = [format!("n{i}\0").as_bytes(), &[1; 2048]].concat();
            held += usize::from(ask_in(&mut s, D1, tx, Kind::Write, &payload).0 == "OK");
        }
    }
    assert!((200..300).contains(&held), "{held} values of 2 KiB");
    let token = "t".repeat(2000);
    let watch = |s: &mut Server, i: usize| ask(s, D1, Kind::Watch, format!("n\0{i}{token}\0").as_bytes());
    let taken = (0..100).filter(|i| watch(&mut s, *i) == "OK").count();
    assert!((20..40).contains(&taken), "{taken} watches of 2 KiB");
    assert_eq!(ask(&mut s, D1, Kind::ResetWatches, b"\0"), "OK");
    assert_eq!(watch(&mut s, 1), "OK");
}

#[test]
fn unread_events_stay_bounded() {
    let mut s = server();
    ask(&mut s, D1, Kind::Watch, b"/\0w\0");
    for i in 0..5000 {
        s.write(&format!("/tool/n{i}"), b"").unwrap();
        s.write("/tool/same", b"").unwrap();
    }
    let events = drain(&mut s, D1);
    assert!(events.len() <= super::client::EVENTS_MAX + 2, "{}", events.len());
    assert_eq!(text(&events.last().unwrap().payload), "/|w");
}

#[test]
fn a_long_directory_comes_in_parts() {
    let mut s = server();
    for i in 0..900 {
        s.write(&format!("/many/child{i:04}"), b"").unwrap();
    }
    assert_eq!(ask(&mut s, D0, Kind::Directory, b"/many\0"), "!E2BIG");
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let payload = format!("/many\0{offset}\0");
        let header = Header { kind: 22, req_id: 1, tx_id: 0, len: payload.len() as u32 };
        s.request(D0, header, payload.as_bytes());
        let bytes = drain(&mut s, D0).remove(0).payload;
        let start = bytes.iter().position(|&b| b == 0).unwrap() + 1;
        let list = &bytes[start..];
        let end = list.ends_with(b"\0\0");
        let list = if end { &list[..list.len() - 1] } else { list };
        offset += list.len();
        names.extend(list.split(|&b| b == 0).filter(|n| !n.is_empty()).map(|n| n.to_vec()));
        if end {
            break;
        }
    }
    assert_eq!(names.len(), 900);
    assert_eq!(ask(&mut s, D0, Kind::DirectoryPart, b"/many\x003\0"), "!EINVAL");
    assert_eq!(ask(&mut s, D0, Kind::DirectoryPart, b"/many\x0099999\0"), "!EINVAL");
}

fn put(page: &TestPage, prod: &mut u32, bytes: &[u8]) {
    for &byte in bytes {
        page.set_byte(*prod as usize % 1024, byte);
        *prod = prod.wrapping_add(1);
    }
    page.store(2052, *prod);
}

#[test]
fn the_ring_carries_messages_across_the_wrap() {
    let (mut s, page) = (server(), TestPage::new());
    for index in [2048, 2052, 2056, 2060] {
        page.store(index, u32::MAX - 5);
    }
    let mut ring = Ring::attach(&page);
    let mut prod = u32::MAX - 5;
    let request = Message::new(Kind::Write, 5, 0, b"key\0value".to_vec()).to_bytes();
    put(&page, &mut prod, &request[..7]);
    assert!(ring.serve(&page, D1, &mut s).notify);
    put(&page, &mut prod, &request[7..]);
    assert!(ring.serve(&page, D1, &mut s).notify);
    assert_eq!(s.read("/local/domain/1/key"), Some(&b"value"[..]));
    let reply: Vec<u8> =
        (0..19).map(|i| page.byte(1024 + (u32::MAX - 5).wrapping_add(i) as usize % 1024)).collect();
    assert_eq!(reply, Message::new(Kind::Write, 5, 0, b"OK\0".to_vec()).to_bytes());
    assert_eq!(page.load(2060), (u32::MAX - 5).wrapping_add(19));
}

#[test]
fn broken_rings_end_the_connection() {
    let mut s = server();
    let page = TestPage::new();
    let mut ring = Ring::attach(&page);
    page.store(2052, 1025);
    ring.serve(&page, D1, &mut s);
    assert_eq!((ring.broken(), page.load(2072)), (Some(Broken::RingIndex), 2));

    let page = TestPage::new();
    let mut ring = Ring::attach(&page);
    let header = Header { kind: 2, req_id: 0, tx_id: 0, len: 4097 };
    put(&page, &mut 0, &header.encode());
    ring.serve(&page, D1, &mut s);
    assert_eq!((ring.broken(), page.load(2072)), (Some(Broken::Protocol), 3));

    let page = TestPage::new();
    let mut ring = Ring::attach(&page);
    page.store(2056, 1);
    let mut prod = 0;
    put(&page, &mut prod, &Message::new(Kind::Read, 0, 0, b"a\0".to_vec()).to_bytes());
    ring.serve(&page, D1, &mut s);
    assert_eq!(ring.broken(), Some(Broken::RingIndex));
}

#[test]
fn a_client_that_does_not_read_is_not_served_further() {
    let (mut s, page) = (server(), TestPage::new());
    let mut ring = Ring::attach(&page);
    let mut prod = 0;
    let request = Message::new(Kind::GetDomainPath, 0, 0, b"1\0".to_vec()).to_bytes();
    for _ in 0..1000 {
        if prod - page.load(2048) + request.len() as u32 <= 1024 {
            put(&page, &mut prod, &request);
        }
        ring.serve(&page, D1, &mut s);
    }
    assert!(s.client(D1).unwrap().waiting() <= super::client::BACKLOG_MAX);
    assert_eq!(ring.broken(), None);
}

/// The naive model: a map from path to value. A transaction is a log of requests that is run again at its commit.
type Model = BTreeMap<String, Vec<u8>>;

fn model_run(model: &mut Model, op: &Op) -> String {
    let path = format!("/m{}", op.path());
    match op {
        Op::Write(_, value) => {
            model_create(model, &path);
            model.insert(path, [*value].to_vec());
            "OK".to_string()
        }
        Op::Mkdir(_) => {
            model_create(model, &path);
            "OK".to_string()
        }
        Op::Rm(_) => {
            let parent = super::path::parent(&path).unwrap().to_string();
            if !model.contains_key(&path) && !model.contains_key(&parent) {
                return "!ENOENT".to_string();
            }
            model.retain(|p, _| !super::path::is_at_or_below(p, &path));
            "OK".to_string()
        }
        Op::Read(_) => model.get(&path).map_or("!ENOENT".to_string(), |v| text(v)),
        Op::Directory(_) => {
            if !model.contains_key(&path) {
                return "!ENOENT".to_string();
            }
            let below = model.keys().filter(|p| super::path::parent(p) == Some(path.as_str()));
            below.map(|p| super::path::leaf(p).to_string()).collect::<Vec<_>>().join("|")
        }
    }
}

fn model_create(model: &mut Model, path: &str) {
    let mut at = Some(path);
    while let Some(p) = at {
        model.entry(p.to_string()).or_default();
        at = super::path::parent(p);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Write(String, u8),
    Mkdir(String),
    Rm(String),
    Read(String),
    Directory(String),
}

impl Op {
    fn path(&self) -> &str {
        match self {
            Self::Write(p, _) | Self::Mkdir(p) | Self::Rm(p) | Self::Read(p) | Self::Directory(p) => p,
        }
    }

    fn send(&self, s: &mut Server, tx: u32) -> String {
        let mut payload = format!("/m{}\0", self.path()).into_bytes();
        let kind = match self {
            Self::Write(_, value) => {
                payload.push(*value);
                Kind::Write
            }
            Self::Mkdir(_) => Kind::Mkdir,
            Self::Rm(_) => Kind::Rm,
            Self::Read(_) => Kind::Read,
            Self::Directory(_) => Kind::Directory,
        };
        ask_in(s, D0, tx, kind, &payload).0
    }
}

#[derive(Clone, Debug)]
enum Step {
    Plain(Op),
    Start,
    In(usize, Op),
    End(usize, bool),
}

fn any_op() -> impl Strategy<Value = Op> {
    let path =
        prop::sample::select(["/a", "/b", "/a/x", "/a/y", "/a/x/p", "/b/x"].map(String::from).to_vec());
    prop_oneof![
        3 => (path.clone(), b'0'..=b'9').prop_map(|(p, v)| Op::Write(p, v)),
        1 => path.clone().prop_map(Op::Mkdir),
        2 => path.clone().prop_map(Op::Rm),
        3 => path.clone().prop_map(Op::Read),
        2 => path.prop_map(Op::Directory),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any_op().prop_map(Step::Plain),
        1 => Just(Step::Start),
        5 => (0..3usize, any_op()).prop_map(|(t, op)| Step::In(t, op)),
        2 => (0..3usize, any::<bool>()).prop_map(|(t, commit)| Step::End(t, commit)),
    ]
}

fn dump(s: &Server) -> Model {
    s.tree().iter().filter(|(p, _)| p.starts_with("/m/")).map(|(p, n)| (p.clone(), n.value.clone())).collect()
}

/// An open transaction in the test: its number, its log, and how many commits had happened when it began.
type Open = (u32, Vec<(Op, String)>, usize);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Replies outside transactions equal the model's. A committed transaction equals running its requests at the moment
    /// of the commit, with the replies it got. EAGAIN happens only if something else was committed meanwhile.
    #[test]
    fn server_equals_model(steps in prop::collection::vec(any_step(), 1..80)) {
        let mut s = server();
        s.write("/m", b"").unwrap();
        let mut model = Model::from([("/m".to_string(), Vec::new()), ("/".to_string(), Vec::new())]);
        let mut open: Vec<Open> = Vec::new();
        let mut commits = 0;
        for step in steps {
            match step {
                Step::Plain(op) => {
                    prop_assert_eq!(op.send(&mut s, 0), model_run(&mut model, &op));
                    commits += 1;
                }
                Step::Start => {
                    if open.len() < 3 {
                        let id = ask(&mut s, D0, Kind::TransactionStart, b"\0").parse().unwrap();
                        open.push((id, Vec::new(), commits));
                    }
                }
                Step::In(t, op) => if let Some((id, log, _)) = open.get_mut(t) {
                    let reply = op.send(&mut s, *id);
                    log.push((op, reply));
                }
                Step::End(t, commit) => if t < open.len() {
                    let (id, log, began) = open.remove(t);
                    let flag: &[u8] = if commit { b"T\0" } else { b"F\0" };
                    let reply = ask_in(&mut s, D0, id, Kind::TransactionEnd, flag).0;
                    if !commit {
                        prop_assert_eq!(reply, "OK");
                    } else if reply == "OK" {
                        for (op, given) in &log {
                            prop_assert_eq!(&model_run(&mut model, op), given);
                        }
                        commits += 1;
                    } else {
                        prop_assert_eq!(reply, "!EAGAIN");
                        prop_assert!(commits > began, "EAGAIN without a reason");
                    }
                }
            }
            s.tree().check().unwrap();
            let below: Model = model.iter().filter(|(p, _)| p.starts_with("/m/")).map(|(p, v)| (p.clone(), v.clone())).collect();
            prop_assert_eq!(dump(&s), below);
        }
    }

    /// Whatever bytes come over the ring: no panic, bounded memory, sound tree.
    #[test]
    fn random_ring_bytes(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..40), small in any::<bool>()) {
        let (mut s, page) = (server(), TestPage::new());
        let mut ring = Ring::attach(&page);
        let mut prod = 0;
        for chunk in chunks {
            let bytes = if small {
                let kind = Header { kind: u32::from(*chunk.first().unwrap_or(&0)) % 24, req_id: 0, tx_id: 0, len: chunk.len() as u32 };
                [&kind.encode()[..], &chunk].concat()
            } else { chunk };
            if prod - page.load(2048) + bytes.len() as u32 <= 1024 {
                put(&page, &mut prod, &bytes);
            }
            ring.serve(&page, D1, &mut s);
            page.store(2056, page.load(2060));
        }
        s.tree().check().unwrap();
    }

    /// Every watch hears of what it is about, and of nothing else: found by an index, compared with looking at all of them.
    #[test]
    fn watches_equal_a_look_at_all(steps in prop::collection::vec(any_watch_step(), 1..60)) {
        let mut s = server();
        s.write("/m", b"").unwrap();
        s.set_perms("/m", super::perms::Perms::decode(b"b0\0").unwrap()).unwrap();
        let mut model = Model::from([("/m".to_string(), Vec::new()), ("/".to_string(), Vec::new())]);
        let mut watches: Vec<(DomId, String, u8)> = Vec::new();
        for step in steps {
            let mut expected: Vec<(DomId, String)> = Vec::new();
            match step {
                WatchStep::Watch(dom, path, token) => {
                    let reply = ask(&mut s, dom, Kind::Watch, format!("{path}\0{token}\0").as_bytes());
                    let known = watches.contains(&(dom, path.clone(), token));
                    prop_assert_eq!(reply, if known { "!EEXIST" } else { "OK" });
                    if !known {
                        watches.push((dom, path, token));
                    }
                }
                WatchStep::Unwatch(dom, path, token) => {
                    let reply = ask(&mut s, dom, Kind::Unwatch, format!("{path}\0{token}\0").as_bytes());
                    let at = watches.iter().position(|w| *w == (dom, path.clone(), token));
                    prop_assert_eq!(reply, if at.is_some() { "OK" } else { "!ENOENT" });
                    at.map(|at| watches.remove(at));
                }
                WatchStep::Reset(dom) => {
                    ask(&mut s, dom, Kind::ResetWatches, b"\0");
                    watches.retain(|w| w.0 != dom);
                }
                WatchStep::Change(op) => {
                    let path = format!("/m{}", op.path());
                    let existed: Vec<String> =
                        model.keys().filter(|p| super::path::is_at_or_below(p, &path)).cloned().collect();
                    model_run(&mut model, &op);
                    let is_new = !existed.contains(&path);
                    let told = match op {
                        Op::Write(..) => true,
                        Op::Mkdir(_) => is_new,
                        Op::Rm(_) => !is_new,
                        Op::Read(_) | Op::Directory(_) => false,
                    };
                    for (dom, watched, token) in watches.iter().filter(|_| told) {
                        if super::path::is_at_or_below(&path, watched) {
                            expected.push((*dom, format!("{path}|{token}")));
                        } else if matches!(op, Op::Rm(_)) && existed.contains(watched) {
                            expected.push((*dom, format!("{watched}|{token}")));
                        }
                    }
                    let mut payload = format!("{path}\0").into_bytes();
                    payload.extend(matches!(op, Op::Write(..)).then_some(b'v'));
                    let kind = match op {
                        Op::Write(..) => Kind::Write,
                        Op::Mkdir(_) => Kind::Mkdir,
                        Op::Rm(_) => Kind::Rm,
                        Op::Read(_) => Kind::Read,
                        Op::Directory(_) => Kind::Directory,
                    };
                    let header = Header { kind: kind as u32, req_id: 1, tx_id: 0, len: payload.len() as u32 };
                    s.request(D0, header, &payload);
                    let mut heard: Vec<(DomId, String)> = Vec::new();
                    for dom in [D0, D1] {
                        let events = drain(&mut s, dom).into_iter().filter(|m| m.header.kind == Kind::WatchEvent as u32);
                        heard.extend(events.map(|m| (dom, text(&m.payload))));
                    }
                    heard.sort();
                    expected.sort();
                    // Two watches with one token lead to equal events, of which one waits at a time.
                    expected.dedup();
                    prop_assert_eq!(heard, expected);
                }
            }
            drain(&mut s, D0);
            drain(&mut s, D1);
        }
    }
}

#[derive(Clone, Debug)]
enum WatchStep {
    Watch(DomId, String, u8),
    Unwatch(DomId, String, u8),
    Reset(DomId),
    Change(Op),
}

fn any_watch_step() -> impl Strategy<Value = WatchStep> {
    let dom = || prop::sample::select([D0, D1].to_vec());
    let path = || {
        prop::sample::select(
            ["/", "/m", "/m/a", "/m/a/x", "/m/a/x/p", "/m/b", "/m/b/x"].map(String::from).to_vec(),
        )
    };
    prop_oneof![
        4 => (dom(), path(), 0..2u8).prop_map(|(d, p, t)| WatchStep::Watch(d, p, t)),
        2 => (dom(), path(), 0..2u8).prop_map(|(d, p, t)| WatchStep::Unwatch(d, p, t)),
        1 => dom().prop_map(WatchStep::Reset),
        8 => any_op().prop_map(WatchStep::Change),
    ]
}
