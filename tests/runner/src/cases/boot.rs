//! Loaders, first modules, and what xen-lite itself refuses.

use super::REFUSED;
use crate::case::{Case, End, XEN_LITE};

/// Guests that check themselves as first domain: name, and the line that says that all is well.
pub const SELF_CHECKING: &[(&str, &str)] = &[("selftest", "RESULT: pass"), ("advisories", "RESULT: pass")];

/// What a self-checking guest prints when a check fails.
const FAILED: &str = "RESULT: fail";

/// CPU models on which the self-checking guests run besides the usual one.
const OTHER_CPUS: &[&str] = &["Skylake-Client,-smap", "qemu64"];

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, good) in SELF_CHECKING {
        let kernel = format!("guests/{name}");
        let alone = |name: &str| {
            let case = Case::new(name, &kernel).options("dom0_mem=64M").forbid(FAILED);
            // A first domain that shuts down switches off xen-lite's machine and halts upstream's.
            case.expect(good, 90).end(End::StaysOn)
        };
        cases.push(alone(name));
        for cpu in OTHER_CPUS {
            let model = cpu.split(',').next().unwrap_or(cpu);
            cases.push(alone(&format!("{name}-{model}")).cpu(cpu));
        }
    }
    for (kernel, reason) in REFUSED {
        let case = Case::new(&format!("refuses-{kernel}"), &format!("broken/{kernel}")).on(XEN_LITE);
        cases.push(case.options("dom0_mem=128M noreboot").expect(reason, 60).end(End::StaysOn));
    }
    cases.push(no_module());
    for loader in ["multiboot1", "multiboot2"] {
        cases.push(grub(loader));
    }
    cases.push(linux_dom0());
    cases
}

fn no_module() -> Case {
    Case::new("refuses-no-module", "").on(XEN_LITE).expect("no module", 30).end(End::StaysOn)
}

/// From a CD with GRUB to Dom0's shell and back.
fn grub(loader: &str) -> Case {
    Case::new(&format!("grub-{loader}"), "dom0")
        .on(XEN_LITE)
        .cdrom(&format!("{loader}.iso"))
        .expect("xen-lite> ", 90)
        .type_line("list")
        .expect("Domain-0", 20)
        .type_line("poweroff")
}

/// Debian's kernel as first domain, until it powers the machine off.
fn linux_dom0() -> Case {
    Case::new("debian-dom0", "vmlinuz")
        .memory(1024)
        .options("dom0_mem=512M")
        .args("console=hvc0")
        .initrd("debian-initramfs.gz")
        .expect("USERLAND type=xen sum=42", 120)
        .type_line("good morning")
        .expect("ECHO <good morning>", 20)
        .type_line("poweroff")
        .expect("GOING DOWN", 20)
        .limit(200)
}
