//! A driver domain: serves disks to other guests, from its own memory.
//!
//! A guest gets one with `disk = [ 'backend=storage,vdev=xvda,access=w,target=NAME' ]` in its configuration, if this domain is called `storage`. A
//! disk is made when its name is first asked for, and keeps what is on it until this domain ends; it is shown to one guest at a time. `mib=N` on
//! the command line is how large each is.
//!
//! Dom0 does no more than to introduce the two: requests and data go from one guest to the other.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{collections::BTreeMap, format, rc::Rc, string::String};
use domu_sdk::{
    backend::disks::{
        self, Wanted,
        storage::{Ram, Shared, share},
    },
    executor, println, shutdown, start, store,
};

/// Disks at most.
const DISKS_MAX: usize = 8;

/// The disks, by name.
struct Disks {
    bytes: u64,
    all: BTreeMap<String, Shared<'static>>,
}

impl Disks {
    /// The disk that a guest wants, or why it does not get it.
    fn open(&mut self, wanted: &Wanted) -> Result<Shared<'static>, String> {
        let name = &wanted.target;
        match self.all.get(name) {
            // Somebody else holds it, too.
            Some(disk) if Rc::strong_count(disk) > 1 => return Err(format!("{name} is in use")),
            Some(_) => {}
            None if self.all.len() == DISKS_MAX => {
                return Err(format!("there are {DISKS_MAX} disks already"));
            }
            None => drop(self.all.insert(name.clone(), share(Ram::new(self.bytes)?))),
        }
        println!("storage: {name} is {} of {}", wanted.device, wanted.domain);
        Ok(self.all[name].clone())
    }
}

#[domu_sdk::main]
async fn main() -> store::Result {
    executor::spawn(shutdown::obey());
    let mib: u64 = start::parameter("mib").and_then(|text| text.parse().ok()).unwrap_or(4);
    let mut disks = Disks { bytes: mib << 20, all: BTreeMap::new() };
    println!("storage: disks of {mib} MiB");
    disks::serve(|wanted| disks.open(wanted)).await
}
