//! What a person types: editing a line ([`mod@line`]), and what it means ([`command`], [`table`]).

pub mod arguments;
pub mod command;
pub mod line;
pub mod table;
