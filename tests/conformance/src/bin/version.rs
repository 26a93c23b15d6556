//! `xen_version`: each sub-operation, what it writes, and bad pointers.
#![no_std]
#![no_main]

use conformance::{Bytes, Hex, area, at, at_mut, bad, call, done, fresh, row};
use domu_sdk::abi::version::{CompileInfo, FeatureInfo};
use domu_sdk::abi::xen::hypercall::XEN_VERSION;

#[domu_sdk::main]
fn main() {
    area("version");
    for command in 0..=12 {
        for (name, address) in bad::ALL {
            row!("command.{command}.{name}", call(XEN_VERSION, [command, address, 0, 0, 0]));
        }
    }
    // Half of the buffer is mapped.
    for command in [1, 2, 3, 4, 5, 6, 8, 9] {
        row!("half.{command}", call(XEN_VERSION, [command, 0xffff_ffff_8010_0000 - 4, 0, 0, 0]));
    }
    row!("high-bits", call(XEN_VERSION, [1 << 32, 0, 0, 0, 0]));
    row!("negative", call(XEN_VERSION, [u64::MAX, 0, 0, 0, 0]));
    written();
    features();
    build_id();
    done();
}

/// How many bytes each sub-operation writes, and what is the same everywhere.
fn written() {
    for (name, command) in
        [("extraversion", 1), ("capabilities", 3), ("changeset", 4), ("parameters", 5), ("handle", 8)]
    {
        let mut buffer = [0xa5_u8; 1100];
        let answer = call(XEN_VERSION, [command, at_mut(&mut buffer), 0, 0, 0]);
        row!("{name}", answer);
        let room = match command {
            1 => 16,
            3 => 1024,
            4 => 64,
            5 => 8,
            _ => 16,
        };
        row!("{name}.beyond", Bytes(&buffer[room..room + 4]));
        if command == 5 || command == 8 && domu_sdk::start::is_initial_domain() {
            row!("{name}.value", Bytes(&buffer[..room]));
        }
    }
    let info = CompileInfo::default();
    row!("compile-info", call(XEN_VERSION, [2, at(&info), 0, 0, 0]));
    let mut line = [0xa5_u8; 1100];
    row!("command-line", call(XEN_VERSION, [9, at_mut(&mut line), 0, 0, 0]));
    row!("command-line.denied", Hex(line.starts_with(b"<denied>").into()));
    row!("command-line.beyond", Bytes(&line[1024..1028]));
}

fn features() {
    for index in [0, 1, 2, 31, 0x8000_0000, u32::MAX] {
        let info = FeatureInfo { submap_idx: index, submap: 0xdead_beef };
        row!("features.{index}", call(XEN_VERSION, [6, at(&info), 0, 0, 0]));
        row!("features.{index}.submap", Hex(fresh(&info.submap).into()));
    }
}

fn build_id() {
    for length in [0_u32, 1, 19, 20, 64, u32::MAX] {
        let mut buffer = [0_u32; 32];
        buffer[0] = length;
        row!("build-id.{length}", call(XEN_VERSION, [10, at_mut(&mut buffer), 0, 0, 0]));
    }
}
