//! The hypercall table, and how a call goes through it.
//!
//! A PV guest's kernel executes `syscall` with the number in RAX and up to five arguments in RDI, RSI, RDX, R10, R8. The image
//! calls [`enter`]; the table's row for the number gives the shim. A shim copies its arguments in, calls an operation, and
//! copies results out. It may say [`Fail::Again`]: then the (updated) arguments go back into the registers and the guest
//! executes the same `syscall` again, after interrupts had their turn.
//!
//! The table is data: dispatch, names in logs and `docs/abi-coverage.md` come from it.

use alloc::sync::Arc;

use crate::Hypervisor;
use crate::domain::{Domain, Registers, Vcpu, VcpuState};
use crate::effects::{Done, Effects, Todo};
use crate::fail::{Errno, Fail, Why};
use crate::platform::Platform;

pub mod console;
pub mod coverage;
pub mod cpu;
mod denied;
pub mod domctl;
pub mod event;
pub mod grant;
pub mod guest;
pub mod hvm;
pub mod machine_check;
pub mod memory;
pub mod mm;
pub mod multicall;
pub mod page;
pub mod physdev;
pub mod platform;
pub mod sched;
#[cfg(test)]
mod shim_tests;
pub mod sysctl;
pub mod vcpu;
pub mod version;

/// Arguments of a hypercall: RDI, RSI, RDX, R10, R8, R9.
pub type Args = [u64; 6];

/// Who makes a call: the running vCPU. Its state is exclusively the caller's.
#[derive(Debug)]
pub struct Caller<'a> {
    /// Its domain.
    pub domain: &'a Arc<Domain>,
    /// The vCPU.
    pub vcpu: &'a Arc<Vcpu>,
    /// The vCPU's own registers and tables.
    pub state: &'a mut VcpuState,
    /// Whether the call is an entry of a multicall, which must not contain another.
    pub in_multicall: bool,
}

impl<'a> Caller<'a> {
    /// The running vCPU as a caller.
    #[inline(always)]
    pub fn new(domain: &'a Arc<Domain>, vcpu: &'a Arc<Vcpu>, state: &'a mut VcpuState) -> Self {
        Caller { domain, vcpu, state, in_multicall: false }
    }
}

/// A shim.
pub type Handler<P> = fn(&Hypervisor<P>, &mut Caller<'_>, &mut Args) -> Result<Done, Fail>;

/// Who may make a call at all; finer rules are the shims'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every guest.
    Any,
    /// A control domain; others get `EPERM`.
    Privileged,
}

/// A row of the table.
pub struct Row<P: Platform> {
    /// Name as in xen.h, without `__HYPERVISOR_`.
    pub name: &'static str,
    /// The shim.
    pub handler: Handler<P>,
    /// Who may call.
    pub who: Who,
    /// Its sub-operations, for the coverage page.
    pub subs: &'static [coverage::Sub],
}

impl<P: Platform> Clone for Row<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Row<P> {}

/// Numbers that the table has room for.
pub const NUMBERS: usize = 64;

/// The table for one platform.
pub struct Table<P: Platform>(core::marker::PhantomData<P>);

fn not_implemented<P: Platform>(_: &Hypervisor<P>, _: &mut Caller<'_>, _: &mut Args) -> Result<Done, Fail> {
    Err(Fail::Errno(Errno::ENOSYS))
}

macro_rules! table {
    ($($number:ident $name:literal $who:ident $handler:path, $subs:expr;)*) => {{
        let none = Row { name: "", handler: not_implemented::<P>, who: Who::Any, subs: &[] };
        let mut rows = [none; NUMBERS];
        $(rows[abi::xen::hypercall::$number as usize] =
            Row { name: $name, handler: $handler, who: Who::$who, subs: $subs };)*
        rows
    }};
}

impl<P: Platform> Table<P> {
    /// One row for each number; rows without a name answer `ENOSYS`.
    pub const ROWS: [Row<P>; NUMBERS] = table! {
        SET_TRAP_TABLE "set_trap_table" Any cpu::set_trap_table::<P>, &[];
        SET_GDT "set_gdt" Any cpu::set_gdt::<P>, &[];
        MMU_UPDATE "mmu_update" Any mm::mmu_update::<P>, mm::SUBS;
        UPDATE_VA_MAPPING "update_va_mapping" Any mm::update_va_mapping::<P>, &[];
        UPDATE_VA_MAPPING_OTHERDOMAIN "update_va_mapping_otherdomain" Any mm::update_va_mapping_otherdomain::<P>, &[];
        MMUEXT_OP "mmuext_op" Any mm::ext::mmuext_op::<P>, mm::ext::SUBS;
        STACK_SWITCH "stack_switch" Any cpu::stack_switch::<P>, &[];
        SET_CALLBACKS "set_callbacks" Any cpu::set_callbacks::<P>, &[];
        FPU_TASKSWITCH "fpu_taskswitch" Any cpu::fpu_taskswitch::<P>, &[];
        SET_DEBUGREG "set_debugreg" Any cpu::set_debugreg::<P>, &[];
        GET_DEBUGREG "get_debugreg" Any cpu::get_debugreg::<P>, &[];
        UPDATE_DESCRIPTOR "update_descriptor" Any cpu::update_descriptor::<P>, &[];
        MEMORY_OP "memory_op" Any memory::memory_op::<P>, memory::SUBS;
        MULTICALL "multicall" Any multicall::multicall::<P>, &[];
        XEN_VERSION "xen_version" Any version::xen_version::<P>, version::SUBS;
        VM_ASSIST "vm_assist" Any cpu::vm_assist::<P>, cpu::VM_ASSIST_SUBS;
        IRET "iret" Any cpu::iret::<P>, &[];
        SET_SEGMENT_BASE "set_segment_base" Any cpu::set_segment_base::<P>, cpu::SEGMENT_BASE_SUBS;
        CALLBACK_OP "callback_op" Any cpu::callback_op::<P>, cpu::CALLBACK_SUBS;
        PLATFORM_OP "platform_op" Privileged platform::platform_op::<P>, platform::SUBS;
        DOMCTL "domctl" Privileged domctl::domctl::<P>, domctl::SUBS;
        SYSCTL "sysctl" Privileged sysctl::sysctl::<P>, sysctl::SUBS;
        SCHED_OP_COMPAT "sched_op_compat" Any sched::sched_op_compat::<P>, &[];
        SET_TIMER_OP "set_timer_op" Any sched::set_timer_op::<P>, &[];
        EVENT_CHANNEL_OP_COMPAT "event_channel_op_compat" Any event::event_channel_op_compat::<P>, &[];
        CONSOLE_IO "console_io" Any console::console_io::<P>, console::SUBS;
        GRANT_TABLE_OP "grant_table_op" Any grant::grant_table_op::<P>, grant::SUBS;
        VCPU_OP "vcpu_op" Any vcpu::vcpu_op::<P>, vcpu::SUBS;
        SCHED_OP "sched_op" Any sched::sched_op::<P>, sched::SUBS;
        EVENT_CHANNEL_OP "event_channel_op" Any event::event_channel_op::<P>, event::SUBS;
        PHYSDEV_OP "physdev_op" Any physdev::physdev_op::<P>, physdev::SUBS;
        PHYSDEV_OP_COMPAT "physdev_op_compat" Any physdev::physdev_op_compat::<P>, &[];
        NMI_OP "nmi_op" Any cpu::nmi_op::<P>, cpu::NMI_SUBS;
        HVM_OP "hvm_op" Any hvm::hvm_op::<P>, hvm::SUBS;
        XENPMU_OP "xenpmu_op" Any hvm::xenpmu_op::<P>, hvm::XENPMU_SUBS;
        DM_OP "dm_op" Any hvm::dm_op::<P>, hvm::DM_SUBS;
        ARCH_0 "arch_0" Privileged machine_check::machine_check::<P>, machine_check::SUBS;
        KEXEC_OP "kexec_op" Privileged not_implemented::<P>, &[];
        HYPFS_OP "hypfs_op" Privileged not_implemented::<P>, &[];
    };
}

/// Carries out one call.
///
/// # Errors
/// What the shim says; `ENOSYS` for a number without a row, `EPERM` for a caller without the right.
#[inline(always)]
pub fn dispatch<P: Platform>(
    hv: &Hypervisor<P>,
    caller: &mut Caller<'_>,
    number: u64,
    args: &mut Args,
) -> Result<Done, Fail> {
    let Some(row) = usize::try_from(number).ok().and_then(|n| Table::<P>::ROWS.get(n)) else {
        return Err(Fail::Errno(Errno::ENOSYS));
    };
    if row.who == Who::Privileged && !caller.domain.privileged {
        return Err(Fail::Errno(denied::refusal(hv, number, args[0])));
    }
    (row.handler)(hv, caller, args)
}

/// Bytes of the `syscall` instruction, by which RIP goes back when a call is to be executed again.
const SYSCALL_LENGTH: u64 = 2;

/// A hypercall of the running vCPU: its registers hold number and arguments, and get the result.
///
/// # Errors
/// The reason to end the domain.
#[inline]
pub fn enter<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Result<Effects, Why> {
    let number = bounded(caller.state.regs.rax);
    let mut args = arguments(&caller.state.regs);
    let outcome = dispatch(hv, caller, number, &mut args);
    conclude(caller, outcome, &args)
}

/// A guest's number for a call, such that the row of one that is too high is not looked at in speculation either. A number that
/// is a constant needs no such care.
#[inline(always)]
pub fn bounded(number: u64) -> u64 {
    if number < NUMBERS as u64 { crate::speculation::index(number as usize, NUMBERS) as u64 } else { number }
}

/// The arguments in the registers.
#[inline(always)]
pub fn arguments(regs: &Registers) -> Args {
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9]
}

/// Puts the outcome of a call into the caller's registers.
///
/// # Errors
/// The reason to end the domain.
pub fn conclude(caller: &mut Caller<'_>, outcome: Result<Done, Fail>, args: &Args) -> Result<Effects, Why> {
    match outcome {
        Ok(done) => {
            if !done.effects.todo.contains(Todo::REGS_REPLACED) {
                caller.state.regs.rax = done.value as u64;
            }
            Ok(done.effects)
        }
        Err(Fail::Errno(errno)) => {
            caller.state.regs.rax = errno.as_ret() as u64;
            Ok(Effects::NONE)
        }
        Err(Fail::Again) => {
            execute_again(caller, args);
            Ok(Effects::NONE)
        }
        Err(Fail::AgainWith(effects)) => {
            execute_again(caller, args);
            Ok(effects)
        }
        Err(Fail::Crash(why)) => Err(why),
    }
}

fn execute_again(caller: &mut Caller<'_>, args: &Args) {
    let regs = &mut caller.state.regs;
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = *args;
    regs.rip = regs.rip.wrapping_sub(SYSCALL_LENGTH);
}
