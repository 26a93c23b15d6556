//! The control domain: the same ELF is the first domain of upstream Xen 4.17 and of xen-lite.
//!
//! All logic is in the library of this package. Here are the hypercalls behind its [`dom0::hypervisor::Hypervisor`] trait and the
//! start.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod machine;

#[cfg(target_os = "none")]
#[domu_sdk::main]
fn main() {
    use dom0::control::Control;
    use dom0::files::Files;
    use dom0::session::{Options, Session};

    let machine = match machine::Machine::new() {
        Ok(machine) => machine,
        Err(what) => {
            domu_sdk::println!(
                "Dom0 cannot work here: {what}. It must be the first domain of a Xen hypervisor."
            );
            return;
        }
    };
    let (files, damage) = Files::read(domu_sdk::start::module().unwrap_or(&[]));
    let mut options = Options::parse(domu_sdk::start::command_line(), &files);
    options.warnings.extend(damage);
    let mut control = Control::new(machine, files);
    options.warnings.extend(machine::virtio::connect(&mut control));
    Session::new(control, options).run()
}

/// Built for a host, there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("dom0 runs on a Xen hypervisor, not here; type: cargo xtask run");
    std::process::exit(2);
}
