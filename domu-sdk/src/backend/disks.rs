//! A domain that serves disks: a driver domain.
//!
//! The toolstack makes a directory `backend/vbd/DOMAIN/NUMBER` in this domain's home for each disk that a guest's configuration asks for with
//! `backend=NAME`; [`serve`] finds them, asks for each which [`storage`] it shows, and serves the front ends, until the directory is gone.
//!
//! ```no_run
//! use domu_sdk::backend::disks::{self, storage::{Ram, share}};
//!
//! # async fn example() -> domu_sdk::store::Result {
//! // Each disk is a megabyte of this domain's memory, and new.
//! disks::serve(|_wanted| Ram::new(1 << 20).map(share)).await
//! # }
//! ```
//!
//! **Trust.** A front end that breaks the protocol loses its device, with the reason under `error` of this domain's home. What one can cost
//! is said in [`backend::block`].

use super::Peers;
use crate::{
    executor,
    grant::GrantMapping,
    store::{self, Error, Store, Watch},
};
use abi::{errno::Errno, io::xenbus::XenbusState};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
pub use backend::block::storage;
use backend::{
    DomId,
    block::{Connection, Nodes, queue::Scratch},
    peer::Claims,
    phase::{Phase, Step, step},
};
use core::{future::poll_fn, pin::pin, task::Poll};
use storage::Shared;

/// The directory of this domain's disks.
const HOME: &str = "backend/vbd";
/// Longest value of a front end that is looked at.
const VALUE_MAX: usize = 64;
/// Disks at most.
const DISKS_MAX: usize = 64;

/// A disk that the toolstack wants, in the words of the guest's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The guest.
    pub domain: crate::types::DomId,
    /// Its name for the disk, such as `xvda`.
    pub device: String,
    /// What `target=` says.
    pub target: String,
    /// Whether the guest may write.
    pub writable: bool,
}

/// A guest's number and the disk's: its directory.
type Key = (u16, u32);

/// A disk that is shown.
struct Served {
    connection: Connection<'static, GrantMapping>,
    phase: Phase,
    back: String,
    front: String,
    /// Reports of the front end's state.
    watch: Watch,
}

/// Serves disks for ever. `open` says what a wanted disk shows, or why there is none, which its front end then waits for in vain.
///
/// # Errors
/// If there is no store, or it breaks.
pub async fn serve(open: impl FnMut(&Wanted) -> Result<Shared<'static>, String>) -> store::Result {
    let store = store::get().ok_or(Error::Broken)?;
    let watch = store.watch(HOME).await?;
    let (peers, scratch, disks) = (Peers::default(), Scratch::default(), BTreeMap::new());
    let mut server = Server { store, peers, scratch, disks, refused: Vec::new(), open };
    let mut more = false;
    loop {
        // Also between rounds: a front end that never rests keeps nobody from coming or going.
        if server.news(&watch, !more).await? {
            server.look().await?;
        }
        more = server.round().await?;
        if more {
            executor::yield_now().await;
        }
    }
}

struct Server<F> {
    store: Store,
    peers: Peers,
    scratch: Scratch,
    disks: BTreeMap<Key, Served>,
    /// Directories that name a disk which there is not; they are looked at once.
    refused: Vec<Key>,
    open: F,
}

impl<F: FnMut(&Wanted) -> Result<Shared<'static>, String>> Server<F> {
    /// Whether there is news in the store. If need be, waits until there is something to do.
    async fn news(&self, watch: &Watch, wait: bool) -> store::Result<bool> {
        poll_fn(|context| {
            let mut rung = false;
            for channel in self.peers.channels() {
                channel.register(context);
                rung |= channel.take();
            }
            // All that is reported now is answered with one look.
            let mut told = false;
            for watch in self.disks.values().map(|disk| &disk.watch).chain([watch]) {
                while let Poll::Ready(report) = pin!(watch.next()).poll(context) {
                    report?;
                    told = true;
                }
            }
            if told || rung || !wait { Poll::Ready(Ok(told)) } else { Poll::Pending }
        })
        .await
    }

    /// Looks at all directories, and at all front ends.
    async fn look(&mut self) -> store::Result {
        let there = self.directories().await?;
        self.refused.retain(|key| there.contains(key));
        let gone: Vec<Key> = self.disks.keys().filter(|key| !there.contains(key)).copied().collect();
        for key in gone {
            if let Some(mut disk) = self.disks.remove(&key) {
                disk.connection.release(&mut self.peers);
                log::info!("disk {} of domain {}: gone", key.1, key.0);
            }
        }
        for key in there {
            let fresh = !self.disks.contains_key(&key) && !self.refused.contains(&key);
            if fresh && self.disks.len() < DISKS_MAX {
                tolerate(self.begin(key).await)?;
            }
            tolerate(self.follow(key).await)?;
        }
        Ok(())
    }

    /// What the toolstack has made.
    async fn directories(&self) -> store::Result<Vec<Key>> {
        let mut keys = Vec::new();
        for dom in missing_is(Vec::new(), self.store.directory(HOME).await)? {
            let numbers = self.store.directory(&format!("{HOME}/{dom}")).await;
            for number in missing_is(Vec::new(), numbers)? {
                if let (Ok(dom), Ok(number)) = (dom.parse(), number.parse()) {
                    keys.push((dom, number));
                }
            }
        }
        Ok(keys)
    }

    /// A new directory: opens what it asks for.
    async fn begin(&mut self, key: Key) -> store::Result {
        let back = format!("{HOME}/{}/{}", key.0, key.1);
        let text = async |name: &str| {
            missing_is(String::new(), self.store.read_text(&format!("{back}/{name}")).await)
        };
        let (front, mode) = (text("frontend").await?, text("mode").await?);
        let (device, target) = (text("dev").await?, text("params").await?);
        if front.is_empty() || mode.is_empty() {
            // The toolstack has not finished; it will be reported again.
            return Ok(());
        }
        let wanted = Wanted { domain: crate::types::DomId(key.0), device, target, writable: mode == "w" };
        match (self.open)(&wanted) {
            Ok(storage) => {
                let watch = self.store.watch(&format!("{front}/state")).await?;
                let connection = Connection::new(DomId(key.0), storage, wanted.writable, true);
                self.disks.insert(key, Served { connection, phase: Phase::Closed, back, front, watch });
            }
            Err(why) => {
                self.refused.push(key);
                self.fail(key, &back, &why).await?;
            }
        }
        Ok(())
    }

    /// Does what the front end's state asks for.
    async fn follow(&mut self, key: Key) -> store::Result {
        let Some(disk) = self.disks.get_mut(&key) else { return Ok(()) };
        let state = self.store.read_as::<u32>(&format!("{}/state", disk.front)).await;
        let state = match state {
            Ok(number) => XenbusState::from_number(number).unwrap_or(XenbusState::Unknown),
            Err(Error::Broken) => return Err(Error::Broken),
            Err(_) => XenbusState::Unknown,
        };
        let (next, back) = match step(state, disk.phase) {
            Step::Nothing => return Ok(()),
            Step::Offer | Step::Again => {
                disk.connection.release(&mut self.peers);
                let offers = disk.connection.offers();
                tell(&self.store, &disk.back, offers).await?;
                (Phase::Offered, XenbusState::InitWait)
            }
            Step::Connect => {
                let said = claims(&self.store, &disk.front).await?;
                let connected =
                    disk.connection.connect(&mut self.peers, Claims(&|key| said.get(key).cloned()));
                match connected {
                    Ok(told) => {
                        tell(&self.store, &disk.back, told).await?;
                        (Phase::Connected, XenbusState::Connected)
                    }
                    Err(why) => return self.end(key, &why).await,
                }
            }
            Step::Wait => (disk.phase, XenbusState::Closing),
            Step::End => {
                disk.connection.release(&mut self.peers);
                (Phase::Closed, XenbusState::Closed)
            }
        };
        disk.phase = next;
        set_state(&self.store, &disk.back, back).await
    }

    /// A round over all rings; whether there is more to do.
    async fn round(&mut self) -> store::Result<bool> {
        let (mut more, mut broken) = (false, Vec::new());
        for (key, disk) in &mut self.disks {
            match disk.connection.serve(&mut self.peers, &mut self.scratch) {
                Ok(left) => more |= left,
                Err(why) => broken.push((*key, why)),
            }
        }
        for (key, why) in broken {
            tolerate(self.end(key, &why).await)?;
        }
        Ok(more)
    }

    /// The front end broke the protocol: says why, and closes the device.
    async fn end(&mut self, key: Key, why: &str) -> store::Result {
        let Some(disk) = self.disks.get_mut(&key) else { return Ok(()) };
        disk.connection.release(&mut self.peers);
        disk.phase = Phase::Closed;
        let back = disk.back.clone();
        self.fail(key, &back, why).await
    }

    async fn fail(&self, key: Key, back: &str, why: &str) -> store::Result {
        log::warn!("disk {} of domain {}: {why}", key.1, key.0);
        // The directory may be gone by now, and the word is for people only.
        let error = self.store.write(&format!("error/{back}/error"), why).await;
        missing_is((), error)?;
        set_state(&self.store, back, XenbusState::Closed).await
    }
}

/// What the store refuses concerns one device, and ends nothing; only a broken connection does.
fn tolerate(outcome: store::Result) -> store::Result {
    match outcome {
        Err(error) if error != Error::Broken => {
            log::warn!("disks: {error}");
            Ok(())
        }
        other => other,
    }
}

/// What a domain does not say, or must not know, is `default`.
fn missing_is<T>(default: T, answer: store::Result<T>) -> store::Result<T> {
    match answer {
        Err(Error::Refused(Errno::ENOENT | Errno::EACCES)) => Ok(default),
        other => other,
    }
}

/// Writes nodes of the back end's directory. One that was removed meanwhile is not made again: it has no `frontend`.
async fn tell(store: &Store, back: &str, nodes: Nodes) -> store::Result {
    for (key, value) in nodes {
        put(store, back, key, &value).await?;
    }
    Ok(())
}

async fn set_state(store: &Store, back: &str, state: XenbusState) -> store::Result {
    put(store, back, "state", &(state as u32).to_string()).await
}

async fn put(store: &Store, back: &str, key: &str, value: &str) -> store::Result {
    loop {
        let transaction = store.transaction().await?;
        match transaction.read(&format!("{back}/frontend")).await {
            Err(Error::Refused(_)) => return Ok(()),
            other => other?,
        };
        missing_is((), transaction.write(&format!("{back}/{key}"), value).await)?;
        if transaction.commit().await? {
            return Ok(());
        }
    }
}

/// What a front end says: its directory, and those of its queues.
async fn claims(store: &Store, front: &str) -> store::Result<BTreeMap<String, String>> {
    let mut said = BTreeMap::new();
    for name in missing_is(Vec::new(), store.directory(front).await)? {
        let below = missing_is(Vec::new(), store.directory(&format!("{front}/{name}")).await)?;
        for key in below.iter().map(|key| format!("{name}/{key}")).chain([name.clone()]) {
            match store.read_text(&format!("{front}/{key}")).await {
                Ok(value) if value.len() <= VALUE_MAX => drop(said.insert(key, value)),
                Err(Error::Broken) => return Err(Error::Broken),
                _ => {}
            }
        }
    }
    Ok(said)
}
