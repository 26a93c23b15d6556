//! `vcpu_op`, and the calls that tell where a vCPU is entered: `set_trap_table`, `callback_op`.

use super::{Result, input, op, output};
use crate::arch;
use abi::{
    callback::{
        CALLBACKF_MASK_EVENTS, CALLBACKOP_REGISTER, CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE,
        CallbackRegister,
    },
    vcpu::{
        VCPUOP_GET_RUNSTATE_INFO, VCPUOP_IS_UP, VCPUOP_SET_SINGLESHOT_TIMER, VCPUOP_STOP_PERIODIC_TIMER,
        VCPUOP_STOP_SINGLESHOT_TIMER, VcpuRunstateInfo, VcpuSetSingleshotTimer,
    },
    xen::{
        TrapInfo,
        hypercall::{CALLBACK_OP, SET_TRAP_TABLE, VCPU_OP, VM_ASSIST},
    },
};

/// Registers trap handlers. The last entry must be empty. Inside the crate only: an address is a promise.
pub(crate) fn set_trap_table(table: &[TrapInfo]) -> Result {
    debug_assert!(table.last().is_some_and(|entry| entry.address == 0), "the table does not end");
    arch::call(SET_TRAP_TABLE, [input(table), 0, 0, 0, 0]).map(|_| ())
}

/// Registers the event and the failsafe callback.
pub(crate) fn register_callbacks(event: u64, failsafe: u64) -> Result {
    for (type_, flags, address) in
        [(CALLBACKTYPE_EVENT, 0, event), (CALLBACKTYPE_FAILSAFE, CALLBACKF_MASK_EVENTS, failsafe)]
    {
        let argument = CallbackRegister { type_, flags, address, ..Default::default() };
        op(CALLBACK_OP, CALLBACKOP_REGISTER, input(&argument))?;
    }
    Ok(())
}

fn vcpu_op(operation: u32, vcpu: u32, argument: u64) -> Result<u64> {
    arch::call(VCPU_OP, [u64::from(operation), u64::from(vcpu), argument, 0, 0])
}

/// Whether a vCPU of this domain is up; `ENOENT` if it does not exist.
pub fn is_up(vcpu: u32) -> Result<bool> {
    vcpu_op(VCPUOP_IS_UP, vcpu, 0).map(|up| up != 0)
}

/// How long a vCPU was running, runnable, blocked and offline so far.
pub fn runstate(vcpu: u32) -> Result<VcpuRunstateInfo> {
    let mut info = VcpuRunstateInfo::default();
    vcpu_op(VCPUOP_GET_RUNSTATE_INFO, vcpu, output(&mut info))?;
    Ok(info)
}

/// Stops the periodic tick that a vCPU may have at its start.
pub fn stop_periodic_timer(vcpu: u32) -> Result {
    vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, vcpu, 0).map(|_| ())
}

/// Raises `VIRQ_TIMER` of a vCPU at an absolute system time in ns; with `future_only` a time gone by is refused with `ETIME`.
pub fn set_singleshot_timer(vcpu: u32, deadline: u64, future_only: bool) -> Result {
    let argument = VcpuSetSingleshotTimer {
        timeout_abs_ns: deadline,
        flags: u32::from(future_only),
        ..Default::default()
    };
    vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, vcpu, input(&argument)).map(|_| ())
}

/// Stops the one-shot timer of a vCPU.
pub fn stop_singleshot_timer(vcpu: u32) -> Result {
    vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, vcpu, 0).map(|_| ())
}

/// `vm_assist`: turns an assist (`VMASST_TYPE_*`) on or off with `VMASST_CMD_*`.
pub fn vm_assist(command: u32, assist: u32) -> Result {
    arch::call(VM_ASSIST, [u64::from(command), u64::from(assist), 0, 0, 0]).map(|_| ())
}
