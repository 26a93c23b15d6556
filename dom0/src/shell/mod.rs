//! What a person types: editing a line ([`mod@line`]), and what it means ([`command`]).

pub mod command;
pub mod line;
