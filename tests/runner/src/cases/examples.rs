//! The guests of the folder `examples`, each doing what it is for.
//!
//! The guests and their devices are [`GUESTS`], packed into [`ARCHIVE`] for Dom0, with [`SITE`], a disk.

use super::block::{Guest, guest};
use crate::case::Case;
use crate::http::Body;

/// Dom0's archive.
pub const ARCHIVE: &str = "tour.cpio";

/// Kernels in the archive.
pub const KERNELS: &[&str] = &[
    "block",
    "files",
    "hello",
    "keyvalue",
    "keyvalue_client",
    "primes",
    "programs",
    "storage",
    "throughput",
];

/// In the archive: a tar archive of [`PAGES`].
pub const SITE: &str = "guests/site.tar";

/// In the archive: a program for user mode.
pub const PROGRAM: &str = "guests/program";

/// Files of the site: paths, and lengths. The first is a page with a greeting, the others have the bytes of [`Body::Pattern`].
pub const PAGES: &[(&str, u64)] =
    &[("index.html", 0), ("a folder/bytes", 1_000_001), ("small", 100), ("empty", 0)];

/// What the first page says.
pub const GREETING: &str = "Read from a block device.";

/// Guests in the archive.
pub const GUESTS: &[Guest] = &[
    guest("files", "files", "", "disk = [ 'file:guests/site.tar,xvda,r' ]\nvif = [ '' ]"),
    guest("no-site", "files", "", "disk = [ 'file:guests/program,xvda,r' ]\nvif = [ '' ]"),
    guest("hello", "hello", "ticks=1", ""),
    guest(
        "keyvalue",
        "keyvalue",
        "ip=10.0.0.1/24",
        "disk = [ 'ram:256K:pairs,xvda,w' ]\nvif = [ 'mac=00:16:3e:00:00:01' ]",
    ),
    guest("client", "keyvalue_client", "ip=10.0.0.2/24 server=10.0.0.1", "vif = [ '' ]"),
    guest("storage", "storage", "mib=2", ""),
    guest("user", "block", "passes=2", "disk = [ 'backend=storage,vdev=xvda,access=w,target=first' ]"),
    guest("keep", "block", "keep", "disk = [ 'backend=storage,vdev=xvda,access=w,target=second' ]"),
    guest("other", "block", "keep", "disk = [ 'backend=storage,vdev=xvda,access=w,target=second' ]"),
    guest("busy", "block", "passes=1000", "disk = [ 'backend=storage,vdev=xvda,access=w,target=third' ]"),
    guest("lost", "block", "", "disk = [ 'backend=nobody,vdev=xvda,access=w,target=first' ]"),
    guest("disk", "throughput", "disk now mib=4", "disk = [ 'ram:4M,xvda,w' ]"),
    guest("sink", "throughput", "sink ip=10.0.0.1/24", "vif = [ '' ]"),
    guest("sender", "throughput", "send=10.0.0.1 ip=10.0.0.2/24 now mib=4", "vif = [ '' ]"),
    guest("primes", "primes", "", "vcpus = 2"),
    guest("programs", "programs", "", "ramdisk = \"guests/program\""),
];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        shown("example-keyvalue", KEYVALUE).expect("SCRIPT ok", 300),
        files(),
        shown("example-storage", STORAGE).expect("SCRIPT ok", 300),
        shown("example-primes", PRIMES).cpus(2).expect("SCRIPT ok", 120),
        shown("example-throughput", THROUGHPUT).expect("SCRIPT ok", 180),
        shown("example-programs", PROGRAMS).expect("SCRIPT ok", 120),
    ]
}

fn shown(name: &str, script: &str) -> Case {
    Case::new(name, "dom0").options("dom0_mem=128M").initrd(ARCHIVE).script(script).limit(360)
}

/// From the host: pages, parts of them, what is not there, what is not a request, and clients that ask by half.
fn files() -> Case {
    let part = |range: &str| format!("GET /small HTTP/1.1\r\nHost: guest\r\nRange: bytes={range}\r\n\r\n");
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(4096));
    shown("example-files", FILES)
        .expect("> echo READY", 90)
        .fetch("/", Body::Text(GREETING.into()), 60)
        .fetch("/a%20folder/bytes", Body::Pattern(1_000_001), 60)
        .fetch("/empty", Body::Pattern(0), 30)
        .ask("HEAD /small HTTP/1.1\r\n\r\n", Body::Status(200), 30)
        .ask(&part("10-19"), Body::Part(10, 20), 30)
        .ask(&part("90-"), Body::Part(90, 100), 30)
        .ask(&part("-7"), Body::Part(93, 100), 30)
        .ask(&part("100-"), Body::Status(416), 30)
        .ask(&part("5-1"), Body::Pattern(100), 30)
        .fetch("/a%20folder", Body::Status(404), 30)
        .fetch("/../small", Body::Status(404), 30)
        .fetch("/%zz", Body::Status(400), 30)
        .ask("\x01\x02\x03\r\n\r\n", Body::Status(400), 30)
        .ask("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Body::Status(405), 30)
        .ask(&long, Body::Status(431), 30)
        .stall(40)
        .fetch("/small", Body::Pattern(100), 90)
        .fetch("/end", Body::Status(404), 30)
        .expect("SCRIPT ok", 60)
}

const FILES: &str = "create no-site; wait no-site 'archive: a wrong checksum' 30; create files; wait files 'on port 80' 60; \
    echo READY; wait files '404 end' 240; log files; poweroff";

/// A store that is killed four times while a client writes, and what was acknowledged is
/// there each time.
const KEYVALUE: &str = "create keyvalue; wait keyvalue 'on port 7000' 30; create client; wait client ' 70 acknowledged' 60; \
    destroy keyvalue; create keyvalue; wait client 'all there' 60; wait client ' 150 acknowledged' 60; \
    destroy keyvalue; create keyvalue; wait client 'all there' 60; wait client ' 290 acknowledged' 60; \
    destroy keyvalue; create keyvalue; wait client 'all there' 60; wait client ' 400 acknowledged' 60; \
    destroy keyvalue; create keyvalue; wait client 'all there' 60; wait client 'RESULT: pass' 60; log keyvalue; \
    log client; poweroff";

/// A guest's disk on another guest: all the front end can do, what survives the front end, one at a time, guests that die in the midst of I/O,
/// and a back end that dies.
const STORAGE: &str = "expect-error 'backend=nobody: no domain called nobody' create lost; create storage; \
    wait storage 'disks of 2 MiB' 30; create user; wait user 'RESULT: pass' 240; log user; expect-gone user 20; \
    create keep; wait keep 'flushed 40.' 60; create other; wait storage 'second is in use' 30; destroy other; \
    destroy keep; create keep; wait keep 'found 40.' 60; destroy keep; churn busy 40 100; \
    create busy; wait storage 'third is xvda' 30; sleep 1; destroy storage; destroy busy; create storage; create user; \
    wait user 'RESULT: pass' 240; log storage; poweroff";

const PRIMES: &str = "create primes; wait primes 'vCPU 0 took' 60; wait primes 'vCPU 1 took' 60; \
    wait primes '6057 primes below 60000' 60; log primes; expect-gone primes 20; create hello; wait hello 'hello from' 20; \
    wait hello 'bye' 20; expect-gone hello 20; poweroff";

const THROUGHPUT: &str = "create disk; wait disk 'MOVED disk write 4194304' 60; wait disk 'MOVED disk read 4194304' 60; \
    expect-gone disk 20; log disk; create sink; wait sink 'on port 9' 30; create sender; \
    wait sender 'MOVED network 4194304' 60; expect-gone sender 20; log sender; log sink; poweroff";

const PROGRAMS: &str = "create programs; wait programs 'all processes have ended' 60; log programs; \
    expect-gone programs 20; poweroff";
