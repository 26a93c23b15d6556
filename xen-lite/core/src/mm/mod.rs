//! Page tables and memory of domains: what guests, builders and the end of a domain do with frames.
//!
//! [`update`] changes of single entries · [`walk`] the way of the CPU through a guest's tables · [`roots`] base pointers and pins ·
//! [`ldt`] frames of descriptor tables · [`reserve`] frames that come and go · [`pages`] frames that are handed to domains, lent, filled · [`teardown`] the end · [`store`] guests' plain stores to
//! their page tables.
//!
//! Nothing here has a lock. Entries change by compare-and-swap: who wins the swap owns the reference of the entry that was
//! there. The table itself is held by a typed reference meanwhile, so it cannot stop being a table.

pub mod ldt;
pub mod pages;
pub mod reserve;
pub mod roots;
pub mod store;
pub mod teardown;
pub mod update;
pub mod walk;

pub use ldt::{drop_ldt, ldt_frame};
pub use pages::{
    alloc_shared, fill_page, free_shared, get_descriptor_page, give_frames, put_descriptor_page,
    write_descriptor,
};
pub use roots::{pin_root, set_kernel_root, set_user_root};
pub use store::{FAULT_OF_STORE, emulate_pt_write};
pub use teardown::relinquish;

#[cfg(test)]
mod advisories;
#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod threads;
