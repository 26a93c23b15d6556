//! The xenstore: a small tree of settings that domains read, write and watch.
//!
//! Every domain has a ring page shared with domain 0 over which it sends requests ([`ring`], [`wire`]). The [`server`] keeps
//! the [`tree`], checks [`perms`], runs transactions, and queues replies and watch events with each [`client`].
//! Nothing here does I/O: pages come in through [`crate::page::SharedPage`].
//!
//! Clients are hostile until proven otherwise. A broken message or ring index ends the connection (and says so in the
//! page's error field); quotas bound what a client can make the server remember; work is done in small rounds so that
//! one client cannot starve the others.

pub mod client;
pub mod path;
pub mod perms;
mod requests;
pub mod ring;
pub mod server;
pub mod tree;
pub mod wire;

#[cfg(test)]
mod tests;

pub use server::{Action, Quota, Server};
