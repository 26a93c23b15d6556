//! What guests on the SDK can do, each shown by an example that checks itself.

use crate::case::Case;

/// The examples: name in Dom0, CPUs of the machine, seconds.
const EXAMPLES: &[(&str, u32, u64)] = &[("balloon", 1, 60), ("processes", 1, 60), ("workers", 2, 60)];

/// The cases.
pub fn cases() -> Vec<Case> {
    EXAMPLES.iter().map(|&(name, cpus, seconds)| example(name, cpus, seconds)).collect()
}

fn example(name: &str, cpus: u32, seconds: u64) -> Case {
    let script = format!(
        "create {name}; wait {name} 'RESULT: ' {seconds}; log {name}; wait {name} 'RESULT: pass' 1; expect-gone {name} 30; poweroff"
    );
    Case::new(name, "dom0")
        .cpus(cpus)
        .options("dom0_mem=128M")
        .initrd("examples.cpio")
        .script(&script)
        .expect("SCRIPT ok", seconds + 60)
        .limit(seconds + 120)
}
