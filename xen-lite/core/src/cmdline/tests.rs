use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;
use crate::speculation::SpecOptions;

fn options(text: &str) -> Options {
    let line = parse(text, "GRUB 2.06");
    assert_eq!(line.warnings, [], "{text}");
    line.options
}

fn warning(text: &str) -> alloc::string::String {
    let line = parse(text, "GRUB 2.06");
    assert_eq!(line.warnings.len(), 1, "{text}");
    assert_eq!(line.options, Options::default(), "{text}: the default stands");
    line.warnings[0].to_string()
}

#[test]
fn the_usual_line_of_the_tests() {
    let o = options(
        "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all noreboot=1 dom0_mem=256M xpti=no spec-ctrl=no sched=credit",
    );
    assert_eq!(o.console, ConsoleSet { com1: true, com2: false, vga: false });
    assert_eq!(
        (o.com1.baud, o.com1.data_bits, o.com1.stop_bits, o.com1.io_base),
        (Some(115_200), 8, 1, 0x3f8)
    );
    assert_eq!(o.loglvl, LogThresholds { always: LogLevel::All, rate_limited: LogLevel::All });
    assert!(o.noreboot);
    assert_eq!(o.dom0_mem.at_start(480 << 20), 256 << 20);
    assert_eq!((o.xpti_dom0, o.xpti_domu), (Choice::Off, Choice::Off));
    assert_eq!((o.spec_ctrl, &*o.sched), (SpecOptions::off(), "credit"));
}

#[test]
fn the_first_word_and_the_double_dash() {
    let line = parse("xen-lite noreboot --  quiet  init=/bin/sh -- x", "qemu");
    assert!(line.options.noreboot && line.warnings.is_empty());
    assert_eq!(line.dom0_extra, "quiet init=/bin/sh -- x");
    assert_eq!(parse("noreboot", "qemu").options, Options::default());
    assert!(parse("noreboot", "GRUB 2.06-13+deb12u1").options.noreboot);
    assert_eq!(parse("", "qemu"), CommandLine::default());
    assert_eq!(parse("--", "GRUB 2").dom0_extra, "");
}

#[test]
fn booleans_and_spellings() {
    for text in
        ["sync_console", "sync-console=yes", "sync_console=on", "no-sync_console=off", "sync_console=1"]
    {
        assert!(options(text).sync_console, "{text}");
    }
    for text in ["no-sync_console", "sync_console=no", "sync_console no-sync-console"] {
        assert!(!options(text).sync_console, "{text}");
    }
    assert_eq!(options("x2apic").x2apic, Some(true));
    assert_eq!(options("smap=0").smap, Some(CpuFeatureUse::Off));
    assert_eq!(options("smep=hvm").smep, CpuFeatureUse::HvmOnly);
    assert_eq!(options("no-spec-ctrl").spec_ctrl, SpecOptions::off());
    assert_eq!(options("watchdog=force").watchdog, Watchdog::Force);
    assert_eq!(options("no-watchdog").watchdog, Watchdog::Off);
}

#[test]
fn memory_of_dom0() {
    const GIB: u64 = 1 << 30;
    let at_start = |text, available| options(text).dom0_mem.at_start(available);
    assert_eq!(at_start("", GIB), GIB - GIB / 16);
    assert_eq!(at_start("", 64 * GIB), 64 * GIB - (128 << 20));
    assert_eq!(at_start("dom0_mem=262144", GIB), 256 << 20);
    assert_eq!(at_start("dom0_mem=-128M", GIB), GIB - (128 << 20));
    assert_eq!(at_start("dom0_mem=25%", GIB), GIB / 4);
    assert_eq!(at_start("dom0_mem=256M+25%", GIB), GIB / 2);
    assert_eq!(at_start("dom0_mem=64M,min:128M,max:512M", GIB), 128 << 20);
    assert_eq!(at_start("dom0_mem=max:512M", GIB), 512 << 20);
    assert_eq!(at_start("dom0_mem=8G", GIB), GIB);
    assert_eq!(options("dom0_mem=1G,max:2G").dom0_mem.maximum(GIB), Some(2 * GIB));
    assert_eq!(options("mem=2g").mem, Some(2 * GIB));
}

#[test]
fn vcpus_consoles_and_lists() {
    let range = |text| options(text).dom0_max_vcpus;
    assert_eq!(range("dom0_max_vcpus=2").for_cpus(8), 2);
    assert_eq!(range("dom0_max_vcpus=2-4").for_cpus(1), 2);
    assert_eq!(range("dom0_max_vcpus=-4").for_cpus(8), 4);
    assert_eq!(range("").for_cpus(3), 3);
    assert_eq!(options("conswitch=bx").conswitch, Conswitch { key: Some(2), start_with_dom0: false });
    assert_eq!(options("com2=auto,7e2,0x2e8,5").com2.parity, Parity::Even);
    assert_eq!(options("xpti=dom0=false,domu=true").xpti_domu, Choice::On);
    assert_eq!(options("xpti=no-dom0").xpti_dom0, Choice::Off);
    assert_eq!(options("gnttab=max-ver:1,no-transitive").gnttab.max_version, 1);
    assert_eq!(options("gnttab_max_frames=32").gnttab.max_frames, 32);
    assert_eq!(options("dom0=pvh,verbose").dom0, Dom0Kind::Pvh);
    assert_eq!(options("tsc=unstable maxcpus=1").tsc, TscReliability::Unstable);
    let levels = options("loglvl=error/info").loglvl;
    assert_eq!((levels.always, levels.rate_limited), (LogLevel::Error, LogLevel::Info));
}

#[test]
fn warnings_name_option_and_value() {
    assert_eq!(warning("flux=9"), "command line: unknown option \"flux=9\" ignored");
    assert_eq!(warning("no-flux"), "command line: unknown option \"no-flux\" ignored");
    assert_eq!(
        warning("noreboot=maybe"),
        "command line: noreboot: \"maybe\" is not a boolean (yes or no); ignored"
    );
    assert_eq!(warning("iommu=1"), "command line: \"iommu=1\" has no effect in xen-lite");
    assert_eq!(warning("no-numa"), "command line: \"no-numa\" has no effect in xen-lite");
    assert_eq!(warning("console"), "command line: console: \"\" is not a value (name=value); ignored");
    for bad in [
        "dom0_mem=12Q",
        "dom0_mem=120%",
        "dom0_mem=low:1",
        "dom0_mem=+1",
        "mem=99999999999T",
        "maxcpus=x",
        "maxcpus=4294967296",
        "com1=9600,9n1",
        "com1=0",
        "com1=1,8n1,0x10000",
        "dom0_max_vcpus=3-2",
        "dom0_max_vcpus=0",
        "conswitch=1",
        "tsc=fast",
        "loglvl=loud",
        "xpti=dom0=2",
        "gnttab=max-ver:3",
        "watchdog=soon",
        "console=com3",
        "smap=pv",
    ] {
        let text = warning(bad);
        let (name, value) = bad.split_once('=').unwrap();
        assert!(text.contains(name) && text.contains(&alloc::format!("\"{value}\"")), "{text}");
    }
}

#[test]
fn no_name_is_listed_twice() {
    let mut names: Vec<_> =
        options::TABLE.iter().map(|(name, _)| *name).chain(options::WITHOUT_EFFECT.iter().copied()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
