//! Whole sessions on the fake hypervisor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::vec::Vec;

use abi::errno::Errno;

use super::{Options, Session};
use crate::control::Control;
use crate::fake::{self, BASE, Fake};
use crate::files::Files;

const FREE: u64 = 100_000;

/// Runs a script (or types keys, if it begins with a newline) until the machine is off; returns what was printed.
fn run(fake: &Fake, archive: &[u8], script: &str) -> String {
    let (files, damage) = Files::read(archive);
    assert_eq!(damage, None);
    let mut options = Options::default();
    match script.strip_prefix('\n') {
        Some(keys) => fake.0.borrow_mut().keys.extend(keys.bytes()),
        None => options.script = Some(script.into()),
    }
    let session = Session::new(Control::new(fake.clone(), files), options);
    let end = catch_unwind(AssertUnwindSafe(|| session.run())).unwrap_err();
    assert_eq!(end.downcast_ref::<String>().map(String::as_str), Some(fake::POWERED_OFF));
    fake.0.borrow().printed.clone()
}

fn images() -> Vec<u8> {
    let kernel = fake::kernel(b"the kernel's text");
    fake::archive(&[
        (
            "guests/hello.cfg",
            b"kernel = 'hello.elf'\nmemory = 8\nextra = 'a=1'\nramdisk='rd'\non_crash='preserve'",
        ),
        ("guests/hello.elf", &kernel),
        ("guests/rd", b"initial ram disk"),
        ("guests/cut.cfg", b"kernel = 'cut.elf'"),
        ("guests/cut.elf", &kernel[..5000]),
        ("guests/text.cfg", b"kernel = 'rd'"),
    ])
}

fn word(page: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(page[offset..offset + 8].try_into().unwrap())
}

/// Follows the new domain's page tables.
fn walk(fake: &Fake, root: u64, va: u64) -> Option<u64> {
    (1..=4u32).rev().try_fold(root, |table, level| {
        let index = va >> (12 + 9 * (level - 1)) & 511;
        let entry = word(&fake.frame(table), index as usize * 8);
        (entry & 1 == 1).then_some(entry >> 12 & 0xff_ffff_ffff)
    })
}

#[test]
fn a_guest_is_built_as_its_kernel_expects() {
    let fake = Fake::new(FREE);
    let archive = images();
    let (files, _) = Files::read(&archive);
    let mut control = Control::new(fake.clone(), files);
    let created = control.create("hello", false).unwrap();
    let world = fake.0.borrow();
    let domain = &world.domains[&created.dom.0];
    let context = domain.context.unwrap();
    let root = domain.pinned.unwrap();
    let hypercalls = domain.hypercall_page.unwrap();
    drop(world);
    assert_eq!(context.ctrlreg[3], root << 12);
    assert_eq!(context.user_regs.rip, BASE + 0x10_0000);
    let text = walk(&fake, root, context.user_regs.rip).unwrap();
    assert!(fake.frame(text).starts_with(b"the kernel's text"));
    assert_eq!(walk(&fake, root, BASE + 0x10_1000), Some(hypercalls));
    let info = fake.frame(walk(&fake, root, context.user_regs.rsi).unwrap());
    assert_eq!(&info[..14], b"xen-3.0-x86_64");
    assert_eq!(word(&info, 32), 8 << 8);
    let line = core::mem::offset_of!(abi::xen::StartInfo, cmd_line);
    assert!(info[line..].starts_with(b"a=1\0"));
    let module = word(&info, core::mem::offset_of!(abi::xen::StartInfo, mod_start));
    assert!(fake.frame(walk(&fake, root, module).unwrap()).starts_with(b"initial ram disk"));
    let list = word(&info, core::mem::offset_of!(abi::xen::StartInfo, mfn_list));
    let list = fake.frame(walk(&fake, root, list).unwrap());
    assert_eq!(word(&list, 0x100 * 8), text);
    assert!(walk(&fake, root, context.user_regs.rsp - 8).is_some());
    assert_eq!(control.store.read("/local/domain/1/name"), Some(&b"hello"[..]));
    control.destroy(created.dom);
    let world = fake.0.borrow();
    assert_eq!((world.free, world.mapped, world.open_ports.len()), (FREE, 0, 0));
    assert!(control.store.tree().get("/local/domain/1").is_none());
    control.store.tree().check().unwrap();
}

#[test]
fn whatever_fails_nothing_is_left() {
    let calls = [
        "max_vcpus",
        "max_mem",
        "set_memory_map",
        "alloc_unbound",
        "populate",
        "map_foreign",
        "hypercall_init",
        "pin_l4",
        "set_vcpu_context",
        "bind",
        "unpause",
    ];
    for call in calls {
        let fake = Fake::new(FREE);
        let archive = images();
        let (files, _) = Files::read(&archive);
        let mut control = Control::new(fake.clone(), files);
        fake.0.borrow_mut().fail = Some((call, Errno::EPERM));
        let error = control.create("hello", false).unwrap_err();
        assert!(error.contains("EPERM"), "{call}: {error}");
        let world = fake.0.borrow();
        assert_eq!((world.free, world.mapped, world.open_ports.len()), (FREE, 0, 0), "{call}");
        assert!(world.domains.is_empty());
    }
}

#[test]
fn scripts_end_with_a_verdict() {
    let good = run(
        &Fake::new(FREE),
        &images(),
        "create hello; list; store /local/domain/1/name; destroy hello; poweroff",
    );
    assert!(good.contains("hello started as domain 1") && good.contains("SCRIPT ok"), "{good}");
    let bad = run(&Fake::new(FREE), &images(), "create hello; wait hello 'never' 3; list");
    assert!(
        bad.contains("SCRIPT failed: 2, wait hello 'never' 3: hello did not print \"never\" within 3 s"),
        "{bad}"
    );
    let churn = run(&Fake::new(FREE), &images(), "churn hello 20 50; poweroff");
    assert!(churn.contains("churn: 20 times, free frames 100000 before and 100000 after"), "{churn}");
}

#[test]
fn damaged_images_give_one_line() {
    let fake = Fake::new(FREE);
    let script = "expect-error 'beyond file size' create cut; expect-error 'not an ELF' create text; \
        expect-error 'there are: cut, hello, text' create none; poweroff";
    let printed = run(&fake, &images(), script);
    assert!(printed.contains("SCRIPT ok"), "{printed}");
    assert_eq!(fake.0.borrow().free, FREE);
    let short =
        run(&Fake::new(1000), &images(), "expect-error 'not enough free memory' create hello; poweroff");
    assert!(short.contains("SCRIPT ok"), "{short}");
    let kernel = fake::kernel(b"");
    let greedy = fake::archive(&[("g.cfg", b"kernel='k'\nmemory=100000\nname='g'"), ("k", &kernel)]);
    let printed = run(&Fake::new(1000), &greedy, "expect-error 'of 100000 MiB' create g; poweroff");
    assert!(printed.contains("SCRIPT ok"), "{printed}");
}

#[test]
fn a_person_types() {
    let printed =
        run(&Fake::new(FREE), &images(), "\nlis\t\rcrate hello\rcreate hel\t\rconsole hello\r\x1dpoweroff\r");
    assert!(printed.contains("did you mean create?"), "{printed}");
    assert!(
        printed.contains("attached to hello; Ctrl-] leaves") && printed.contains("left hello"),
        "{printed}"
    );
}

#[test]
fn ends_are_noticed_and_followed() {
    let fake = Fake::new(FREE);
    let archive = images();
    let (files, _) = Files::read(&archive);
    let mut control = Control::new(fake.clone(), files);
    let dom = control.create("hello", false).unwrap().dom;
    fake.shut_down(dom.0, 3);
    control.serve();
    assert!(control.next_notice().unwrap().starts_with("hello (domain 1), CPU 0: rip "));
    let notice = control.next_notice().unwrap();
    assert!(notice.starts_with("hello (domain 1) crashed; it is kept"), "{notice}");
    control.destroy(dom);
    let dom = control.create("hello", false).unwrap().dom;
    fake.shut_down(dom.0, 0);
    control.serve();
    assert!(control.next_notice().unwrap().starts_with("hello (domain 2) powered off"));
    assert_eq!((control.domains().count(), fake.0.borrow().free), (0, FREE));
}

#[test]
fn a_reboot_starts_the_guest_again_unless_it_loops() {
    let fake = Fake::new(FREE);
    let archive = images();
    let (files, _) = Files::read(&archive);
    let mut control = Control::new(fake.clone(), files);
    let dom = control.create("hello", false).unwrap().dom;
    fake.0.borrow_mut().now += 5_000_000_000;
    fake.shut_down(dom.0, 1);
    control.serve();
    assert!(control.next_notice().unwrap().contains("asked for a reboot; starting it again"));
    assert_eq!(control.next_notice().unwrap(), "hello is domain 2 now");
    fake.shut_down(2, 1);
    control.serve();
    assert!(control.next_notice().unwrap().contains("not started again"));
    let world = fake.0.borrow();
    assert_eq!((world.free, world.mapped, world.open_ports.len()), (FREE, 0, 0));
}

#[test]
fn a_guest_that_never_stops_talking_does_not_stop_the_shell() {
    let fake = Fake::new(FREE);
    fake.0.borrow_mut().talkative = true;
    let printed = run(&fake, &images(), "\ncreate hello\rlist\rpoweroff\r");
    assert!(printed.contains("hello                        1"), "{printed}");
}

/// A guest with these settings ends for a reason; returns what was said, the names of the domains then, and how many frames
/// are missing.
fn end_of(settings: &str, reason: u32) -> (Vec<String>, Vec<String>, u64) {
    let kernel = fake::kernel(b"text");
    let config = std::format!("kernel = 'k'\nmemory = 8\ndisk = [ 'ram:1M:kept,xvda,w' ]\n{settings}");
    let archive = fake::archive(&[("guests/g.cfg", config.as_bytes()), ("guests/k", &kernel)]);
    let (files, _) = Files::read(&archive);
    let fake = Fake::new(FREE);
    let mut control = Control::new(fake.clone(), files);
    let dom = control.create("g", false).unwrap().dom;
    fake.0.borrow_mut().now += 5_000_000_000;
    fake.shut_down(dom.0, reason);
    control.serve();
    let said = std::iter::from_fn(|| control.next_notice()).collect();
    control.store.tree().check().unwrap();
    let names = control.names();
    let left: Vec<_> = control.domains().map(|d| d.dom).collect();
    left.into_iter().for_each(|dom| control.destroy(dom));
    let below = |path: &str| control.store.tree().get(path).map_or(0, |node| node.children.len());
    assert_eq!((below("/vm"), below("/libxl")), (0, 0));
    let world = fake.0.borrow();
    assert_eq!((world.mapped, world.open_ports.len()), (0, 0));
    (said, names, FREE - world.free)
}

#[test]
fn what_follows_an_end_is_as_configured() {
    let (said, names, missing) = end_of("on_poweroff = 'rename-restart'", 0);
    assert_eq!((names, missing), (["g-1", "g"].map(String::from).to_vec(), 0), "{said:?}");
    assert!(said[0].contains("it is kept as g-1, and started again"), "{said:?}");
    let (said, names, missing) = end_of("on_watchdog = 'restart'", 4);
    assert_eq!((names.len(), missing), (1, 0));
    assert!(said[0].contains("ended by its watchdog; starting it again"), "{said:?}");
    let (said, names, missing) = end_of("on_crash = 'coredump-destroy'", 3);
    assert_eq!((names.len(), missing), (0, 0));
    assert!(said[1].contains("g: no core file: there is no disk vda"), "{said:?}");
    let (said, names, _) =
        end_of("on_crash = 'coredump-restart'\nuuid='01234567-89ab-cdef-0123-456789abcdef'", 3);
    assert_eq!(names, ["g"], "{said:?}");
    let (said, names, missing) =
        end_of("on_poweroff = 'rename-restart'\nuuid='01234567-89ab-cdef-0123-456789abcdef'", 0);
    assert_eq!((names.len(), missing), (2, 0), "{said:?}");
    let (_, names, _) = end_of("on_reboot = 'preserve'", 1);
    assert_eq!(names, ["g"]);
}

#[test]
fn commands_of_an_administrator() {
    let script = "create --count 3 hello; expect hello-2 list; expect '\"name\": \"hello-3\"' list -l hello-3; \
        expect '1 of 1 CPU' vcpu-set hello-1 1; expect-error 'at most' vcpu-set hello-1 2; \
        expect '4096 KiB' mem-set hello-1 4; expect-error 'at most' mem-set hello-1 9; \
        sched-credit -d hello-1 -w 512 -c 50; expect '512     50' sched-credit; \
        block-attach hello-1 ram:1M,xvda,w; expect xvda block-list hello-1; block-detach --force hello-1 xvda; \
        network-attach hello-1 mac=00:16:3e:00:00:07; expect 00:16:3e:00:00:07 network-list; \
        network-detach --force hello-1 0; trigger hello-1 nmi; pause hello-1; expect instruction: context hello-1; \
        rename hello-1 other; expect other uptime; reboot other; until reboot store /local/domain/1/control; stopwatch; \
        debug-keys q; destroy hello-2; create --count 1 hello; expect 'MEM %' top 2; \
        expect-error 'there is no disk' dump-core other vda; expect vcpu-list help; poweroff";
    let printed = run(&Fake::new(FREE), &images(), script);
    assert!(printed.contains("SCRIPT ok"), "{printed}");
}
