//! Grants, from this domain to itself.

use crate::{Check, OK, ensure, equal, step};
use alloc::{sync::Arc, vec::Vec};
use domu_sdk::{
    grant::{Access, Grant, GrantMapping},
    hypercall::grant,
    memory::{self, SharedPages},
    start,
    types::{DomId, GrantRef},
};

fn own() -> Result<DomId, &'static str> {
    start::domain_id().ok_or("the domain does not know its number")
}

pub fn to_self() -> Check {
    let pages = Arc::new(SharedPages::new(2).ok_or("no pages")?);
    pages.store_u64(4096, 77);
    let given = step("granting", Grant::new(&pages, 1, own()?, Access::ReadWrite))?;
    let mapping = step("mapping", GrantMapping::new(own()?, &[given.reference()], Access::ReadWrite))?;
    equal("word through the mapping", mapping.load_u64(0), 77)?;
    mapping.store_u64(8, 88);
    equal("word written through the mapping", pages.load_u64(4104), 88)?;
    let Err(given) = given.end() else { return Err("a grant in use was ended".into()) };
    let address = mapping.address() as u64;
    drop(mapping);
    equal("reading after unmapping", memory::probe(address), None)?;
    ensure(given.end().is_ok(), "a grant not in use could not be ended")?;
    let refused = GrantMapping::new(own()?, &[GrantRef(500)], Access::Read);
    ensure(refused.is_err(), "an entry that grants nothing was mapped")?;
    equal("leaked grants", domu_sdk::grant::leaked(), 0)?;
    OK
}

pub fn read_only() -> Check {
    let pages = Arc::new(SharedPages::new(1).ok_or("no pages")?);
    pages.store_u64(0, 5);
    let given = step("granting", Grant::new(&pages, 0, own()?, Access::Read))?;
    let writable = GrantMapping::new(own()?, &[given.reference()], Access::ReadWrite);
    ensure(writable.is_err(), "a read-only grant was mapped writable")?;
    let mapping = step("mapping", GrantMapping::new(own()?, &[given.reference()], Access::Read))?;
    equal("word", mapping.load_u64(0), 5)?;
    ensure(!memory::probe_write(mapping.address() as u64), "a read-only mapping can be written")?;
    OK
}

pub fn copy() -> Check {
    let source = Arc::new(SharedPages::new(1).ok_or("no pages")?);
    let target = SharedPages::new(1).ok_or("no pages")?;
    source.write(100, b"copied");
    let given = step("granting", Grant::new(&source, 0, own()?, Access::Read))?;
    step("copying", grant::copy_from(own()?, given.reference(), 100, &target, 7, 6))?;
    let mut bytes = [0; 6];
    target.read(7, &mut bytes);
    equal("copied bytes", &bytes, b"copied")?;
    let refused = grant::copy_to(own()?, given.reference(), 0, &target, 0, 6);
    ensure(refused.is_err(), "a read-only grant was copied into")?;
    OK
}

/// More grants than fit into the table's first page.
pub fn many() -> Check {
    let pages = Arc::new(SharedPages::new(1).ok_or("no pages")?);
    let given: Result<Vec<_>, _> =
        (0..700).map(|_| Grant::new(&pages, 0, own()?, Access::Read).map_err(|_| "refused")).collect();
    let given = given?;
    let last = given.last().ok_or("nothing was granted")?.reference();
    ensure(last.0 >= 512, "the table did not grow")?;
    pages.store_u64(0, 9);
    let mapping = step("mapping", GrantMapping::new(own()?, &[last], Access::Read))?;
    equal("word", mapping.load_u64(0), 9)?;
    OK
}
