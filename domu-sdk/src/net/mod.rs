//! Network interfaces.
//!
//! [`Nic`] sends and receives Ethernet frames through the back end of another domain (public header `io/netif.h`), with scatter-gather
//! and checksums left blank inside the machine. With the feature `net`, [`Stack`] is TCP/IP on top of it (the crate `smoltcp`), and
//! [`TcpListener`] and [`TcpStream`] are connections that tasks wait for:
//!
//! ```ignore
//! let stack = net::Stack::start().await?;          // ip=10.0.0.2/24 on the command line, or DHCP
//! let mut listener = net::TcpListener::bind(&stack, 7, 4)?;
//! loop {
//!     let stream = listener.accept().await?;
//!     executor::spawn(async move { echo(stream).await });
//! }
//! ```

mod checksum;
mod nic;
mod ring;
#[cfg(feature = "net")]
mod stack;

pub use nic::{Counts, Error, Mac, Nic, Result};
#[cfg(feature = "net")]
pub use stack::{Setting, Stack, TcpListener, TcpStream};
