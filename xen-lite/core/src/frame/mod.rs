//! Machine frames: who owns each, how many references there are, and what it may be used for.
//!
//! Memory safety between guests rests on two rules. *Who maps a frame has a reference to it*, so a frame changes hands only
//! when nobody can reach it. *A frame has one [`Kind`] at a time*: it is a page table, or a page of descriptors, or writable
//! by guests, never two of them. A PV guest builds its own page tables, so the rules are kept by looking at every entry before
//! the CPU can: when a frame becomes a table, and each time an entry of a table changes.
//!
//! `info` the sixteen bytes per frame · `heap` free frames · `flush` when each CPU last forgot its translations ·
//! [`table`] owners and general references · [`types`] kinds and typed references · [`pte`] what an entry may contain ·
//! [`entry`] references that entries hold · `validate` tables as a whole · [`descriptor`] segment descriptors ·
//! [`audit`] recounts everything and compares.

mod account;
pub mod audit;
pub mod descriptor;
pub mod entry;
mod flush;
mod heap;
mod info;
pub mod pte;
pub mod table;
pub mod types;
mod validate;

pub use flush::{FlushClock, MAX_CPUS, flush_all};
pub use heap::MAX_ORDER;
pub use info::{FrameInfo, Kind};
pub use table::{
    Access, FrameTable, Owner, alloc, alloc_below, alloc_for, drop_allocation, free, put_page,
    take_back_if_dying, unshare,
};
pub use types::{
    Stop, Unfinished, finish, get_held, get_page_type, put_page_type, put_page_type_preemptible,
};
