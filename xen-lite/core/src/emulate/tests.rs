use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::cpuid::{Leaf, TscInfo, allowed, pv_leaf};
use super::*;
use crate::effort::{cases, effort};

/// A vCPU over maps.
#[derive(Debug, Clone)]
struct Fake {
    vendor: u32,
    bits: Bits,
    memory: BTreeMap<u64, u8>,
    gpr: [u64; 16],
    rip: u64,
    rflags: u64,
    kernel: bool,
    iopl: u8,
    bitmap: Vec<u16>,
    ts: bool,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    dr: [u64; 8],
    xcr0: u64,
    bases: [u64; 3],
    aux: u32,
    /// What `IA32_SPEC_CTRL` holds and `IA32_PRED_CMD` was told, if CPUID shows them.
    branches: Option<(u64, u64)>,
    ports: Vec<(u16, u8, Option<u32>)>,
    flushes: u32,
}

const CODE_AT: u64 = 0x1000;

fn kernel(code: &[u8]) -> Fake {
    let mut fake = Fake {
        vendor: 0,
        bits: Bits::B64,
        memory: BTreeMap::new(),
        gpr: core::array::from_fn(|i| 0x1111_1111_1111_1111 * i as u64),
        rip: CODE_AT,
        rflags: 2,
        kernel: true,
        iopl: 1,
        bitmap: vec![],
        ts: false,
        cr2: 0,
        cr3: 0x5000,
        cr4: 0,
        dr: [0; 8],
        xcr0: 1,
        bases: [0; 3],
        aux: 7,
        branches: None,
        ports: vec![],
        flushes: 0,
    };
    fake.put(CODE_AT, code);
    fake.put(CODE_AT + code.len() as u64, &[0x90; 15]);
    fake
}

fn user(code: &[u8]) -> Fake {
    Fake { kernel: false, ..kernel(code) }
}

impl Fake {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.memory.extend((at..).zip(bytes.iter().copied()));
    }

    fn done(&mut self, len: u64) {
        assert_eq!(privileged(self), Outcome::Done { single_step: false });
        assert_eq!(self.rip, CODE_AT + len);
    }

    fn faults(&mut self, exception: Exception) {
        let before = self.clone();
        assert_eq!(privileged(self), Outcome::Fault(exception));
        assert_eq!((self.rip, self.gpr), (before.rip, before.gpr), "a fault changes nothing");
        assert_eq!(self.ports, before.ports);
    }
}

impl GuestCpu for Fake {
    fn code(&mut self) -> Option<Code> {
        Some(Code { base: 0, limit: u64::MAX, bits: self.bits })
    }
    fn fetch(&mut self, linear: u64, out: &mut [u8]) -> bool {
        self.read(linear, out).is_ok()
    }
    fn gpr(&self, number: u8) -> u64 {
        self.gpr[usize::from(number)]
    }
    fn set_gpr(&mut self, number: u8, value: u64) {
        self.gpr[usize::from(number)] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
    fn in_kernel(&self) -> bool {
        self.kernel
    }
    fn iopl(&self) -> u8 {
        self.iopl
    }
    fn bitmap_permits(&mut self, port: u16) -> bool {
        self.bitmap.contains(&port)
    }
    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        self.ports.push((port, size, None));
        0xa1b2_c3d4 & ports::all_ones(size)
    }
    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        self.ports.push((port, size, Some(value)));
    }
    fn linear(&mut self, seg: Seg, offset: u64, _: u8, _: bool) -> Result<u64, Exception> {
        Ok(offset.wrapping_add(if seg == Seg::Fs { self.bases[0] } else { 0 }))
    }
    fn read(&mut self, linear: u64, out: &mut [u8]) -> Result<(), Exception> {
        for (i, byte) in out.iter_mut().enumerate() {
            let at = linear.wrapping_add(i as u64);
            *byte = *self.memory.get(&at).ok_or(Exception::page_fault(at, 0))?;
        }
        Ok(())
    }
    fn write(&mut self, linear: u64, bytes: &[u8]) -> Result<(), Exception> {
        for (i, byte) in bytes.iter().enumerate() {
            let at = linear.wrapping_add(i as u64);
            *self.memory.get_mut(&at).ok_or(Exception::page_fault(at, 2))? = *byte;
        }
        Ok(())
    }
    fn first_domain(&self) -> bool {
        true
    }
    fn cr(&self, number: u8) -> u64 {
        match number {
            0 => 0x8005_0033 | u64::from(self.ts) << 3,
            2 => self.cr2,
            3 => self.cr3,
            _ => self.cr4,
        }
    }
    fn set_ts(&mut self, on: bool) {
        self.ts = on;
    }
    fn set_cr2(&mut self, value: u64) {
        self.cr2 = value;
    }
    fn set_cr3(&mut self, value: u64) -> Loaded {
        match value {
            0 => return Loaded::Refused,
            1 => return Loaded::Again,
            _ => self.cr3 = value,
        }
        Loaded::Yes
    }
    fn set_cr4(&mut self, value: u64) {
        self.cr4 = value;
    }
    fn dr(&self, number: u8) -> u64 {
        self.dr[usize::from(number)]
    }
    fn set_dr(&mut self, number: u8, value: u64) -> bool {
        self.dr[usize::from(number)] = value;
        value >> 63 == 0
    }
    fn set_xcr0(&mut self, value: u64) -> bool {
        self.xcr0 = value;
        true
    }
    fn supported_xcr0(&self) -> u64 {
        7
    }
    fn base(&self, base: Base) -> u64 {
        self.bases[base as usize]
    }
    fn set_base(&mut self, base: Base, value: u64) {
        self.bases[base as usize] = value;
    }
    fn tsc(&mut self) -> u64 {
        0x1234_5678_9abc_def0
    }
    fn tsc_aux(&self) -> u32 {
        self.aux
    }
    fn set_tsc_aux(&mut self, value: u32) {
        self.aux = value;
    }
    fn spec_ctrl(&self) -> u64 {
        self.branches.expect("CPUID was asked before").0
    }
    fn set_spec_ctrl(&mut self, value: u64) {
        self.branches.as_mut().expect("CPUID was asked before").0 = value;
    }
    fn forget_branches(&mut self, command: u64) {
        self.branches.as_mut().expect("CPUID was asked before").1 = command;
    }
    fn vcpu_id(&self) -> u32 {
        0
    }
    fn fill_hypercall_page(&mut self, gfn: u64) -> bool {
        gfn == 5
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> [u32; 4] {
        match leaf {
            0 => [leaf, self.vendor, 3, 4],
            // IBRS, IBPB, SSBD.
            7 if subleaf == 0 && self.branches.is_some() => [0, 0, 0, 1 << 26 | 1 << 31],
            // RDTSCP.
            0x8000_0001 => [leaf, subleaf, 3, 1 << 27],
            _ => [leaf, subleaf, 3, 4],
        }
    }
    fn flush_caches(&mut self) {
        self.flushes += 1;
    }
}

#[test]
fn control_registers() {
    let mut cpu = kernel(&[0x0f, 0x20, 0xc0]);
    cpu.done(3);
    assert_eq!(cpu.gpr[0], 0x8005_0033);
    // mov %cr3, %r9 with mod = 0; mov %rbx, %cr0 with TS set; clts.
    let mut cpu = kernel(&[0x41, 0x0f, 0x20, 0x19]);
    cpu.done(4);
    assert_eq!(cpu.gpr[9], 0x5000);
    let mut cpu = kernel(&[0x0f, 0x22, 0xc3]);
    cpu.gpr[3] = 0x8005_003b;
    cpu.done(3);
    assert!(cpu.ts);
    cpu.rip = CODE_AT;
    cpu.gpr[3] = 0x8005_0032;
    cpu.faults(Exception::GP);
    let mut cpu = kernel(&[0x0f, 0x06]);
    cpu.ts = true;
    cpu.done(2);
    assert!(!cpu.ts);
    let mut cpu = kernel(&[0x0f, 0x22, 0xd9]);
    cpu.gpr[1] = 0;
    cpu.faults(Exception::GP);
    cpu.gpr[1] = 1;
    assert_eq!((privileged(&mut cpu), cpu.rip), (Outcome::Again, CODE_AT));
    // mov %cr1 and %cr8 do not exist here.
    assert_eq!(privileged(&mut kernel(&[0x0f, 0x20, 0xc8])), Outcome::NotHandled);
    assert_eq!(privileged(&mut kernel(&[0x44, 0x0f, 0x20, 0xc0])), Outcome::NotHandled);
}

#[test]
fn debug_registers() {
    let mut cpu = kernel(&[0x0f, 0x23, 0xe0]);
    cpu.gpr[0] = 0x123;
    cpu.done(3);
    assert_eq!(cpu.dr[6], 0x123, "DR4 is DR6");
    cpu.rip = CODE_AT;
    cpu.cr4 = 1 << 3;
    cpu.faults(Exception::UD);
    let mut cpu = kernel(&[0x0f, 0x21, 0xfa]);
    cpu.dr[7] = 0x400;
    cpu.done(3);
    assert_eq!(cpu.gpr[2], 0x400);
}

#[test]
fn user_mode_gets_its_fault() {
    for code in [
        &[0x0f, 0x20, 0xc0][..],
        &[0x0f, 0x22, 0xc0],
        &[0x0f, 0x21, 0xc0],
        &[0x0f, 0x06],
        &[0x0f, 0x30],
        &[0x0f, 0x32],
        &[0x0f, 0x09],
        &[0xfa],
        &[0xe4, 0x60],
        &[0xf3, 0x6c],
    ] {
        user(code).faults(Exception::GP);
    }
    user(&[0x0f, 0x01, 0xd1]).faults(Exception::UD);
    let mut cpu = user(&[0x0f, 0x01, 0xd1]);
    cpu.cr4 = 1 << 18;
    cpu.faults(Exception::GP);
    user(&[0x0f, 0x31]).done(2);
    let mut cpu = user(&[0x0f, 0x01, 0xf9]);
    cpu.done(3);
    assert_eq!((cpu.gpr[0], cpu.gpr[2], cpu.gpr[1]), (0x9abc_def0, 0x1234_5678, 7));
    let mut cpu = user(&[0x0f, 0x31]);
    cpu.cr4 = 1 << 2;
    cpu.faults(Exception::GP);
    let mut cpu = user(&[0xfb]);
    cpu.iopl = 3;
    cpu.done(1);
}

#[test]
fn instructions_that_are_the_guests_mistake() {
    for code in [&[0xf4][..], &[0x0f, 0x01, 0x10], &[0x0f, 0x01, 0x38], &[0xcd, 3], &[0xf0, 0x90], &[0x90]] {
        assert_eq!(privileged(&mut kernel(code)), Outcome::NotHandled, "{code:x?}");
    }
    kernel(&[0xf0, 0x0f, 0x20, 0xc0]).faults(Exception::UD);
}

#[test]
fn ports() {
    let mut cpu = kernel(&[0xe4, 0x42]);
    cpu.done(2);
    assert_eq!(cpu.gpr[0], 0xd4);
    assert_eq!(cpu.ports, [(0x42, 1, None)]);
    let mut cpu = kernel(&[0x66, 0xed]);
    cpu.gpr[0] = u64::MAX;
    cpu.gpr[2] = 0xffff_0000_0000_0cfc;
    cpu.done(2);
    assert_eq!((cpu.gpr[0], &cpu.ports[..]), (0xffff_ffff_ffff_c3d4, &[(0xcfc, 2, None)][..]));
    let mut cpu = kernel(&[0xed]);
    cpu.gpr[0] = u64::MAX;
    cpu.done(1);
    assert_eq!(cpu.gpr[0], 0xa1b2_c3d4, "32 bits clear the upper half");
    let mut cpu = kernel(&[0xe6, 0x80]);
    cpu.gpr[0] = 0x1ff;
    cpu.done(2);
    assert_eq!(cpu.ports, [(0x80, 1, Some(0xff))]);
}

#[test]
fn port_rights() {
    let mut cpu = kernel(&[0xe5, 0x60]);
    cpu.iopl = 0;
    cpu.faults(Exception::GP);
    cpu.bitmap = vec![0x60, 0x61, 0x62];
    cpu.faults(Exception::GP);
    cpu.bitmap.push(0x63);
    cpu.done(2);
    // Ports do not wrap around.
    let mut cpu = user(&[0xed]);
    cpu.gpr[2] = 0xffff;
    cpu.bitmap = vec![0xffff, 0, 1, 2];
    cpu.faults(Exception::GP);
}

#[test]
fn repeated_input_and_output() {
    // rep insw, 3 elements.
    let mut cpu = kernel(&[0x66, 0xf3, 0x6d]);
    cpu.put(0x4000, &[0; 8]);
    (cpu.gpr[1], cpu.gpr[2], cpu.gpr[7]) = (3, 0x1f0, 0x4000);
    cpu.done(3);
    assert_eq!((cpu.gpr[1], cpu.gpr[7]), (0, 0x4006));
    assert_eq!(
        (0..8).map(|i| cpu.memory[&(0x4000 + i)]).collect::<Vec<_>>(),
        [0xd4, 0xc3, 0xd4, 0xc3, 0xd4, 0xc3, 0, 0]
    );
    // rep outsb %fs:, backwards.
    let mut cpu = kernel(&[0x64, 0xf3, 0x6e]);
    cpu.bases[0] = 0x100;
    cpu.put(0x4100, b"abc");
    cpu.rflags |= 1 << 10;
    (cpu.gpr[1], cpu.gpr[2], cpu.gpr[6]) = (2, 0xe9, 0x4002);
    cpu.done(3);
    assert_eq!(cpu.ports, [(0xe9, 1, Some(u32::from(b'c'))), (0xe9, 1, Some(u32::from(b'b')))]);
    assert_eq!(cpu.gpr[6], 0x4000);
    // A count of zero does nothing.
    let mut cpu = kernel(&[0xf3, 0x6e]);
    cpu.gpr[1] = 0;
    cpu.done(2);
    assert!(cpu.ports.is_empty());
}

#[test]
fn a_fault_in_the_middle_keeps_the_progress() {
    let mut cpu = kernel(&[0xf3, 0x6c]);
    cpu.put(0x4ffe, &[0; 2]);
    (cpu.gpr[1], cpu.gpr[7]) = (5, 0x4ffe);
    assert_eq!(privileged(&mut cpu), Outcome::Fault(Exception::page_fault(0x5000, 2)));
    assert_eq!((cpu.gpr[1], cpu.gpr[7], cpu.rip, cpu.ports.len()), (3, 0x5000, CODE_AT, 2));
}

#[test]
fn a_long_count_is_done_in_batches() {
    let mut cpu = kernel(&[0xf3, 0x6e]);
    cpu.put(0x4000, &[1; 200]);
    (cpu.gpr[1], cpu.gpr[6]) = (150, 0x4000);
    assert_eq!(privileged(&mut cpu), Outcome::Again);
    assert_eq!((cpu.gpr[1], cpu.rip), (150 - 64, CODE_AT));
    assert_eq!(privileged(&mut cpu), Outcome::Again);
    cpu.done(2);
    assert_eq!(cpu.ports.len(), 150);
}

#[test]
fn each_element_is_a_step_of_its_own() {
    let mut cpu = kernel(&[0xf3, 0x6e]);
    cpu.put(0x4000, &[1; 3]);
    cpu.rflags |= 1 << 8;
    (cpu.gpr[1], cpu.gpr[6]) = (2, 0x4000);
    assert_eq!(privileged(&mut cpu), Outcome::Done { single_step: true });
    assert_eq!((cpu.gpr[1], cpu.rip, cpu.ports.len()), (1, CODE_AT, 1));
    assert_eq!(privileged(&mut cpu), Outcome::Done { single_step: true });
    assert_eq!((cpu.gpr[1], cpu.rip, cpu.ports.len()), (0, CODE_AT + 2, 2));
}

#[test]
fn address_size_prefix_uses_half_registers() {
    let mut cpu = kernel(&[0x67, 0xf3, 0x6e]);
    cpu.put(0xffff_ffff, &[1]);
    cpu.put(0, &[2]);
    (cpu.gpr[1], cpu.gpr[6]) = (0xdead_0000_0000_0002, 0xdead_0000_ffff_ffff);
    cpu.done(3);
    assert_eq!((cpu.gpr[1], cpu.gpr[6]), (0, 1));
    assert_eq!(cpu.ports.len(), 2);
}

/// Without the bits in CPUID the registers do not exist; with them, reserved bits fault.
#[test]
fn registers_that_control_speculation() {
    let access = |code: [u8; 2], branches, number: u32, value: u64| {
        let mut cpu = Fake { branches, ..kernel(&code) };
        (cpu.gpr[1], cpu.gpr[0], cpu.gpr[2]) = (number.into(), value & 0xffff_ffff, value >> 32);
        match privileged(&mut cpu) {
            Outcome::Done { .. } => Some((cpu.branches, cpu.gpr[2] << 32 | cpu.gpr[0])),
            Outcome::Fault(Exception::GP) => None,
            other => panic!("{other:?}"),
        }
    };
    let (rdmsr, wrmsr, there) = ([0x0f, 0x32], [0x0f, 0x30], Some((4, 0)));
    for number in [0x48, 0x49, 0x10a, 0x10b] {
        assert_eq!(access(rdmsr, None, number, 0), None);
        assert_eq!(access(wrmsr, None, number, 0), None);
    }
    assert_eq!(access(rdmsr, there, 0x48, 0), Some((there, 4)));
    assert_eq!(access(rdmsr, there, 0x49, 0), None, "write-only");
    for (number, value, after) in [
        (0x48, 0b111, Some((7, 0))),
        (0x48, 0, Some((0, 0))),
        (0x48, 1 << 7, None),
        (0x48, 1 << 10, None),
        (0x48, 1 << 32, None),
        (0x49, 1, Some((4, 1))),
        (0x49, 0, there),
        (0x49, 0x80, None),
        (0x49, 2, None),
    ] {
        let found = access(wrmsr, there, number, value).map(|(branches, _)| branches);
        assert_eq!(found, after.map(Some), "{number:#x} {value:#x}");
    }
}

#[test]
fn model_specific_registers() {
    let rdmsr = |number: u32| {
        let mut cpu = kernel(&[0x0f, 0x32]);
        cpu.gpr[1] = number.into();
        match privileged(&mut cpu) {
            Outcome::Done { .. } => Some(cpu.gpr[2] << 32 | cpu.gpr[0]),
            Outcome::Fault(Exception::GP) => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(rdmsr(0xc000_0080), Some(0xd01));
    assert_eq!(rdmsr(0x1b), Some(0xfee0_0900));
    assert_eq!(rdmsr(0x277), Some(0x0501_0007_0406));
    // 25 000 registers; under Miri one in so many.
    let asked = |number: &u32| number.is_multiple_of(effort(1, 0x400));
    let readable: Vec<u32> = (0..0x2000u32)
        .chain(0x4000_0000..0x4000_0300)
        .chain(0xc000_0000..0xc000_2000)
        .chain(0xc001_0000..0xc001_2000)
        .filter(|number| asked(number) && rdmsr(*number).is_some())
        .collect();
    let expected = [
        0x0,
        0x1,
        0x10,
        0x1b,
        0x3a,
        0x8b,
        0xce,
        0x140,
        0x179,
        0x17a,
        0x1a0,
        0x277,
        0x345,
        0x400,
        0x401,
        0x402,
        0x403,
        0x404,
        0x405,
        0x406,
        0x407,
        0x4000_0000,
        0xc000_0080,
        0xc000_0100,
        0xc000_0101,
        0xc000_0102,
        0xc000_0103,
        0xc001_001f,
    ];
    assert_eq!(readable, expected.into_iter().filter(asked).collect::<Vec<_>>());
    let wrmsr = |number: u32, value: u64| {
        let mut cpu = kernel(&[0x0f, 0x30]);
        (cpu.gpr[1], cpu.gpr[0], cpu.gpr[2]) = (number.into(), value & 0xffff_ffff, value >> 32);
        (privileged(&mut cpu) == Outcome::Done { single_step: false }).then_some(cpu)
    };
    assert_eq!(wrmsr(0xc000_0100, 0xffff_8000_0000_0000).unwrap().bases[0], 0xffff_8000_0000_0000);
    assert!(wrmsr(0xc000_0100, 0x8000_0000_0000).is_none(), "not canonical");
    assert_eq!(wrmsr(0xc000_0102, 5).unwrap().bases[2], 5);
    assert_eq!(wrmsr(0xc000_0103, 5).unwrap().aux, 5);
    assert!(wrmsr(0xc000_0103, 1 << 32).is_none());
    assert!(wrmsr(0xc000_0080, 0xd01).is_some(), "the same value");
    assert!(wrmsr(0xc000_0080, 0x501).is_none());
    assert!(wrmsr(0x4000_0000, 0x5000).is_some());
    assert!(wrmsr(0x4000_0000, 0x5001).is_none());
    assert!(wrmsr(0x4000_0000, 0x6000).is_none());
    assert!(wrmsr(0x48, 0).is_none());
    let on = |vendor: [u8; 4], number: u32| {
        let mut cpu = kernel(&[0x0f, 0x32]);
        cpu.vendor = u32::from_le_bytes(vendor);
        cpu.gpr[1] = number.into();
        privileged(&mut cpu) == Outcome::Done { single_step: false }
    };
    for (number, intel, amd) in [
        (0x17, true, false),
        (0xc1, true, false),
        (0x199, true, false),
        (0x3a, true, false),
        (0xc001_1029, false, true),
    ] {
        assert_eq!((on(*b"Genu", number), on(*b"Auth", number)), (intel, amd), "{number:#x}");
    }
}

#[test]
fn tables_are_told_the_same_to_everybody() {
    let told = |at: u64, cpu: &Fake| (0..10).map(|n| cpu.memory[&(at + n)]).collect::<Vec<_>>();
    // sgdt [rbx + 4 * rsi - 8]; sidt [rip + 0x100]; sidt fs:[rax].
    let mut cpu = user(&[0x0f, 0x01, 0x44, 0xb3, 0xf8]);
    cpu.put(0x4000, &[0; 10]);
    (cpu.gpr[3], cpu.gpr[6]) = (0x3f08, 0x40);
    cpu.done(5);
    assert_eq!(told(0x4000, &cpu), [0xff, 0xef, 0, 0, 0xf0, 0xff, 0xff, 0x87, 0xff, 0xff]);
    let mut cpu = user(&[0x0f, 0x01, 0x0d, 0, 1, 0, 0]);
    cpu.put(CODE_AT + 0x107, &[0; 10]);
    cpu.done(7);
    assert_eq!(told(CODE_AT + 0x107, &cpu)[..2], [0xff, 0x0f]);
    let mut cpu = user(&[0x64, 0x0f, 0x01, 0x08]);
    (cpu.bases[0], cpu.gpr[0]) = (0x4000, 8);
    assert_eq!(privileged(&mut cpu), Outcome::Fault(Exception::page_fault(0x4008, 2)));
    // smsw eax; smsw ax; sldt rax; str word [rbp]; 16-bit: smsw [bp + di + 2].
    for (code, expected) in [
        (&[0x0f, 0x01, 0xe0][..], 0x8005_0033),
        (&[0x66, 0x0f, 0x01, 0xe0], 0xffff_ffff_ffff_0033),
        (&[0x48, 0x0f, 0x00, 0xc0], 0),
    ] {
        let mut cpu = user(code);
        cpu.gpr[0] = u64::MAX;
        cpu.done(code.len() as u64);
        assert_eq!(cpu.gpr[0] | u64::from(cpu.ts) << 3, expected, "{code:x?}");
    }
    let mut cpu = user(&[0x0f, 0x00, 0x4d, 0x00]);
    cpu.put(0x4000, &[0; 2]);
    cpu.gpr[5] = 0x4000;
    cpu.done(4);
    assert_eq!((cpu.memory[&0x4000], cpu.memory[&0x4001]), (0x40, 0xe0));
    let mut cpu = user(&[0x0f, 0x01, 0x63, 0x02]);
    cpu.bits = Bits::B16;
    cpu.put(0x4000, &[0; 2]);
    (cpu.gpr[5], cpu.gpr[7]) = (0xf_fffe, 0x4000);
    cpu.done(4);
    assert_eq!(cpu.memory[&0x4000], 0x33);
    // Others of these groups stay what they are.
    for code in [
        &[0x0f, 0x01, 0x10][..],
        &[0x0f, 0x01, 0xf0],
        &[0x0f, 0x00, 0xd0],
        &[0x0f, 0x01, 0xc0],
        &[0xf0, 0x0f, 0x01, 0x00],
    ] {
        assert_eq!(privileged(&mut user(code)), Outcome::NotHandled, "{code:x?}");
    }
}

#[test]
fn flags_and_modes() {
    let mut cpu = kernel(&[0x0f, 0x01, 0xd1]);
    cpu.cr4 = 1 << 18;
    (cpu.gpr[0], cpu.gpr[1], cpu.gpr[2]) = (7, 0, 0);
    cpu.rflags |= 1 << 8 | 1 << 16;
    assert_eq!(privileged(&mut cpu), Outcome::Done { single_step: true });
    assert_eq!((cpu.xcr0, cpu.rflags & 1 << 16), (7, 0));
    cpu.rip = CODE_AT;
    cpu.gpr[0] = 5;
    cpu.faults(Exception::GP);
    let mut cpu = kernel(&[0x0f, 0x09]);
    cpu.bits = Bits::B32;
    cpu.done(2);
    assert_eq!(cpu.flushes, 1);
    // 0x48 is DEC EAX outside 64-bit mode, and 0x66 makes 16-bit code 32-bit.
    let mut cpu = kernel(&[0x48, 0x0f, 0x20, 0xc0]);
    cpu.bits = Bits::B32;
    assert_eq!(privileged(&mut cpu), Outcome::NotHandled);
    assert_eq!(decode(&[0x66, 0xed], Bits::B16).map(|d| d.size), Ok(4));
    assert_eq!(decode(&[0xed], Bits::B16).map(|d| (d.size, d.address_size)), Ok((2, 2)));
}

#[test]
fn instructions_across_a_page_boundary() {
    let mut cpu = kernel(&[]);
    cpu.memory.clear();
    cpu.rip = 0x1fff;
    cpu.put(0x1fff, &[0x0f]);
    assert_eq!(privileged(&mut cpu), Outcome::Fault(Exception::page_fault(0x2000, 0x10)));
    cpu.put(0x2000, &[0x06, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90]);
    assert_eq!(privileged(&mut cpu), Outcome::Done { single_step: false });
    // The last byte of a page with nothing behind it.
    let mut cpu = kernel(&[]);
    cpu.memory.clear();
    cpu.rip = 0x1fff;
    cpu.put(0x1fff, &[0xfa]);
    assert_eq!(privileged(&mut cpu), Outcome::Done { single_step: false });
}

#[test]
fn forced_emulation() {
    let mut cpu = user(&FORCED_CPUID);
    (cpu.gpr[0], cpu.gpr[1]) = (0x4000_0000, 9);
    assert_eq!(forced(&mut cpu), Outcome::Done { single_step: false });
    assert_eq!(cpu.rip, CODE_AT + 7);
    assert_eq!([cpu.gpr[0], cpu.gpr[3], cpu.gpr[1], cpu.gpr[2]], [0x4000_0000, 9, 3, 4]);
    let mut other = FORCED_CPUID;
    other[6] = 0x31;
    assert_eq!(forced(&mut user(&other)), Outcome::NotHandled);
    // A plain ud2 at the end of mapped memory.
    let mut cpu = user(&[]);
    cpu.memory.clear();
    cpu.put(CODE_AT, &[0x0f, 0x0b]);
    assert_eq!(forced(&mut cpu), Outcome::NotHandled);
}

/// A [`cpuid::Context`] of constants.
struct Context<F> {
    host: F,
    vcpu_id: u32,
    supported_xcr0: u64,
    xcr0: u64,
    osxsave: bool,
    fsgsbase: bool,
    invariant_tsc: bool,
    tsc: TscInfo,
    address_bits: u32,
}

impl<F: Fn(u32, u32) -> Leaf> Context<F> {
    fn on(host: F) -> Self {
        Self {
            host,
            vcpu_id: 0,
            supported_xcr0: 0,
            xcr0: 1,
            osxsave: false,
            fsgsbase: false,
            invariant_tsc: false,
            tsc: TscInfo::default(),
            address_bits: 0,
        }
    }
}

impl<F: Fn(u32, u32) -> Leaf> cpuid::Context for Context<F> {
    fn host(&self, leaf: u32, subleaf: u32) -> Leaf {
        (self.host)(leaf, subleaf)
    }
    fn vcpu_id(&self) -> u32 {
        self.vcpu_id
    }
    fn supported_xcr0(&self) -> u64 {
        self.supported_xcr0
    }
    fn xcr0(&self) -> u64 {
        self.xcr0
    }
    fn osxsave(&self) -> bool {
        self.osxsave
    }
    fn fsgsbase(&self) -> bool {
        self.fsgsbase
    }
    fn shows_invariant_tsc(&self) -> bool {
        self.invariant_tsc
    }
    fn tsc(&self) -> TscInfo {
        self.tsc
    }
    fn address_bits(&self) -> u32 {
        self.address_bits
    }
}

/// A machine that has everything.
fn everything(leaf: u32, subleaf: u32) -> Leaf {
    match (leaf, subleaf) {
        (0, _) => [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
        (7, 0) => [9, u32::MAX, u32::MAX, u32::MAX],
        (0xd, 0) => [u32::MAX; 4],
        (0xd, 2) => [256, 576, 0, 0],
        (0xd, 5) => [64, 1088, 0, 0],
        (0xd, 6) => [512, 1152, 0, 0],
        (0xd, 7) => [1024, 1664, 0, 0],
        (0x8000_0000, _) => [0x8000_0040, 0, 0, 0],
        _ => [u32::MAX; 4],
    }
}

#[test]
fn leaves_of_a_machine_that_has_everything() {
    let context = Context {
        vcpu_id: 3,
        supported_xcr0: 0xe7,
        xcr0: 7,
        osxsave: true,
        fsgsbase: true,
        address_bits: 46,
        ..Context::on(everything)
    };
    let get = |leaf, subleaf| pv_leaf(leaf, subleaf, &context);
    assert_eq!(get(0, 0)[0], 0xd);
    let one = get(1, 0);
    assert_eq!(one[1] >> 24, 6, "APIC id");
    for (register, bit, shown, name) in [
        (2, 5, false, "VMX"),
        (2, 17, false, "PCID"),
        (2, 21, false, "x2APIC"),
        (2, 24, false, "TSC-deadline"),
        (2, 26, true, "XSAVE"),
        (2, 27, true, "OSXSAVE"),
        (2, 31, true, "hypervisor"),
        (3, 3, false, "PSE"),
        (3, 12, false, "MTRR"),
        (3, 13, false, "PGE"),
        (3, 26, true, "SSE2"),
    ] {
        assert_eq!(one[register] >> bit & 1 != 0, shown, "{name}");
    }
    let seven = get(7, 0);
    for (register, bit, shown, name) in [
        (1, 0, true, "FSGSBASE"),
        (1, 5, true, "AVX2"),
        (1, 7, false, "SMEP"),
        (1, 10, false, "INVPCID"),
        (1, 14, false, "MPX"),
        (1, 16, true, "AVX512F"),
        (1, 20, false, "SMAP"),
        (2, 2, false, "UMIP"),
        (2, 3, false, "PKU"),
        (3, 26, false, "IBRSB"),
        (3, 29, false, "ARCH_CAPS"),
    ] {
        assert_eq!(seven[register] >> bit & 1 != 0, shown, "{name}");
    }
    assert_eq!(seven[0], 2);
    assert_eq!(get(7, 3), [0; 4]);
    assert_eq!(get(0xd, 0), [0xe7, 832, 2688, 0]);
    assert_eq!(get(0xd, 1), [7, 0, 0, 0]);
    assert_eq!(get(0xd, 2), [256, 576, 0, 0]);
    assert_eq!(get(0xd, 3), [0; 4]);
    assert_eq!(get(0x8000_0001, 0)[2] >> 2 & 1, 0, "SVM");
    assert_eq!(get(0x8000_0007, 0), [0; 4]);
    for leaf in
        [3, 5, 6, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x12, 0x14, 0x15, 0x20, 0x8000_000a, 0x8000_001e, 0x8000_0040]
    {
        assert_eq!(get(leaf, 0), [0; 4], "{leaf:#x}");
    }
}

#[test]
fn hidden_with_the_state_they_need() {
    let seen = |supported_xcr0| {
        let context = Context { supported_xcr0, ..Context::on(everything) };
        (pv_leaf(1, 0, &context)[2], pv_leaf(7, 0, &context))
    };
    let (one, seven) = seen(0);
    assert_eq!(one & (1 << 12 | 0b111 << 26 | 1 << 29), 0, "FMA, XSAVE, OSXSAVE, AVX, F16C");
    assert_eq!(seven[1] & (1 | 1 << 5 | 1 << 16), 0, "FSGSBASE, AVX2, AVX512F");
    let (one, seven) = seen(7);
    assert_ne!(one & 1 << 28, 0);
    assert_eq!(seven[1] & 0xdc23_0000, 0, "no AVX-512");
    let none = Context::on(everything);
    assert_eq!(pv_leaf(0xd, 0, &none), [0; 4]);
}

#[test]
fn leaves_of_xen() {
    let tsc = cpuid::TscInfo {
        reliable: true,
        khz: 2_500_000,
        host_khz: 2_500_000,
        mul: 9,
        shift: -1,
        ..Default::default()
    };
    let context = Context { tsc, address_bits: 46, invariant_tsc: true, ..Context::on(everything) };
    let get = |leaf, subleaf| pv_leaf(leaf, subleaf, &context);
    let [max, b, c, d] = get(0x4000_0000, 0);
    assert_eq!(max, 0x4000_0005);
    let text: Vec<u8> = [b, c, d].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(text, b"XenVMMXenVMM");
    assert_eq!(get(0x4000_0001, 0), [0x0004_0011, 0, 0, 0]);
    assert_eq!(get(0x4000_0002, 0), [1, 0x4000_0000, 1, 0]);
    assert_eq!(get(0x4000_0003, 0), [0b110, 0, 2_500_000, 0]);
    assert_eq!(get(0x4000_0003, 1), [0, 0, 9, u32::MAX]);
    assert_eq!(get(0x4000_0003, 2), [2_500_000, 0, 0, 0]);
    assert_eq!(get(0x4000_0004, 0), [0; 4]);
    assert_eq!(get(0x4000_0005, 0), [0, 46, 0, 0]);
    assert_eq!(get(0x4000_0006, 0), [0; 4]);
    assert_eq!(get(0x4000_0100, 0), [0; 4]);
    assert_eq!(get(0x8000_0007, 0), [0, 0, 0, 1 << 8]);
}

proptest! {
    #![proptest_config(cases(2000, 5))]

    #[test]
    fn the_decoder_is_bounded(bytes in proptest::collection::vec(interesting(), 0..20), mode in 0usize..3) {
        let bits = [Bits::B16, Bits::B32, Bits::B64][mode];
        match decode(&bytes, bits) {
            Ok(decoded) => {
                let len = usize::from(decoded.len);
                prop_assert!((1..=MAX_LEN).contains(&len) && len <= bytes.len());
                // Only those bytes matter, and each of them does.
                prop_assert_eq!(decode(&bytes[..len], bits), Ok(decoded));
                prop_assert_eq!(decode(&bytes[..len - 1], bits), Err(DecodeError::NeedMore));
            }
            Err(DecodeError::NeedMore) => prop_assert!(bytes.len() < MAX_LEN),
            Err(_) => {}
        }
    }

    #[test]
    fn any_code_in_any_state_ends_orderly(
        code in proptest::collection::vec(interesting(), 1..20),
        registers in proptest::collection::vec(prop_oneof![0u64..0x100, any::<u64>(), Just(CODE_AT)], 16),
        mode in 0usize..3,
        in_kernel: bool,
        iopl in 0u8..4,
        flags: u16,
    ) {
        let mut cpu = Fake { kernel: in_kernel, iopl, ..kernel(&code) };
        cpu.bits = [Bits::B16, Bits::B32, Bits::B64][mode];
        cpu.gpr.copy_from_slice(&registers);
        cpu.rflags = flags.into();
        let before = cpu.clone();
        let outcome = privileged(&mut cpu);
        prop_assert!(cpu.ports.len() <= string_io::BATCH as usize);
        match outcome {
            // An element of a repeated instruction is a step of its own.
            Outcome::Done { single_step: true } if cpu.rip == before.rip => prop_assert!(cpu.ports.len() == 1),
            Outcome::Done { .. } => prop_assert!((1..=15).contains(&(cpu.rip - CODE_AT))),
            _ => prop_assert_eq!(cpu.rip, before.rip),
        }
        if !in_kernel {
            prop_assert_eq!((cpu.ts, cpu.cr3, cpu.cr4, cpu.dr, cpu.bases), (before.ts, before.cr3, before.cr4, before.dr, before.bases));
            prop_assert!(iopl == 3 || cpu.ports.is_empty());
        }
    }

    #[test]
    fn no_leaf_shows_a_feature_that_the_machine_lacks(leaf in prop_oneof![0u32..0x20, 0x8000_0000u32..0x8000_0030], subleaf in 0u32..4, seed: u32, supported: u64) {
        // Everything that is a feature word must be a subset of the machine's.
        let host = |l: u32, s: u32| match (l, s) {
            (0 | 0x8000_0000, _) | (7, 0) => {
                let mut leaf = everything(l, s);
                if l == 7 { leaf[1..].fill(seed); }
                leaf
            }
            _ => [seed; 4],
        };
        let context = Context { supported_xcr0: supported, ..Context::on(host) };
        let seen = pv_leaf(leaf, subleaf, &context);
        let machine = host(leaf, subleaf);
        for (register, allowed) in allowed(leaf, subleaf).into_iter().enumerate().filter(|(_, mask)| *mask != 0) {
            let made_up = if leaf == 1 && register == 2 { 1 << 31 } else { 0 };
            prop_assert_eq!(seen[register] & !(machine[register] & allowed) & !made_up, 0);
        }
    }
}

/// Bytes that make instructions of this decoder likely.
fn interesting() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        proptest::sample::select(
            &[
                0x0f, 0x66, 0x67, 0xf2, 0xf3, 0x64, 0x48, 0x41, 0x44, 0x20, 0x22, 0x21, 0x23, 0x30, 0x31,
                0x32, 0xa2, 0x01, 0xd1, 0xf9, 0x6c, 0x6d, 0x6e, 0x6f, 0xe4, 0xe7, 0xec, 0xef, 0xfa, 0x06,
                0x09,
            ][..]
        ),
    ]
}
