//! Dom0's commands for administrators, on running guests.

use crate::case::{Case, End};

/// Dom0's archive for these tests.
pub const ARCHIVE: &str = "toolstack.cpio";
/// Guests: name, memory in MiB. All are the same kernel.
pub const GUESTS: &[(&str, u32)] = &[("hello", 16), (SMALL, 4)];
/// The smallest guest.
const SMALL: &str = "small";
/// A script that is longer than a command line may be: its file in the archive.
pub const SCRIPT_FILE: &str = "administration.script";
/// CPUs, memory, shares, devices, a core file, a reboot, of guests that follow what is asked for.
pub const SCRIPT: &str = "\
create --count 2 hello
wait hello-1 'tick 1'
wait hello-2 'tick 1'
until '-b-' vcpu-list hello-1
mem-set hello-1 14
until ' 14     1' list hello-1
mem-set hello-1 16
until ' 16     1' list hello-1
expect-error 'at most (maxmem)' mem-set hello-1 17
sched-credit -d hello-1 -w 512
expect ' 512   none' sched-credit -d hello-1
block-attach hello-1 ram:1M,xvda,w
expect xvda block-list
block-detach --force hello-1 xvda
network-attach hello-1
expect xenbr0 network-list hello-1
network-detach --force hello-1 0
expect-error 'at most (maxvcpus)' vcpu-set hello-1 2
vcpu-set hello-1 1
pause hello-2
expect 'p---' list hello-2
expect instruction: context hello-2
expect 'core file of ' dump-core hello-2 vda
unpause hello-2
wait hello-2 'tick 3'
rename hello-2 other
expect other list
expect target_memkb list -l other
expect other top 2
reboot hello-1
until ' 3     16 ' list
wait hello-1 'tick 1'
debug-keys h
expect '0:00' uptime
shutdown other
expect-gone other
poweroff
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![administration(), crash_report(), two_hundred()]
}

fn administration() -> Case {
    Case::new("administration", "dom0")
        .options("dom0_mem=128M")
        .initrd(ARCHIVE)
        .disk(64)
        .args(&format!("script=@{SCRIPT_FILE}"))
        .expect("SCRIPT ok", 240)
        .limit(300)
}

/// A guest faults where it has no handler: Dom0 names the instruction and the function.
fn crash_report() -> Case {
    Case::new("crash-report", "dom0")
        .options("dom0_mem=128M")
        .initrd("hostile.cpio")
        .script("create no-handler; expect-gone no-handler; echo gone; poweroff")
        .expect("no-handler (domain 1), CPU 0: rip ", 90)
        .expect("hostile::", 10)
        .expect("instruction: ud2", 10)
        .expect("no-handler (domain 1) crashed; log no-handler", 30)
        .expect("SCRIPT ok", 60)
}

/// Two hundred domains from one configuration, on a machine of 2 GiB.
fn two_hundred() -> Case {
    let script = format!(
        "create --count 200 {SMALL}; wait {SMALL}-200 'tick 1' 300; wait {SMALL}-1 'tick 1'; \
         expect '{SMALL}-200  ' list; expect '201 domain(s)' top 1"
    );
    Case::new("two-hundred", "dom0")
        .options("dom0_mem=128M")
        .memory(2048)
        .initrd(ARCHIVE)
        .script(&script)
        .expect("SCRIPT ok", 400)
        // The audit of xen-lite looks at the whole machine whenever a domain ends: two hundred times would take minutes.
        .end(End::StaysOn)
        .limit(500)
}
