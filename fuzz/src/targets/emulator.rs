//! Instructions: the decoder against a reference, the emulator and the stores to page tables in a guest.

use fuzz_grammar::{Bytes, Source};
use xen_lite_core::addr::GuestVirt;
use xen_lite_core::domain::{Mode, VcpuState};
use xen_lite_core::emulate::{self, Bits, DecodeError, decode};
use xen_lite_core::hypercall::Caller;
use xen_lite_core::platform::Platform;
use xen_lite_core::{mm, trap};

use crate::machine::Machine;

/// Where code is put.
const CODE: u64 = 0xb000;

/// The decoder of privileged instructions never reads further than an instruction reaches, and where it takes one, the
/// reference (iced-x86) sees an instruction of the same length.
pub fn decoder(input: &[u8]) {
    let Some((mode, bytes)) = input.split_first() else { return };
    let (bits, width) = match mode % 3 {
        0 => (Bits::B64, 64),
        1 => (Bits::B32, 32),
        _ => (Bits::B16, 16),
    };
    let bytes = &bytes[..bytes.len().min(emulate::MAX_LEN)];
    match decode(bytes, bits) {
        Ok(decoded) => {
            let mut reference = iced_x86::Decoder::new(width, bytes, iced_x86::DecoderOptions::NONE);
            let expected = reference.decode();
            assert!(!expected.is_invalid(), "{bytes:02x?} is no instruction, but {decoded:?}");
            assert_eq!(usize::from(decoded.len), expected.len(), "length of {expected:?} in {bytes:02x?}");
            // What is short of a byte is not decoded.
            let less = &bytes[..usize::from(decoded.len) - 1];
            assert_eq!(decode(less, bits).err(), Some(DecodeError::NeedMore), "{less:02x?} lacks a byte");
        }
        Err(DecodeError::NeedMore) => assert!(bytes.len() < emulate::MAX_LEN, "{bytes:02x?} is long enough"),
        Err(_) => {}
    }
}

fn registers(state: &mut VcpuState, source: &mut impl Source) {
    let regs = &mut state.regs;
    for register in [
        &mut regs.rax,
        &mut regs.rbx,
        &mut regs.rcx,
        &mut regs.rdx,
        &mut regs.rsi,
        &mut regs.rdi,
        &mut regs.rbp,
        &mut regs.r8,
        &mut regs.r9,
        &mut regs.r10,
        &mut regs.r11,
        &mut regs.r12,
        &mut regs.r13,
        &mut regs.r14,
        &mut regs.r15,
    ] {
        *register = match source.below(8) {
            0 => source.word(),
            1..=3 => source.below(20) << 12 | source.below(4096),
            4 => 0xc000_0080 + source.below(0x90),
            _ => source.below(0x1_0000),
        };
    }
    regs.rsp = 0xd000 + source.below(4096);
    regs.cs = [0xe033, 0xe033, 0xe033, 0xe023, 0, 0xe02b][source.below(6) as usize];
    regs.ss = 0xe02b;
    regs.rflags = [0x2, 0x202, 0x3202, 0x102, 0x400][source.below(5) as usize];
    state.iopl = source.below(4) as u8;
}

/// The debug registers but DR6, in which a single step shows.
fn debug(state: &VcpuState) -> [u64; 7] {
    std::array::from_fn(|n| state.debug[if n == 6 { 7 } else { n }])
}

/// Random code after a protection fault, in the kernel and in user mode of a guest.
pub fn emulator(input: &[u8]) {
    let mut source = Bytes::new(input);
    let machine = Machine::new();
    let hv = &machine.hv;
    while !source.is_empty() {
        let who = source.below(2) as usize;
        let guest = &machine.guests[who];
        let vcpu = &guest.domain.vcpus()[0];
        let mut state = vcpu.state.lock();
        hv.platform.enter(Some(state.kernel_root));
        registers(&mut state, &mut source);
        let at = CODE + if source.once_in(4) { 4096 - source.below(15) } else { 0 };
        let bytes = source.take(16);
        let _ = hv.platform.copy_out(GuestVirt::new(at), bytes);
        state.regs.rip = at;
        let kernel = source.below(3) != 0;
        state.mode = if kernel { Mode::Kernel } else { Mode::User };
        let root = state.kernel_root;
        let before = (debug(&state), state.xcr0, state.cr4, state.tsc_aux, state.fs_base);
        let mut caller = Caller::new(&guest.domain, vcpu, &mut state);
        let outcome = if source.once_in(4) {
            emulate::guest::forced(hv, &mut caller)
        } else {
            emulate::guest::privileged(hv, &mut caller)
        };
        if !kernel {
            let after = (debug(&state), state.xcr0, state.cr4, state.tsc_aux, state.fs_base);
            assert_eq!(before, after, "user mode changed the kernel's registers with {bytes:02x?}");
            assert_eq!(root, state.kernel_root, "user mode changed the root with {bytes:02x?}");
        }
        assert_eq!(state.xcr0 & 1, 1, "the x87 state cannot be switched off");
        state.mode = Mode::Kernel;
        drop(state);
        if matches!(outcome, Some(Err(_))) {
            // The domain would end here.
            break;
        }
        machine.check("an emulated instruction");
    }
    machine.end();
}

/// Random instructions whose store hits a page table.
pub fn table_store(input: &[u8]) {
    let mut source = Bytes::new(input);
    let machine = Machine::new();
    let hv = &machine.hv;
    while !source.is_empty() {
        let guest = &machine.guests[source.below(2) as usize];
        let vcpu = &guest.domain.vcpus()[0];
        let mut state = vcpu.state.lock();
        hv.platform.enter(Some(state.kernel_root));
        registers(&mut state, &mut source);
        // The tables are pages 16 to 19; the lowest is the one that guests store to.
        let table = [19, 19, 19, 16, 17, 18, 3][source.below(7) as usize];
        let address = table * 4096 + 8 * source.below(512) + source.below(3) / 2 * source.below(8);
        let frame = guest.frames[source.below(guest.frames.len() as u64) as usize].raw();
        state.regs.rax = frame << 12 | [0x67, 0x65, 0, 0x1e7, 0x63][source.below(5) as usize];
        state.regs.rdi = address;
        let code = match source.below(3) {
            0 => &[0x48, 0x89, 0x07][..],
            1 => &[0x48, 0x87, 0x07][..],
            _ => source.take(12),
        };
        let _ = hv.platform.copy_out(GuestVirt::new(CODE), code);
        state.regs.rip = CODE;
        let mut caller = Caller::new(&guest.domain, vcpu, &mut state);
        let _ = mm::emulate_pt_write(hv, &mut caller, address, 3 | (source.below(2) as u32 * 4));
        if state.mode == Mode::User {
            trap::toggle_mode(hv, &mut state);
        }
        drop(state);
        machine.check("a store to a table");
    }
    machine.end();
}
