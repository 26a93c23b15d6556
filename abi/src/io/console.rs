//! `io/console.h`: the console page of a PV guest: `in` to the guest, `out` from it.
//!
//! Both are byte rings with free-running indices; take an index modulo the size of its array.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

structs! {
    /// `struct xencons_interface`: The page a domain shares with its console: two byte rings.
    pub struct XenconsInterface {
        in_: [u8; 1024],
        out: [u8; 2048],
        in_cons: u32,
        in_prod: u32,
        out_cons: u32,
        out_prod: u32,
    }
}
