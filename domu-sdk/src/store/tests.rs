//! The client against a small server on the other side of the rings.

use super::{wire::Assembler, *};
use crate::{
    executor::{self, Executor},
    memory::SharedPages,
    ring::ByteRing,
};
use abi::io::xs_wire::{XS_ERROR, XS_WATCH_EVENT, XenstoreDomainInterface};
use alloc::collections::BTreeMap;
use core::mem::offset_of;

const REQUESTS: ByteRing = ByteRing {
    data: 0,
    size: 1024,
    consumer: offset_of!(XenstoreDomainInterface, req_cons),
    producer: offset_of!(XenstoreDomainInterface, req_prod),
};
const ANSWERS: ByteRing = ByteRing {
    data: 1024,
    size: 1024,
    consumer: offset_of!(XenstoreDomainInterface, rsp_cons),
    producer: offset_of!(XenstoreDomainInterface, rsp_prod),
};

/// Answers from a flat map; writing reports to every watch.
#[derive(Default)]
struct Server {
    nodes: BTreeMap<String, Vec<u8>>,
    watches: Vec<(String, String)>,
    incoming: Assembler,
    outgoing: Vec<u8>,
}

impl Server {
    fn answer(&mut self, kind: u32, request: u32, payload: &[u8]) {
        self.outgoing.extend(wire::encode(kind, request, 0, &[payload]).expect("short"));
    }

    fn work(&mut self, page: &SharedMem) {
        let mut piece = [0; 100];
        loop {
            let count = REQUESTS.pop(page, &mut piece).expect("a well-behaved client");
            if count == 0 {
                break;
            }
            self.incoming.push(&piece[..count]);
            while let Some(message) = self.incoming.pop().expect("a well-behaved client") {
                self.handle(&message);
            }
        }
        let count = ANSWERS.push(page, &self.outgoing).expect("a well-behaved client");
        self.outgoing.drain(..count);
    }

    fn handle(&mut self, message: &wire::Message) {
        let (kind, request) = (message.header.type_, message.header.req_id);
        let parts: Vec<&[u8]> = message.payload.splitn(2, |&byte| byte == 0).collect();
        let path = String::from_utf8(parts[0].to_vec()).expect("text");
        match kind {
            XS_READ => match self.nodes.get(&path).cloned() {
                Some(value) => self.answer(kind, request, &value),
                None => self.answer(XS_ERROR, request, b"ENOENT\0"),
            },
            XS_WRITE => {
                self.nodes.insert(path.clone(), parts[1].to_vec());
                self.answer(kind, request, b"OK\0");
                for (watched, token) in self.watches.clone() {
                    if path.starts_with(&watched) {
                        self.answer(XS_WATCH_EVENT, 0, format!("{path}\0{token}\0").as_bytes());
                    }
                }
            }
            XS_WATCH => {
                let token = text(parts[1].to_vec()).expect("text");
                self.answer(XS_WATCH_EVENT, 0, format!("{path}\0{token}\0").as_bytes());
                self.watches.push((path, token));
                self.answer(kind, request, b"OK\0");
            }
            XS_UNWATCH => {
                self.watches.clear();
                self.answer(kind, request, b"OK\0");
            }
            XS_DIRECTORY => self.answer(kind, request, b"a\0bc\0"),
            XS_TRANSACTION_START => self.answer(kind, request, b"17\0"),
            XS_TRANSACTION_END if message.header.tx_id == 17 => self.answer(XS_ERROR, request, b"EAGAIN\0"),
            _ => self.answer(XS_ERROR, request, b"ENOSYS\0"),
        }
    }
}

/// Runs a client; the server works whenever the client can do nothing.
fn with_server<T>(client: impl AsyncFnOnce(Store) -> T) -> (T, Server) {
    let page: &'static SharedPages = Box::leak(Box::new(SharedPages::new(1).expect("memory")));
    let link: &'static Link =
        Box::leak(Box::new(Link::new(page.slice(0, 4096).whole(), Channel::adopt(Port(9)))));
    let mut server = Server::default();
    let output = Executor::new().run(client(Store { link, transaction: 0 }), &mut || None, &mut |_| {
        server.work(page);
        link.kick();
    });
    (output, server)
}

#[test]
fn values_come_back() {
    with_server(async |store| {
        store.write("name", "guest").await.expect("written");
        assert_eq!(store.read_text("name").await.as_deref(), Ok("guest"));
        assert_eq!(store.read("none").await, Err(Error::Refused(Errno::ENOENT)));
        assert_eq!(store.exists("none").await, Ok(false));
        assert_eq!(store.directory("device").await, Ok(alloc::vec!["a".into(), "bc".into()]));
    });
}

#[test]
fn values_longer_than_the_ring() {
    with_server(async |store| {
        let value = alloc::vec![b'x'; 3000];
        store.write("long", &value).await.expect("written");
        assert_eq!(store.read("long").await, Ok(value));
        assert_eq!(store.write("long", [0; 4096]).await, Err(Error::TooLong));
    });
}

#[test]
fn watches_report_and_end() {
    let ((), server) = with_server(async |store| {
        let watch = store.watch("control").await.expect("watched");
        assert_eq!(watch.next().await.as_deref(), Ok("control"));
        store.write("control/shutdown", "halt").await.expect("written");
        assert_eq!(watch.next().await.as_deref(), Ok("control/shutdown"));
        drop(watch);
        store.write("control/shutdown", "").await.expect("written");
    });
    assert!(server.watches.is_empty());
}

#[test]
fn transaction_that_collides_says_so() {
    with_server(async |store| {
        let transaction = store.transaction().await.expect("started");
        transaction.write("a", "1").await.expect("written");
        assert_eq!(transaction.commit().await, Ok(false));
    });
}

#[test]
fn answers_find_their_requests() {
    with_server(async |store| {
        store.write("a", "1").await.expect("written");
        store.write("b", "2").await.expect("written");
        let mut first = core::pin::pin!(store.read("a"));
        let mut second = core::pin::pin!(store.read("b"));
        // The second is waited for first; the first one's answer is kept for it.
        let mut early = None;
        let b = core::future::poll_fn(|context| {
            if early.is_none()
                && let core::task::Poll::Ready(answer) = first.as_mut().poll(context)
            {
                early = Some(answer);
            }
            second.as_mut().poll(context)
        })
        .await;
        let a = match early {
            Some(answer) => answer,
            None => first.await,
        };
        assert_eq!((a, b), (Ok(b"1".to_vec()), Ok(b"2".to_vec())));
    });
}

#[test]
fn hostile_server_ends_the_connection() {
    let page: &'static SharedPages = Box::leak(Box::new(SharedPages::new(1).expect("memory")));
    page.store_u32(offset_of!(XenstoreDomainInterface, rsp_prod), 5000);
    let store = Store::connect(page.slice(0, 4096).whole(), Channel::adopt(Port(10)));
    assert_eq!(executor::block_on(store.read("x")), Err(Error::Broken));
}
