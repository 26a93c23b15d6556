//! Kernels that nobody here wrote, as domains of the Rust Dom0.

use crate::case::Case;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![debian(), grub()]
}

/// Debian's stock kernel reaches userland, echoes what is typed and powers off; Dom0 sees it go.
fn debian() -> Case {
    let script = "create debian; wait debian 'USERLAND type=xen sum=42' 180; send debian 'good morning'; \
                  wait debian 'ECHO <good morning>' 30; send debian poweroff; expect-gone debian 60; poweroff";
    Case::new("debian-domu", "dom0")
        .memory(1024)
        .options("dom0_mem=384M")
        .initrd("debian.cpio")
        .script(script)
        .expect("SCRIPT ok", 300)
        .limit(360)
}

/// GRUB built as a Xen guest reaches its prompt and obeys.
fn grub() -> Case {
    let script = "create grub; wait grub 'grub>' 60; send grub ls; wait grub '(memdisk)' 30; send grub halt; \
                  expect-gone grub 30; poweroff";
    Case::new("grub-domu", "dom0")
        .options("dom0_mem=192M")
        .initrd("grub.cpio")
        .script(script)
        .expect("SCRIPT ok", 150)
        .limit(180)
}
