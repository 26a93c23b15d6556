//! Prepares what only the tests boot:
//!
//! | file in the image folder | what it is |
//! |---|---|
//! | `vmlinuz`, `grub-x86_64-xen.bin`, `gnumach` | kernels of others |
//! | `debian-initramfs.gz` | userland for Debian's kernel: a static busybox that greets, echoes lines, powers off |
//! | `debian-disks.cpio`, `debian-net.cpio` | Debian's kernel with disks, with a network interface |
//! | `debian.cpio`, `grub.cpio`, `broken.cpio` | initrds for Dom0 with these guests |
//! | `toolstack.cpio` | small guests, and a script for Dom0's commands |
//! | `tests.cpio`, `hostile.cpio` | the guests of `tests/guests`; the hostile one, its neighbour and a script |
//! | `block.cpio`, `net.cpio` | guests with disks, guests with network interfaces |
//! | `tour.cpio` | the guests of `examples` |
//! | `smp.cpio` | Debian's kernel with four CPUs, and two small guests beside it |
//! | `conformance.cpio` | the kernels of `tests/conformance` as guests |
//! | `broken/NAME` | kernels that must be refused |
//! | `multiboot1.iso`, `multiboot2.iso` | CDs that start xen-lite with GRUB |

use crate::build::{config, write};
use crate::initrd::{Archive, gzip};
use crate::iso::{self, Entry};
use crate::paths::Paths;
use crate::provide::packages::find_program;
use crate::provide::upstream::{Upstream, unpack_gzip};
use crate::say;
use anyhow::{Context, Result, ensure};
use runner::cases::hostile::{ATTEMPTS, NEIGHBOUR, SCRIPT_FILE, script};
use runner::cases::{block, examples as tour, net, saved, toolstack};
use std::path::Path;
use std::process::Command;

/// What the first process of every Linux guest begins with.
const LINUX_START: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
exec </dev/hvc0 >/dev/hvc0 2>&1
"#;

/// First process of the Linux guest. It greets with a line that only a running userland can compute.
const LINUX_INIT: &str = r#"echo "USERLAND type=$(/bin/busybox cat /sys/hypervisor/type) sum=$((6 * 7)) cpus=$(/bin/busybox grep -c ^processor /proc/cpuinfo)"
while read -r line; do
    case "$line" in
        poweroff) echo "GOING DOWN"; /bin/busybox poweroff -f ;;
        *) echo "ECHO <$line>" ;;
    esac
done
"#;

/// First process of the Linux guest with disks: its front end is a module. It writes, reads past its caches, compares, and powers off.
const LINUX_DISKS: &str = r#"cd /bin && /bin/busybox --install -s /bin
insmod /xen-blkfront.ko max_queues=2 max_ring_page_order=2 || echo "no module"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do [ -b /dev/xvda -a -b /dev/xvdb ] && break; sleep 1; done
echo "xvda: $(cat /sys/block/xvda/size) sectors, $(ls /sys/block/xvda/mq | wc -l) queue(s); xvdb: read-only $(cat /sys/block/xvdb/ro)"
dd if=/dev/urandom of=/data bs=64k count=128 2>/dev/null
dd if=/data of=/dev/xvda bs=64k seek=16 conv=fsync 2>/dev/null || echo "writing failed"
echo 3 > /proc/sys/vm/drop_caches
wanted=$(md5sum < /data)
found=$(dd if=/dev/xvda bs=64k skip=16 count=128 2>/dev/null | md5sum)
echo "wrote $wanted, read $found"
size=$(stat -c %s /pattern)
blkdiscard -o 0 -l 1048576 /dev/xvda && echo "discarded"
dd if=/dev/xvda bs=64k skip=16 count=128 2>/dev/null | cmp - /data && [ "$wanted" = "$found" ] \
    && dd if=/dev/xvdb bs=4k 2>/dev/null | head -c $size | cmp - /pattern && echo "LINUX DISKS same"
poweroff -f
"#;

/// First process of the Linux guest on the network: its front end is a module. It asks the echo server, sends it what is random, compares
/// what comes back, and powers off.
const LINUX_NET: &str = r#"cd /bin && /bin/busybox --install -s /bin
insmod /xen-netfront.ko || echo "no module"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do [ -d /sys/class/net/eth0 ] && break; sleep 1; done
ifconfig eth0 10.0.0.5 netmask 255.255.255.0 up
echo "eth0: $(cat /sys/class/net/eth0/address), $(ls -d /sys/class/net/eth0/queues/tx-* | wc -l) queue(s)"
ping -c 3 -W 10 10.0.0.1
dd if=/dev/urandom of=/data bs=64k count=64 2>/dev/null
nc 10.0.0.1 7 < /data > /back
echo "sent $(md5sum < /data), back $(md5sum < /back)"
cmp /data /back && echo "LINUX NET same"
poweroff -f
"#;

/// Bytes of the file that is the Linux guest's second disk: no whole sectors.
const PATTERN: usize = 1_000_001;

/// A guest whose damaged copies must be refused.
const MODEL_GUEST: &str = "hello";

/// Prepares kernels of others and their initrds.
///
/// # Errors
/// If a file is missing or cannot be written.
pub fn foreign(paths: &Paths, software: &Upstream) -> Result<()> {
    say::step("preparing the kernels of others");
    let vmlinuz = read(&software.vmlinuz)?;
    let grub = read(&software.grub)?;
    write(&paths.image.join("vmlinuz"), &vmlinuz)?;
    write(&paths.image.join("grub-x86_64-xen.bin"), &grub)?;
    unpack_gzip(&software.gnumach, &paths.image.join("gnumach"))?;
    let initramfs = linux_initramfs()?;
    write(&paths.image.join("debian-initramfs.gz"), &initramfs)?;

    let more = "ramdisk = \"guests/debian-initramfs\"\nextra = \"console=hvc0\"\n";
    let debian = [
        ("debian", &vmlinuz[..], config("debian", 192, more)),
        ("debian-initramfs", &initramfs, String::new()),
    ];
    write(&paths.image.join("debian.cpio"), &guests(&debian)?)?;
    write(&paths.image.join("grub.cpio"), &guests(&[("grub", &grub[..], config("grub", 32, ""))])?)?;
    linux_disks(paths, software, &vmlinuz)
}

/// Debian's kernel with two disks: one in Dom0's memory, one a file of Dom0's archive.
fn linux_disks(paths: &Paths, software: &Upstream, vmlinuz: &[u8]) -> Result<()> {
    let pattern: Vec<u8> = (0..PATTERN).map(|i| ((i * i) >> 7) as u8).collect();
    let mut initramfs = Archive::default();
    for folder in ["bin", "dev", "proc", "sys"] {
        initramfs.folder(folder)?;
    }
    initramfs.character_device("dev/console", 5, 1)?;
    let busybox = find_program("busybox").context("busybox is missing")?;
    initramfs.file_from("bin/busybox", 0o755, &busybox)?;
    initramfs.link("bin/sh", "busybox")?;
    initramfs.file_from("xen-blkfront.ko", 0o644, &software.blkfront)?;
    initramfs.file("pattern", 0o644, &pattern)?;
    initramfs.file("init", 0o755, &first_process(LINUX_DISKS))?;
    let more = "ramdisk = \"guests/initramfs\"\nextra = \"console=hvc0\"\n\
                disk = [ 'ram:32M,xvda,w', 'file:guests/pattern,xvdb,r' ]\n";
    let list = [
        ("debian-disks", vmlinuz, config("debian-disks", 192, more)),
        ("initramfs", &gzip(&initramfs.finish()?)?[..], String::new()),
        ("pattern", &pattern[..], String::new()),
    ];
    write(&paths.image.join("debian-disks.cpio"), &guests(&list)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// The program that a Linux guest starts with.
fn first_process(rest: &str) -> Vec<u8> {
    [LINUX_START, rest].concat().into_bytes()
}

/// An archive with guests: name, kernel, configuration (empty: the file is no guest of its own).
fn guests(list: &[(&str, &[u8], String)]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("guests")?;
    for (name, kernel, config) in list {
        if !config.is_empty() {
            archive.file(&format!("guests/{name}.cfg"), 0o644, config.as_bytes())?;
        }
        archive.file(&format!("guests/{name}"), 0o755, kernel)?;
    }
    archive.finish()
}

fn linux_initramfs() -> Result<Vec<u8>> {
    let busybox = find_program("busybox").context("busybox is missing")?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys"] {
        archive.folder(folder)?;
    }
    archive.character_device("dev/console", 5, 1)?;
    archive.file_from("bin/busybox", 0o755, &busybox)?;
    archive.link("bin/sh", "busybox")?;
    archive.file("init", 0o755, &first_process(LINUX_INIT))?;
    gzip(&archive.finish()?)
}

/// Prepares an initrd with the guests of this project, under their names.
///
/// # Errors
/// If one was not built.
pub fn own(paths: &Paths, names: &[String]) -> Result<()> {
    let kernels: Result<Vec<Vec<u8>>> =
        names.iter().map(|name| read(&paths.image.join("guests").join(name))).collect();
    let kernels = kernels?;
    let list: Vec<_> = names
        .iter()
        .zip(&kernels)
        .map(|(name, kernel)| (name.as_str(), &kernel[..], config(name, 48, "")))
        .collect();
    write(&paths.image.join("tests.cpio"), &guests(&list)?)
}

/// Prepares an initrd with the examples on the SDK.
///
/// # Errors
/// If one was not built.
pub fn examples(paths: &Paths) -> Result<()> {
    let image = |name: &str| read(&paths.image.join(name));
    let (processes, program, workers) =
        (image("guests/processes")?, image("user/program")?, image("guests/workers")?);
    let balloon = image("guests/balloon")?;
    let list = [
        ("balloon", &balloon[..], config("balloon", 32, "")),
        ("processes", &processes[..], config("processes", 32, "ramdisk = \"guests/program\"\n")),
        ("program", &program, String::new()),
        ("workers", &workers, config("workers", 32, "").replace("vcpus = 1", "vcpus = 2")),
    ];
    write(&paths.image.join("examples.cpio"), &guests(&list)?)
}

/// Prepares an initrd with Debian's kernel as a guest with several CPUs, and two guests of this project.
///
/// # Errors
/// If a guest was not built, or a file of Debian's is missing.
pub fn several_cpus(paths: &Paths) -> Result<()> {
    let image = |name: &str| read(&paths.image.join(name));
    let (linux, initramfs) = (image("vmlinuz")?, image("debian-initramfs.gz")?);
    let (hello, counter) = (image("guests/hello")?, image("guests/counter")?);
    let text = "name = \"debian4\"\nkernel = \"guests/debian4\"\nmemory = 192\nvcpus = 4\n\
                ramdisk = \"guests/debian-initramfs\"\nextra = \"console=hvc0\"\n";
    let list = [
        ("debian4", &linux[..], text.to_string()),
        ("debian-initramfs", &initramfs, String::new()),
        ("hello", &hello, config("hello", 16, "")),
        ("counter", &counter, config("counter", 16, "")),
    ];
    write(&paths.image.join("smp.cpio"), &guests(&list)?)
}

/// Prepares an initrd with the kernels of the conformance suite, under their names.
///
/// # Errors
/// If one was not built.
pub fn conformance(paths: &Paths, names: &[String]) -> Result<()> {
    let folder = paths.image.join(runner::conformance::FOLDER);
    let kernels: Result<Vec<Vec<u8>>> = names.iter().map(|name| read(&folder.join(name))).collect();
    let kernels = kernels?;
    let pairs = names.iter().zip(&kernels);
    let list: Vec<_> =
        pairs.map(|(name, kernel)| (name.as_str(), &kernel[..], config(name, 32, ""))).collect();
    write(&paths.image.join(runner::conformance::ARCHIVE), &guests(&list)?)
}

/// Prepares an initrd with the hostile guest under the name of each attempt, its neighbour, and the script.
///
/// # Errors
/// If a guest was not built.
pub fn hostile(paths: &Paths) -> Result<()> {
    let guest = read(&paths.image.join("guests/hostile"))?;
    let neighbour = read(&paths.image.join("guests").join(NEIGHBOUR))?;
    let mut archive = Archive::default();
    archive.folder("guests")?;
    archive.file("guests/hostile", 0o755, &guest)?;
    for (name, _) in ATTEMPTS {
        let text =
            format!("name = \"{name}\"\nkernel = \"guests/hostile\"\nmemory = 16\nextra = \"do={name}\"\n");
        archive.file(&format!("guests/{name}.cfg"), 0o644, text.as_bytes())?;
    }
    archive.file(&format!("guests/{NEIGHBOUR}"), 0o755, &neighbour)?;
    archive.file(&format!("guests/{NEIGHBOUR}.cfg"), 0o644, config(NEIGHBOUR, 16, "").as_bytes())?;
    archive.file(SCRIPT_FILE, 0o644, script().as_bytes())?;
    write(&paths.image.join("hostile.cpio"), &archive.finish()?)
}

/// Prepares an initrd with small guests and a script for Dom0's commands.
///
/// # Errors
/// If the guest was not built.
pub fn toolstack(paths: &Paths) -> Result<()> {
    let mut archive = Archive::default();
    archive.folder("guests")?;
    archive.file("guests/hello", 0o755, &read(&paths.image.join("guests/hello"))?)?;
    for (name, memory) in toolstack::GUESTS {
        let text = format!("name = \"{name}\"\nkernel = \"guests/hello\"\nmemory = {memory}\n");
        archive.file(&format!("guests/{name}.cfg"), 0o644, text.as_bytes())?;
    }
    archive.file(toolstack::SCRIPT_FILE, 0o644, toolstack::SCRIPT.as_bytes())?;
    write(&paths.image.join(toolstack::ARCHIVE), &archive.finish()?)
}

/// Prepares an initrd with the guests that have disks.
///
/// # Errors
/// If a guest was not built.
pub fn block(paths: &Paths) -> Result<()> {
    described(paths, block::ARCHIVE, block::KERNELS, block::GUESTS)
}

/// Prepares an initrd with guests that are to be saved.
///
/// # Errors
/// If a guest was not built.
pub fn saved(paths: &Paths) -> Result<()> {
    described(paths, saved::ARCHIVE, saved::KERNELS, saved::GUESTS)
}

/// Prepares an initrd with the guests of the folder `examples`, and what they work on.
///
/// # Errors
/// If a guest was not built, or the site cannot be packed.
pub fn tour(paths: &Paths) -> Result<()> {
    let files = [
        (tour::PROGRAM, read(&paths.image.join("user/program"))?),
        (tour::SITE, site(&paths.image.join("site"))?),
    ];
    with_files(paths, tour::ARCHIVE, tour::KERNELS, tour::GUESTS, &files)
}

/// The files that the example `files` serves, packed.
fn site(folder: &Path) -> Result<Vec<u8>> {
    for (path, len) in tour::PAGES {
        let bytes = match *path {
            "index.html" => tour::GREETING.into(),
            _ => (0..*len).map(|n| (n * 7) as u8).collect::<Vec<u8>>(),
        };
        write(&folder.join(path), &bytes)?;
    }
    let packed = folder.with_extension("tar");
    say::output(
        Command::new("tar").args(["--format=ustar", "-cf"]).arg(&packed).arg("-C").arg(folder).arg("."),
    )?;
    read(&packed)
}

/// Prepares an initrd with guests that have network interfaces.
///
/// # Errors
/// If a guest was not built.
pub fn net(paths: &Paths, software: &Upstream) -> Result<()> {
    described(paths, net::ARCHIVE, net::KERNELS, net::GUESTS)?;
    linux_net(paths, software)
}

/// Debian's kernel with a network interface, and an echo server for it to talk to.
fn linux_net(paths: &Paths, software: &Upstream) -> Result<()> {
    let mut initramfs = Archive::default();
    for folder in ["bin", "dev", "proc", "sys"] {
        initramfs.folder(folder)?;
    }
    initramfs.character_device("dev/console", 5, 1)?;
    let busybox = find_program("busybox").context("busybox is missing")?;
    initramfs.file_from("bin/busybox", 0o755, &busybox)?;
    initramfs.link("bin/sh", "busybox")?;
    initramfs.file_from("xen-netfront.ko", 0o644, &software.netfront)?;
    initramfs.file("init", 0o755, &first_process(LINUX_NET))?;
    let (linux, echo) = (read(&software.vmlinuz)?, read(&paths.image.join("guests/echo"))?);
    let more =
        "vcpus = 2\nramdisk = \"guests/initramfs\"\nextra = \"console=hvc0\"\nvif = [ 'ip=10.0.0.5' ]\n";
    let list = [
        ("debian-net", &linux[..], config("debian-net", 192, more).replace("vcpus = 1\n", "")),
        ("initramfs", &gzip(&initramfs.finish()?)?[..], String::new()),
        ("echo", &echo[..], config("echo", 32, "extra = \"ip=10.0.0.1/24\"\nvif = [ '' ]\n")),
    ];
    write(&paths.image.join("debian-net.cpio"), &guests(&list)?)
}

/// Packs kernels, and the configurations of the guests that use them.
fn described(paths: &Paths, name: &str, kernels: &[&str], guests: &[block::Guest]) -> Result<()> {
    with_files(paths, name, kernels, guests, &[])
}

/// Packs kernels, the configurations of the guests that use them, and more files.
fn with_files(
    paths: &Paths,
    name: &str,
    kernels: &[&str],
    guests: &[block::Guest],
    files: &[(&str, Vec<u8>)],
) -> Result<()> {
    let mut archive = Archive::default();
    archive.folder("guests")?;
    for (path, bytes) in files {
        archive.file(path, 0o644, bytes)?;
    }
    for kernel in kernels {
        archive.file_from(&format!("guests/{kernel}"), 0o755, &paths.image.join("guests").join(kernel))?;
    }
    for guest in guests {
        let text = format!(
            "kernel = \"guests/{}\"\nmemory = {}\nextra = \"{}\"\n{}\n",
            guest.kernel, guest.memory, guest.arguments, guest.more
        );
        archive.file(&format!("guests/{}.cfg", guest.name), 0o644, text.as_bytes())?;
    }
    write(&paths.image.join(name), &archive.finish()?)
}

/// Prepares kernels that must be refused, each with the reason in its name.
///
/// # Errors
/// If the model guest was not built, or a file cannot be written.
pub fn broken(paths: &Paths, software: &Upstream) -> Result<()> {
    let good = read(&paths.image.join("guests").join(MODEL_GUEST))?;
    let vmlinuz = read(&software.vmlinuz)?;
    let mut damaged_bzimage = vmlinuz.clone();
    let middle = damaged_bzimage.len() / 2;
    damaged_bzimage[middle..middle + 4096].fill(0x5a);
    let kernels: [(&str, Vec<u8>); 7] = [
        ("text", b"#!/bin/sh\necho this is not a kernel\n".to_vec()),
        ("truncated", good[..good.len() / 3].to_vec()),
        ("damaged", damage_program_headers(&good)?),
        ("foreign", without_xen_notes(&good)?),
        ("oversized", oversized(&good)?),
        ("bzimage-truncated", vmlinuz[..vmlinuz.len() / 2].to_vec()),
        ("bzimage-damaged", damaged_bzimage),
    ];
    let mut list = Vec::new();
    for (name, kernel) in &kernels {
        write(&paths.image.join("broken").join(name), kernel)?;
        list.push((*name, &kernel[..], config(name, 128, "")));
    }
    write(&paths.image.join("broken.cpio"), &guests(&list)?)
}

/// Offsets in the ELF64 header and in a program header.
const E_PHOFF: usize = 32;
const E_PHNUM: usize = 56;
const PROGRAM_HEADER: usize = 56;
const P_MEMSZ: usize = 40;

/// Puts the program headers beyond the end of the file.
fn damage_program_headers(good: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = good.to_vec();
    let field = bytes.get_mut(E_PHOFF..E_PHOFF + 8).context("the model guest has no ELF header")?;
    field.copy_from_slice(&0x7fff_ffff_u64.to_le_bytes());
    Ok(bytes)
}

/// Renames the owner of all Xen notes: what is left is an ELF for x86-64, but not for Xen.
fn without_xen_notes(good: &[u8]) -> Result<Vec<u8>> {
    // A note starts with the length of its owner's name, 4, and has that name after two more words.
    let mut bytes = good.to_vec();
    let is_note =
        |at: &usize| good[*at..].starts_with(&[4, 0, 0, 0]) && good[at + 12..].starts_with(b"Xen\0");
    let notes: Vec<usize> = (0..good.len().saturating_sub(16)).step_by(4).filter(is_note).collect();
    ensure!(!notes.is_empty(), "the model guest has no Xen notes");
    for at in notes {
        bytes[at + 12..at + 15].copy_from_slice(b"Nox");
    }
    Ok(bytes)
}

/// Lets the last loadable segment claim 1 GiB of memory.
fn oversized(good: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = good.to_vec();
    let number = |at: usize, size: usize| -> Result<usize> {
        let field = good.get(at..at + size).context("the model guest has a damaged ELF header")?;
        Ok(field.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    let first = number(E_PHOFF, 8)?;
    let mut loads = (0..number(E_PHNUM, 2)?)
        .map(|i| first + i * PROGRAM_HEADER)
        .filter(|&at| number(at, 4).is_ok_and(|kind| kind == 1));
    let last = loads.next_back().context("the model guest has no loadable segment")?;
    bytes[last + P_MEMSZ..last + P_MEMSZ + 8].copy_from_slice(&(1_u64 << 30).to_le_bytes());
    Ok(bytes)
}

/// Writes CDs that start at once.
///
/// # Errors
/// If hypervisor, Dom0 or initrd were not built, or grub-mkrescue fails.
pub fn disks(paths: &Paths) -> Result<()> {
    for (name, loader) in [("multiboot1.iso", "multiboot"), ("multiboot2.iso", "multiboot2")] {
        let options =
            "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem=128M qemu-exit".to_string();
        iso::write(paths, &paths.image.join(name), &[Entry { loader, options, args: String::new() }], 0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_notes_is_renamed() {
        let mut model = vec![0u8; 8];
        model.extend([4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0]);
        model.extend(b"Xen\0abcd");
        model.extend([0; 16]);
        let foreign = without_xen_notes(&model).unwrap();
        assert_eq!(&foreign[20..24], b"Nox\0");
        assert!(without_xen_notes(&foreign).is_err());
    }
}
