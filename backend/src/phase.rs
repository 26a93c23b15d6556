//! The way of a device up and down, the same for every class.
//!
//! | phase | back end's state in the store | what of the guest is mapped or bound |
//! |---|---|---|
//! | `Closed` | `Initialising`, or `Closed` | nothing |
//! | `Offered` | `InitWait` | nothing |
//! | `Connected` | `Connected`, or `Closing` while the front end ends | rings, channels |
//!
//! The front end moves first; its state is a claim that may change in any order, so every pair of state and phase has an answer, and
//! most of them are: nothing to do.

use abi::io::xenbus::XenbusState;

/// Where a device is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not offered yet, or ended.
    Closed,
    /// The front end knows what there is.
    Offered,
    /// Rings are mapped and channels bound.
    Connected,
}

/// What a back end does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Says what the device can do: `InitWait`.
    Offer,
    /// Lets go of everything, and offers: the front end began anew without an end.
    Again,
    /// Maps the rings and binds the channels: `Connected`.
    Connect,
    /// Waits for the front end's last requests: `Closing`.
    Wait,
    /// Lets go of everything: `Closed`.
    End,
    /// Nothing.
    Nothing,
}

/// What is to be done when the front end is in this state.
pub fn step(front: XenbusState, phase: Phase) -> Step {
    match (front, phase) {
        (XenbusState::Initialising, Phase::Connected) => Step::Again,
        (XenbusState::Initialising, Phase::Closed) => Step::Offer,
        (XenbusState::Initialised | XenbusState::Connected, Phase::Offered) => Step::Connect,
        (XenbusState::Closing, Phase::Connected) => Step::Wait,
        (XenbusState::Closed | XenbusState::Unknown, Phase::Offered | Phase::Connected) => Step::End,
        _ => Step::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_comes_up_and_goes_down() {
        use XenbusState::{Closed, Closing, Connected, Initialised, Initialising, Unknown};
        assert_eq!(step(Initialising, Phase::Closed), Step::Offer);
        assert_eq!(step(Initialised, Phase::Offered), Step::Connect);
        assert_eq!(step(Connected, Phase::Connected), Step::Nothing);
        assert_eq!(step(Closing, Phase::Connected), Step::Wait);
        assert_eq!(step(Closed, Phase::Connected), Step::End);
        assert_eq!(step(Unknown, Phase::Connected), Step::End);
        assert_eq!(step(Unknown, Phase::Closed), Step::Nothing);
        assert_eq!(step(Connected, Phase::Closed), Step::Nothing);
    }
}
