//! Dom0's shell: creating, listing and destroying domains, and what `create` refuses.
//!
//! A script is a list of shell commands that stops at the first one that fails, with a line `SCRIPT failed: …`, which
//! is forbidden in every test, and ends with `SCRIPT ok`.

use super::REFUSED;
use crate::case::Case;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        shell("shell-list", "create hello; list; destroy hello; list; poweroff").expect("SCRIPT ok", 60),
        two_guests(),
        console(),
        create_destroy(),
        refusals(),
        self_checking("selftest"),
        self_checking("advisories"),
        typed(),
    ]
}

/// Dom0 with the sample guests and a script.
fn shell(name: &str, script: &str) -> Case {
    Case::new(name, "dom0").options("dom0_mem=128M").initrd("initrd").script(script)
}

fn two_guests() -> Case {
    shell(
        "two-guests",
        "create hello; create counter; wait hello 'tick 2' 30; wait counter 'count ' 30; list; poweroff",
    )
    .expect("SCRIPT ok", 90)
}

/// A guest's console, live: Ctrl-] leaves it.
fn console() -> Case {
    Case::new("console", "dom0")
        .options("dom0_mem=128M")
        .initrd("initrd")
        .expect("xen-lite> ", 60)
        .type_line("create hello")
        .expect("xen-lite> ", 20)
        .type_line("console hello")
        .expect("tick ", 20)
        .type_text("over")
        .expect("over", 20)
        .expect("tick ", 20)
        .type_text("\x1d")
        .expect("xen-lite> ", 20)
        .type_line("poweroff")
}

/// A self-checking guest as a DomU, where it has a console ring and a xenstore.
fn self_checking(name: &str) -> Case {
    let script = format!(
        "create {name}; wait {name} 'RESULT: ' 90; log {name}; wait {name} 'RESULT: pass' 1; expect-gone {name} 30; poweroff"
    );
    Case::new(&format!("{name}-domu"), "dom0")
        .options("dom0_mem=128M")
        .initrd("tests.cpio")
        .script(&script)
        .expect("SCRIPT ok", 180)
}

/// Two hundred domains come and go; `churn` fails unless every frame comes back.
fn create_destroy() -> Case {
    shell("create-destroy-200", "churn hello 200; poweroff").expect("SCRIPT ok", 300).limit(360)
}

/// Kernels that `create` refuses; Dom0 goes on.
fn refusals() -> Case {
    let commands: Vec<String> =
        REFUSED.iter().map(|(name, reason)| format!("expect-error '{reason}' create {name}")).collect();
    Case::new("create-refuses", "dom0")
        .options("dom0_mem=128M")
        .initrd("broken.cpio")
        .script(&format!("{}; list; poweroff", commands.join("; ")))
        .expect("SCRIPT ok", 120)
}

/// The shell by hand: an unknown command is answered, not obeyed.
fn typed() -> Case {
    Case::new("shell-typed", "dom0")
        .options("dom0_mem=128M")
        .initrd("initrd")
        .expect("xen-lite> ", 60)
        .type_line("nonsense")
        .expect("nonsense", 10)
        .expect("xen-lite> ", 10)
        .type_line("help")
        .expect("poweroff", 10)
        .expect("xen-lite> ", 10)
        .type_line("poweroff")
}
