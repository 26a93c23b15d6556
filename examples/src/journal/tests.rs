//! Power cuts at any moment, on a disk that keeps of what was not flushed whatever it likes.

use super::*;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Runs a future that never waits.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// A sector's number and what was in it.
type Before = (usize, [u8; SECTOR]);

/// A disk whose power fails after so many writes and flushes.
#[derive(Clone)]
struct Fragile {
    sectors: Rc<RefCell<Vec<[u8; SECTOR]>>>,
    /// Sectors written since the last flush, as they were before.
    unsure: Rc<RefCell<Vec<Before>>>,
    left: Rc<Cell<u32>>,
    random: Rc<Cell<u64>>,
}

impl Fragile {
    fn new(sectors: usize, seed: u64) -> Self {
        Self {
            sectors: Rc::new(RefCell::new(vec![[0xa5; SECTOR]; sectors])),
            unsure: Rc::default(),
            left: Rc::new(Cell::new(u32::MAX)),
            random: Rc::new(Cell::new(seed | 1)),
        }
    }

    fn next(&self, below: u64) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        (x >> 20) % below
    }

    fn work(&self) -> Result<(), &'static str> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        if left == 0 { Err("no power") } else { Ok(()) }
    }

    /// Power is back; of each sector that was not flushed there is the old or the new.
    fn restart(&self) {
        for (at, old) in self.unsure.borrow_mut().drain(..).rev() {
            if self.next(2) == 0 {
                self.sectors.borrow_mut()[at] = old;
            }
        }
        self.left.set(u32::MAX);
    }
}

impl Sectors for Fragile {
    type Error = &'static str;
    fn count(&self) -> u64 {
        self.sectors.borrow().len() as u64
    }
    async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), &'static str> {
        for (i, piece) in into.chunks_exact_mut(SECTOR).enumerate() {
            piece.copy_from_slice(&self.sectors.borrow()[sector as usize + i]);
        }
        Ok(())
    }
    async fn write(&self, sector: u64, from: &[u8]) -> Result<(), &'static str> {
        for (i, piece) in from.chunks_exact(SECTOR).enumerate() {
            self.work()?;
            let at = sector as usize + i;
            self.unsure.borrow_mut().push((at, self.sectors.borrow()[at]));
            self.sectors.borrow_mut()[at].copy_from_slice(piece);
        }
        Ok(())
    }
    async fn flush(&self) -> Result<(), &'static str> {
        self.work()?;
        self.unsure.borrow_mut().clear();
        Ok(())
    }
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let mut moved = 0;
    for seed in 1..=200 {
        let disk = Fragile::new(128, seed << 32 | 0x9e37_79b9);
        // What must be there; and the one change of which nobody knows.
        let mut sure: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut unsure: Option<(Vec<u8>, Option<Vec<u8>>)> = None;
        for _life in 0..12 {
            disk.restart();
            let mut journal = now(Journal::open(disk.clone())).unwrap();
            if let Some((key, value)) = unsure.take()
                && journal.get(&key) == value.as_deref()
            {
                match value {
                    Some(value) => sure.insert(key, value),
                    None => sure.remove(&key),
                };
            }
            assert_eq!(journal.pairs, sure, "seed {seed}");
            disk.left.set(disk.next(120) as u32);
            loop {
                let key = vec![b'a' + disk.next(10) as u8; 1 + disk.next(30) as usize];
                let value = vec![disk.next(256) as u8; disk.next(700) as usize];
                let value = (disk.next(4) > 0).then_some(value);
                let done = match &value {
                    Some(value) => now(journal.set(&key, value)),
                    None => now(journal.remove(&key)).map(|_| ()),
                };
                match (done, value) {
                    (Ok(()), Some(value)) => drop(sure.insert(key, value)),
                    (Ok(()), None) => drop(sure.remove(&key)),
                    (Err(Refusal::Full), _) => {}
                    (Err(Refusal::Disk(_)), value) => {
                        assert_eq!(now(journal.set(b"x", b"")), Err(Refusal::Failed));
                        unsure = Some((key, value));
                        break;
                    }
                    (Err(other), _) => panic!("{other:?}"),
                }
            }
            moved = moved.max(journal.generation());
        }
    }
    assert!(moved > 3, "the pairs moved {moved} times");
}

#[test]
fn lengths_and_room_are_limited() {
    let mut journal = now(Journal::open(Fragile::new(32, 1))).unwrap();
    assert_eq!(now(journal.set(b"", b"x")), Err(Refusal::Length));
    assert_eq!(now(journal.set(&[1; KEY_MAX + 1], b"x")), Err(Refusal::Length));
    assert_eq!(now(journal.set(b"a", &[0; VALUE_MAX + 1])), Err(Refusal::Length));
    let mut count = 0;
    while now(journal.set(&[b'k', count], &[count; 100])).is_ok() {
        count += 1;
    }
    assert_eq!(count, 8);
    assert_eq!(now(journal.set(b"more", b"")), Err(Refusal::Full));
    for round in 0..100u8 {
        assert_eq!(now(journal.remove(b"k\0")), Ok(true));
        assert_eq!(now(journal.set(b"k\0", &[round])), Ok(()));
    }
    assert_eq!(journal.get(b"k\0"), Some(&[99][..]));
    assert_eq!((journal.len(), now(journal.remove(b"none"))), (8, Ok(false)));
}
