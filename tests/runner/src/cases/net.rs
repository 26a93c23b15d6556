//! Network: guests' front ends on the SDK, and Dom0's back end and bridge.
//!
//! The guests and their interfaces are [`GUESTS`], packed into [`ARCHIVE`] for Dom0.

use super::block::{Guest, guest};
use crate::case::Case;
use crate::http::Body;

/// Dom0's archive.
pub const ARCHIVE: &str = "net.cpio";

/// Kernels in the archive.
pub const KERNELS: &[&str] = &["echo", "net_client", "net_http", "net_hostile"];

/// Guests in the archive.
pub const GUESTS: &[Guest] = &[
    guest("echo", "echo", "ip=10.0.0.1/24", "vif = [ 'mac=00:16:3e:00:00:01,ip=10.0.0.1' ]"),
    guest("client", "net_client", "ip=10.0.0.2/24 server=10.0.0.1 mib=8", "vif = [ 'ip=10.0.0.2' ]"),
    Guest {
        name: "busy",
        kernel: "net_client",
        memory: 12,
        arguments: "ip=10.0.0.2/24 server=10.0.0.1 mib=1000",
        more: "vif = [ 'ip=10.0.0.2' ]",
    },
    guest(
        "long",
        "net_client",
        "ip=10.0.0.2/24 server=10.0.0.1 mib=1024",
        "vif = [ 'ip=10.0.0.2,mtu=9000' ]",
    ),
    guest("echo-long", "echo", "ip=10.0.0.1/24", "vif = [ 'mtu=9000' ]"),
    guest("limited", "net_client", "ip=10.0.0.3/24 server=10.0.0.1 mib=1", "vif = [ 'rate=20Mb/s@20ms' ]"),
    guest("liar", "net_client", "ip=10.0.0.9/24 server=10.0.0.1 mib=1", "vif = [ 'ip=10.0.0.4' ]"),
    guest("http", "net_http", "", "vif = [ '' ]"),
    guest("one", "net_hostile", "seed=1", "vif = [ 'mac=00:16:3e:00:00:03' ]"),
    guest("two", "net_hostile", "seed=2 lives=30", "vif = [ 'rate=100Mb/s' ]"),
    guest("forever", "net_hostile", "seed=4 lives=0", "vif = [ 'ip=10.0.0.7' ]"),
    guest("wrong", "net_client", "", "vif = [ '',\n  'bridge=xenbr0,mac=00:16:3e:0:0:1' ]"),
];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        shown("net", NET).expect("SCRIPT ok", 300),
        shown("net-gib", GIB).limit(1800).expect("SCRIPT ok", 1800),
        // Little memory, since the auditor looks at all of it whenever a domain is gone.
        shown("net-killed", KILLED).memory(224).expect("SCRIPT ok", 600).limit(900),
        shown("net-hostile", HOSTILE).forbid("0 connected").expect("SCRIPT ok", 600).limit(600),
        http(),
        linux(),
    ]
}

/// From the host through QEMU's port forwarding, Dom0's card and bridge, into a guest that got its address by DHCP.
fn http() -> Case {
    shown("net-http", HTTP)
        .expect("> echo READY", 90)
        .fetch("/", Body::Text("hello from domain 1".into()), 60)
        .fetch("/bytes/1", Body::Pattern(1), 30)
        .fetch("/bytes/4000000", Body::Pattern(4_000_000), 120)
        .fetch("/nothing", Body::Status(404), 30)
        .fetch("/end", Body::Status(404), 30)
        .expect("SCRIPT ok", 60)
}

/// Debian's front end, a module of its kernel, on two CPUs and so with two queues.
fn linux() -> Case {
    let script = "create echo; wait echo 'on port 7' 60; create debian-net; wait debian-net 'LINUX NET same' 300; \
                  log echo; expect-gone debian-net 60; log debian-net; poweroff";
    Case::new("debian-net", "dom0")
        .memory(1024)
        .options("dom0_mem=448M")
        .initrd("debian-net.cpio")
        .script(script)
        .expect("SCRIPT ok", 400)
        .limit(420)
}

fn shown(name: &str, script: &str) -> Case {
    Case::new(name, "dom0").options("dom0_mem=128M").initrd(ARCHIVE).script(script).limit(300)
}

/// Data through a bridge and back, at full speed and limited; a guest with a borrowed address gets nowhere; nothing is left.
const NET: &str = "expect-error 'line 5, column 22' create wrong; create echo; wait echo 'on port 7' 30; \
    create client; wait client 'RESULT: pass' 240; store /local/domain/0/backend; expect-gone client 20; \
    create limited; wait limited 'RESULT: pass' 120; expect-gone limited 20; \
    create liar; wait liar 'RESULT: fail' 120; log liar; expect-gone liar 20; log echo; destroy echo; \
    churn client 5; poweroff";

/// One GiB each way.
const GIB: &str = "create echo-long; wait echo-long 'on port 7' 30; create long; \
    wait long 'RESULT: pass, 1073741824' 1500; log long; poweroff";

/// Guests that die in the midst of TCP, each at another moment, while an echo server talks to them; then a good one is served as before,
/// and nothing is missing.
const KILLED: &str = "create echo; wait echo 'on port 7' 30; churn busy 500 120; create client; \
    wait client 'RESULT: pass' 240; expect-gone client 20; destroy echo; churn client 5; poweroff";

/// Hostile front ends beside good ones, which notice nothing; in the end every frame is back.
const HOSTILE: &str = "create echo; wait echo 'on port 7' 30; create one; create two; \
    create client; wait client 'RESULT: pass' 240; expect-gone client 20; \
    wait one 'hostile: done' 240; wait two 'hostile: done' 240; log one; log two; expect-gone one 20; expect-gone two 20; \
    create forever; sleep 3; destroy forever; create client; wait client 'RESULT: pass' 240; expect-gone client 20; \
    destroy echo; churn forever 10; poweroff";

/// The guest serves until it is asked for `/end`.
const HTTP: &str =
    "create http; wait http 'on port 80' 60; echo READY; wait http 'GET /end' 240; log http; poweroff";
