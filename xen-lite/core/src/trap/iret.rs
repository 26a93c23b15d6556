//! The `iret` hypercall: the guest's kernel returns to an interrupted context (`struct iret_context`, xen-x86_64.h).

use crate::Hypervisor;
use crate::addr::{GuestVirt, Mfn};
use crate::effects::Effects;
use crate::fail::Why;
use crate::hypercall::Caller;
use crate::platform::Platform;

use super::bounce::rflags;
use super::{info, toggle_mode};

/// The frame's flag that says the context made a system call: RCX and R11 need not be restored.
const VGCF_IN_SYSCALL: u64 = 1 << 8;

/// Flags that are taken from the frame: all that there are but IF, IOPL and VM.
pub const IRET_FLAGS: u64 = 0x3f_7fd5 & !(rflags::IF | rflags::IOPL | rflags::VM);

/// Reads the frame at RSP and loads it. RAX, too, comes from the frame.
///
/// # Errors
/// The frame cannot be read, or asks for a user mode that has no page tables: the domain ends.
#[inline(always)]
pub fn iret<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    // RAX, R11, RCX, flags; RIP, CS, RFLAGS, RSP, SS. In two parts, so that they stay in registers; both before the kernel's
    // tables go, which may be all that maps them.
    let unreadable = |_| Why::BadIret("the frame at RSP cannot be read");
    let at = caller.state.regs.rsp;
    let [rax, r11, rcx, flags] = hv.platform.read_words(GuestVirt::new(at)).map_err(unreadable)?;
    caller.state.regs.rax = rax;
    if flags & VGCF_IN_SYSCALL == 0 {
        caller.state.regs.r11 = r11;
        caller.state.regs.rcx = rcx;
    }
    let [rip, cs, new_flags, rsp, ss] =
        hv.platform.read_words(GuestVirt::new(at.wrapping_add(4 * 8))).map_err(unreadable)?;
    if cs & 3 == 3 {
        if caller.state.user_root == Mfn::INVALID {
            return Err(Why::BadIret("return to user mode without user page tables"));
        }
        toggle_mode(hv, caller.state);
    }
    if caller.domain.assists(abi::xen::VMASST_TYPE_ARCHITECTURAL_IOPL) {
        caller.state.iopl = (new_flags >> 12 & 3) as u8;
    }
    caller.state.in_nmi = false;
    let regs = &mut caller.state.regs;
    regs.rip = rip;
    regs.cs = cs & 0xffff | 3;
    regs.rflags = new_flags & IRET_FLAGS | rflags::IF | 2;
    regs.rsp = rsp;
    regs.ss = ss & 0xffff | 3;
    info::set_masked(hv, caller.vcpu, new_flags & rflags::IF == 0);
    Ok(Effects::NONE)
}
