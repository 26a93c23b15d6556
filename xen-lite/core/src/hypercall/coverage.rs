//! What is supported, as data; `docs/abi-coverage.md` is made from it.

/// How far a sub-operation is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As the public header says.
    Full,
    /// In part; the text says what is missing.
    Partial(&'static str),
    /// Refused, with upstream's errno; the text says why.
    Refused(&'static str),
}

/// A sub-operation of a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sub {
    /// Its number.
    pub number: u32,
    /// Its name in the public header.
    pub name: &'static str,
    /// How far it is supported.
    pub state: State,
}

/// A sub-operation that is fully supported.
pub const fn full(number: u32, name: &'static str) -> Sub {
    Sub { number, name, state: State::Full }
}

/// A sub-operation that is supported in part.
pub const fn partial(number: u32, name: &'static str, missing: &'static str) -> Sub {
    Sub { number, name, state: State::Partial(missing) }
}

/// A sub-operation that is refused.
pub const fn refused(number: u32, name: &'static str, why: &'static str) -> Sub {
    Sub { number, name, state: State::Refused(why) }
}
