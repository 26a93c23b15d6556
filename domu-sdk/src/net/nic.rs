//! A network interface: Ethernet frames in and out.

use super::{
    checksum,
    ring::{Inbox, Outbox},
};
use crate::{
    events::Channel,
    grant::{Access, Grant},
    hypercall::grant::GrantError,
    memory::SharedPages,
    suspend,
    xenbus::{self, Frontend, State},
};
use abi::errno::Errno;
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::fmt;

/// Pages for frames that leave, and for frames that come.
const OUT: usize = 128;
const IN: usize = 224;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Something about an interface failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The store, or the back end's directory.
    Device(xenbus::Error),
    /// A grant was refused.
    Grant(GrantError),
    /// An event channel was refused.
    Channel(Errno),
    /// There is not enough memory.
    NoMemory,
    /// The back end broke the protocol; the interface is of no use any more.
    Broken,
    /// What the command line says about the network makes no sense.
    Setting(String),
    /// A connection was refused, reset or timed out.
    Refused,
    /// A connection is closed in this direction.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::Grant(error) => error.fmt(f),
            Self::Channel(errno) => write!(f, "no event channel: {errno}"),
            Self::NoMemory => write!(f, "not enough memory for an interface"),
            Self::Broken => write!(f, "the back end broke the network protocol"),
            Self::Setting(text) => {
                write!(f, "{text:?} is no address; it looks like ip=10.0.2.15/24,gw=10.0.2.2")
            }
            Self::Refused => write!(f, "the connection was refused, reset or timed out"),
            Self::Closed => write!(f, "the connection is closed"),
        }
    }
}

impl core::error::Error for Error {}

impl From<xenbus::Error> for Error {
    fn from(error: xenbus::Error) -> Self {
        Self::Device(error)
    }
}

impl From<GrantError> for Error {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

/// Result of an operation on an interface.
pub type Result<T = ()> = core::result::Result<T, Error>;

/// What went through an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames sent.
    pub sent: u64,
    /// Frames received.
    pub received: u64,
    /// Frames dropped because their checksum was wrong.
    pub damaged: u64,
    /// Frames that the back end could not copy.
    pub errors: u64,
}

/// A network interface of this domain, connected.
///
/// TCP and UDP checksums (over IPv4) are the interface's business: it leaves them blank in what it sends, and what it hands out was
/// checked if it came from outside the machine.
#[derive(Debug)]
pub struct Nic {
    // Dropped first: the rings' users end before the grants do.
    outbox: Outbox,
    inbox: Inbox,
    channel: Arc<Channel>,
    mac: Mac,
    mtu: usize,
    broken: bool,
    counts: Counts,
    frontend: Frontend,
    /// How often the domain had been restored when this was connected.
    restored: u32,
    /// Grants of the two rings, the first ones, and of the pages for data.
    grants: Vec<Grant>,
}

/// The way up of an interface whose rings are fresh.
pub(super) struct Link {
    frontend: Frontend,
    values: Vec<(String, String)>,
}

impl Link {
    /// Tells the back end, and waits for it.
    pub(super) async fn connect(self) -> Result {
        self.frontend.publish(&self.values, State::Connected).await?;
        Ok(self.frontend.wait_for(State::Connected).await?)
    }
}

impl Nic {
    /// Connects interface `number` (`device/vif/NUMBER`); waits for its back end.
    pub async fn open(number: u32) -> Result<Self> {
        let frontend = Frontend::open("vif", number).await?;
        let gathers = greet(&frontend).await?;
        let mac = read_mac(&frontend).await?;
        let mtu = frontend.front_number("mtu", 1500_usize).await?.clamp(68, 65521);
        let mut parts = Parts { frontend: &frontend, grants: Vec::new() };
        let (out_ring, out_grant) = parts.pages(1, Access::ReadWrite)?;
        let (in_ring, in_grant) = parts.pages(1, Access::ReadWrite)?;
        let (out_data, out_references) = parts.pages(OUT, Access::Read)?;
        let (in_data, in_references) = parts.pages(IN, Access::ReadWrite)?;
        let grants = parts.grants;
        let outbox = Outbox::new(out_ring, out_data, out_references, gathers);
        let inbox = Inbox::new(in_ring, in_data, in_references);
        let channel = Channel::alloc_unbound(frontend.backend()).map_err(Error::Channel)?;
        let (channel, counts) = (Arc::new(channel), Counts::default());
        let restored = suspend::restored();
        debug_assert_eq!([grants[0].reference().0, grants[1].reference().0], [out_grant[0], in_grant[0]]);
        let mut nic =
            Self { outbox, inbox, channel, mac, mtu, broken: false, counts, frontend, restored, grants };
        nic.link().connect().await?;
        nic.flush();
        Ok(nic)
    }

    fn link(&self) -> Link {
        let [out, back] = [0, 1].map(|ring: usize| self.grants[ring].reference().0);
        let values = [
            ("tx-ring-ref", out.to_string()),
            ("rx-ring-ref", back.to_string()),
            ("event-channel", self.channel.port().0.to_string()),
            ("request-rx-copy", "1".to_string()),
            ("feature-rx-notify", "1".to_string()),
            ("feature-sg", "1".to_string()),
        ];
        let values = values.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        Link { frontend: self.frontend.clone(), values }
    }

    /// Whether the domain was restored since this was connected: then nothing comes and goes before [`Nic::reconnect`].
    pub fn is_stale(&self) -> bool {
        self.restored != suspend::restored()
    }

    /// Connects again after the domain was restored ([`crate::suspend`]). Frames that were under way are lost, as on any network.
    pub async fn reconnect(&mut self) -> Result {
        let gathers = greet(&self.frontend).await?;
        self.begin_anew(gathers).connect().await?;
        self.flush();
        Ok(())
    }

    #[cfg(feature = "net")]
    pub(super) fn frontend(&self) -> Frontend {
        self.frontend.clone()
    }

    /// Fresh rings, and the way up.
    pub(super) fn begin_anew(&mut self, gathers: bool) -> Link {
        self.restored = suspend::restored();
        self.outbox.restart(gathers);
        self.inbox.restart();
        self.link()
    }

    /// Its address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Longest packet behind the Ethernet header, in bytes.
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// Its event channel: an event says that frames came, or that there is room for more.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// What went through it.
    pub fn counts(&self) -> Counts {
        Counts { errors: self.outbox.errors + self.inbox.errors, ..self.counts }
    }

    /// Whether the back end broke the protocol: nothing is sent and received any more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether a frame of this length can be sent now. If not, an event comes when this may have changed.
    pub fn has_room(&mut self, len: usize) -> bool {
        if !self.broken && !self.outbox.has_room(len) {
            self.broken = self.outbox.reclaim().is_err();
        }
        !self.broken && self.outbox.has_room(len)
    }

    /// Takes a frame, from the Ethernet header on; `false` if there is no room. [`Nic::flush`] sends it. The checksum of a TCP or
    /// UDP segment need not be right.
    pub fn send(&mut self, frame: &mut [u8]) -> bool {
        if !self.has_room(frame.len()) {
            return false;
        }
        let blank = checksum::leave_blank(frame);
        let sent = self.outbox.push(frame, blank);
        self.counts.sent += u64::from(sent);
        sent
    }

    /// The next frame that came. If there is none, the next one brings an event.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        while !self.broken {
            match self.inbox.pop() {
                Ok(Some(frame)) if frame.intact || checksum::is_right(&frame.bytes) => {
                    self.counts.received += 1;
                    return Some(frame.bytes);
                }
                Ok(Some(_)) => self.counts.damaged += 1,
                Ok(None) => return None,
                Err(_) => self.broken = true,
            }
        }
        None
    }

    /// Shows the back end what was sent, and pages that are free again.
    pub fn flush(&mut self) {
        let (out, back) = (self.outbox.publish(), self.inbox.publish());
        if out || back {
            // Fails only if the back end closed its end: then nobody waits.
            let _ = self.channel.notify();
        }
    }

    /// Disconnects; returns when the back end has let go of the rings.
    pub async fn close(self) -> Result {
        Ok(self.frontend.close().await?)
    }
}

/// Begins with a back end: whether it takes frames of several pages.
pub(super) async fn greet(frontend: &Frontend) -> Result<bool> {
    frontend.begin().await?;
    Ok(frontend.back_offers("feature-sg").await?)
}

async fn read_mac(frontend: &Frontend) -> Result<Mac> {
    let text = frontend.front_text("mac").await?.unwrap_or_default();
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        let part = parts.next().and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = part.ok_or_else(|| xenbus::Error::Value("mac".to_string(), text.clone()))?;
    }
    Ok(mac)
}

/// What is granted to the back end on the way up.
struct Parts<'a> {
    frontend: &'a Frontend,
    grants: Vec<Grant>,
}

impl Parts<'_> {
    /// Takes pages and grants them; their references.
    fn pages(&mut self, count: usize, access: Access) -> Result<(Arc<SharedPages>, Vec<u32>)> {
        let pages = Arc::new(SharedPages::new(count).ok_or(Error::NoMemory)?);
        let mut references = Vec::with_capacity(count);
        for index in 0..count {
            let grant = Grant::new(&pages, index, self.frontend.backend(), access)?;
            references.push(grant.reference().0);
            self.grants.push(grant);
        }
        Ok((pages, references))
    }
}

/// For messages: which interface.
impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        let text = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}");
        write!(f, "{} ({text})", self.frontend.path())
    }
}
