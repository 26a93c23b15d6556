//! Split devices, seen from the front end: finding them, and the states on the way up and down.
//!
//! A device has two directories in the store: the front end's, in this domain's home (`device/CLASS/NUMBER`), and the back end's, which it names.
//! Each side writes its `state` and watches the other's (public header `io/xenbus.h`):
//!
//! | step | front end | back end |
//! |---|---|---|
//! | the toolstack made the device | `Initialising` | `Initialising` |
//! | the back end says what it can | `Initialising` | `InitWait` |
//! | the front end has written rings and channels | `Initialised` | `InitWait` |
//! | the back end has mapped them | `Initialised` | `Connected` |
//! | requests flow | `Connected` | `Connected` |
//! | the way down, begun by either | `Closing`, `Closed` | `Closing`, `Closed` |
//!
//! [`Frontend`] is one device. What it offers to a back end is written in one transaction ([`Frontend::publish`]), so the other side
//! sees all of it or nothing.
//!
//! ```ignore
//! for number in xenbus::list("vbd").await? {
//!     let device = Frontend::open("vbd", number).await?;
//!     println!("{}: {:?}", device.path(), device.back_state().await?);
//! }
//! ```

use crate::{
    store::{self, Store},
    suspend,
    sync::MaskedMutex,
    types::DomId,
};
use abi::errno::Errno;
pub use abi::io::xenbus::XenbusState as State;
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::{fmt, str::FromStr};

/// Something about a device failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// This domain has no store.
    NoStore,
    /// The store failed.
    Store(store::Error),
    /// There is no such device; the value is its directory.
    NoDevice(String),
    /// The back end ended in this state instead of going on.
    Ended(State),
    /// A value of the other side makes no sense: its node, and the value.
    Value(String, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStore => write!(f, "this domain has no store"),
            Self::Store(error) => error.fmt(f),
            Self::NoDevice(path) => write!(f, "there is no device {path}"),
            Self::Ended(state) => write!(f, "the back end went to {state:?}"),
            Self::Value(node, value) => write!(f, "the back end's {node} is {value:?}"),
        }
    }
}

impl core::error::Error for Error {}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Result of an operation on a device.
pub type Result<T = ()> = core::result::Result<T, Error>;

fn the_store() -> Result<Store> {
    store::get().ok_or(Error::NoStore)
}

/// Numbers of this domain's devices of a class, such as `vbd` or `vif`, in ascending order.
pub async fn list(class: &str) -> Result<Vec<u32>> {
    let names = match the_store()?.directory(&format!("device/{class}")).await {
        Err(store::Error::Refused(Errno::ENOENT)) => Vec::new(),
        other => other?,
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl Back {
    async fn read(store: &Store, front: &str) -> Result<Self> {
        let restored = suspend::restored();
        let read = async |key: &str| store.read_text(&format!("{front}/{key}")).await;
        let folder = match read("backend").await {
            Err(store::Error::Refused(Errno::ENOENT)) => return Err(Error::NoDevice(front.to_string())),
            other => other?,
        };
        let domain = read("backend-id").await?;
        let number = domain.trim().parse().map_err(|_| Error::Value("backend-id".to_string(), domain))?;
        Ok(Self { folder, domain: DomId(number), restored })
    }
}

/// A device of this domain.
#[derive(Clone, Debug)]
pub struct Frontend {
    store: Store,
    front: String,
    back: Arc<MaskedMutex<Back>>,
}

/// Where the back end is. It moves when this domain is restored.
#[derive(Clone, Debug)]
struct Back {
    folder: String,
    domain: DomId,
    /// How often this domain had been restored when this was read.
    restored: u32,
}

impl Frontend {
    /// Finds a device that the toolstack made.
    pub async fn open(class: &str, number: u32) -> Result<Self> {
        let store = the_store()?;
        let front = format!("device/{class}/{number}");
        let back = Back::read(&store, &front).await?;
        Ok(Self { store, front, back: Arc::new(MaskedMutex::new(back)) })
    }

    /// The domain that serves the device.
    pub fn backend(&self) -> DomId {
        self.back.lock().domain
    }

    /// The back end's directory.
    fn back(&self) -> String {
        self.back.lock().folder.clone()
    }

    /// Looks where the back end is, if this domain was restored since it was looked last. A device that is gone stays where it was.
    async fn refresh(&self) -> Result {
        if self.back.lock().restored == suspend::restored() {
            return Ok(());
        }
        match Back::read(&self.store, &self.front).await {
            Ok(back) => *self.back.lock() = back,
            Err(Error::NoDevice(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The device's directory in this domain's home.
    pub fn path(&self) -> &str {
        &self.front
    }

    /// The state this side is in.
    pub async fn state(&self) -> Result<State> {
        self.state_at(&self.front).await
    }

    /// The state the back end is in.
    pub async fn back_state(&self) -> Result<State> {
        self.state_at(&self.back()).await
    }

    async fn state_at(&self, folder: &str) -> Result<State> {
        match self.store.read_as::<u32>(&format!("{folder}/state")).await {
            Ok(number) => Ok(State::from_number(number).unwrap_or(State::Unknown)),
            Err(store::Error::Refused(Errno::ENOENT)) => Ok(State::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the back end this side's state.
    pub async fn set_state(&self, state: State) -> Result {
        let number = (state as u32).to_string();
        Ok(self.store.write(&format!("{}/state", self.front), number).await?)
    }

    /// Waits until `decide` makes something of the back end's state; it is asked at once, and after each change.
    pub async fn wait<T>(&self, mut decide: impl FnMut(State) -> Option<Result<T>>) -> Result<T> {
        loop {
            self.refresh().await?;
            let back = self.back();
            let watch = self.store.watch(&format!("{back}/state")).await?;
            loop {
                watch.next().await?;
                self.refresh().await?;
                if self.back() != back {
                    break;
                }
                if let Some(outcome) = decide(self.back_state().await?) {
                    return outcome;
                }
            }
        }
    }

    /// Waits until the back end is in `wanted`. Fails if it ends.
    pub async fn wait_for(&self, wanted: State) -> Result {
        self.wait(|state| match state {
            _ if state == wanted => Some(Ok(())),
            State::Closing | State::Closed => Some(Err(Error::Ended(state))),
            _ => None,
        })
        .await
    }

    /// Begins anew, whatever was before, and waits until the back end says what it can.
    pub async fn begin(&self) -> Result {
        if self.state().await? != State::Initialising {
            // A front end that ran before in this domain; the back end lets go of it first.
            if self.back_state().await? == State::Connected {
                self.close().await?;
            }
            self.set_state(State::Initialising).await?;
        }
        // A back end that served another front end before is closed, and begins anew, too.
        self.wait(|state| (state == State::InitWait).then_some(Ok(()))).await
    }

    /// Writes values into this side's directory, all at once, and then goes to `state`.
    pub async fn publish(&self, values: &[(String, String)], state: State) -> Result {
        loop {
            let transaction = self.store.transaction().await?;
            for (key, value) in values {
                transaction.write(&format!("{}/{key}", self.front), value).await?;
            }
            transaction.write(&format!("{}/state", self.front), (state as u32).to_string()).await?;
            if transaction.commit().await? {
                return Ok(());
            }
        }
    }

    /// Removes values of this side's directory that an earlier front end may have left.
    pub async fn withdraw(&self, keys: &[&str]) -> Result {
        for key in keys {
            match self.store.rm(&format!("{}/{key}", self.front)).await {
                Ok(()) | Err(store::Error::Refused(Errno::ENOENT)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What the back end says under `key`, if anything.
    pub async fn back_text(&self, key: &str) -> Result<Option<String>> {
        match self.store.read_text(&format!("{}/{key}", self.back())).await {
            Ok(text) => Ok(Some(text)),
            Err(store::Error::Refused(Errno::ENOENT)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the toolstack said in this side's directory under `key`, if anything.
    pub async fn front_text(&self, key: &str) -> Result<Option<String>> {
        match self.store.read_text(&format!("{}/{key}", self.front)).await {
            Ok(text) => Ok(Some(text)),
            Err(store::Error::Refused(Errno::ENOENT)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A number of this side's directory; `default` if there is none.
    pub async fn front_number<T: FromStr>(&self, key: &str, default: T) -> Result<T> {
        match self.front_text(key).await? {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| Error::Value(key.to_string(), text)),
        }
    }

    /// A number that the back end says under `key`; `default` if it says nothing.
    pub async fn back_number<T: FromStr>(&self, key: &str, default: T) -> Result<T> {
        match self.back_text(key).await? {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| Error::Value(key.to_string(), text)),
        }
    }

    /// Whether the back end says `1` under `key`.
    pub async fn back_offers(&self, key: &str) -> Result<bool> {
        Ok(self.back_number::<u32>(key, 0).await? == 1)
    }

    /// Ends the connection; returns when the back end has let go of everything, or is gone.
    pub async fn close(&self) -> Result {
        self.set_state(State::Closing).await?;
        self.wait(|state| match state {
            State::Closing | State::Closed | State::Unknown => Some(Ok(())),
            _ => None,
        })
        .await?;
        self.set_state(State::Closed).await?;
        self.wait(|state| match state {
            State::Closed | State::Unknown => Some(Ok(())),
            _ => None,
        })
        .await
    }

    /// Waits until the back end begins to end, as when the device is taken away.
    pub async fn ended(&self) -> Result<State> {
        self.wait(|state| match state {
            State::Closing | State::Closed | State::Unknown => Some(Ok(state)),
            _ => None,
        })
        .await
    }
}
