//! States of a split device, `io/xenbus.h`.
//!
//! Each end writes its own `state` key and watches the other's. The usual way up is `Initialising` →
//! `InitWait` (back end) → `Initialised` (front end) → `Connected`; the way down is `Closing` → `Closed`.

/// `enum xenbus_state`, as the decimal text of a `state` key.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XenbusState {
    /// No state yet, or the key is missing.
    Unknown = 0,
    /// The end is being set up.
    Initialising = 1,
    /// Finished early set-up, waits for the peer or for hotplug scripts.
    InitWait = 2,
    /// Ready, waits for the peer to connect.
    Initialised = 3,
    /// In use.
    Connected = 4,
    /// Being closed by an error or an unplug.
    Closing = 5,
    /// Closed.
    Closed = 6,
    /// Being reconfigured.
    Reconfiguring = 7,
    /// Reconfigured.
    Reconfigured = 8,
}

impl XenbusState {
    /// Every state, by number.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Initialising,
        Self::InitWait,
        Self::Initialised,
        Self::Connected,
        Self::Closing,
        Self::Closed,
        Self::Reconfiguring,
        Self::Reconfigured,
    ];

    /// The state with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}
