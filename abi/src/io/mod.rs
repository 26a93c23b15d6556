//! Shared rings and split-driver protocols, the headers under `io/`.
//!
//! A split device is a front end in a guest and a back end in a driver domain. They find each other in
//! xenstore ([`xenbus`] gives the states), share pages through grants, and signal through event channels.
//! Console and xenstore have byte rings ([`console`], [`xs_wire`]); the others carry fixed-size requests and
//! responses over [`ring`].

pub mod blkif;
pub mod console;
pub mod netif;
pub mod protocols;
pub mod ring;
pub mod xenbus;
pub mod xs_wire;
