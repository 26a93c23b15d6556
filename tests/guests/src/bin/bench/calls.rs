//! Hypercalls that touch no memory but their arguments, and events.

use super::{
    arena::{Block, remap},
    machine::{Stub, address, call, peek, poke, poke_byte, set_event_source, upcalls},
    meter::{cold, failed, hot},
};
use core::mem::offset_of;
use domu_sdk::{
    abi::{
        callback::{CALLBACKOP_REGISTER, CALLBACKTYPE_EVENT, CallbackRegister},
        event_channel::{
            EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_IPI, EVTCHNOP_CLOSE, EVTCHNOP_SEND, EVTCHNOP_UNMASK,
            EvtchnAllocUnbound, EvtchnBindIpi, EvtchnClose, EvtchnSend, EvtchnUnmask,
        },
        xen::{
            DOMID_SELF, FLAT_KERNEL_CS64, FLAT_KERNEL_SS64, MulticallEntry, SharedInfo, TrapInfo, VcpuInfo,
            hypercall::{
                CALLBACK_OP, CONSOLE_IO, EVENT_CHANNEL_OP, FPU_TASKSWITCH, MULTICALL, SCHED_OP, SET_DEBUGREG,
                SET_GDT, SET_SEGMENT_BASE, SET_TIMER_OP, SET_TRAP_TABLE, STACK_SWITCH, UPDATE_DESCRIPTOR,
                VCPU_OP, XEN_VERSION,
            },
        },
    },
    arch,
    memory::layout::pte,
    start,
};

/// Calls in one multicall.
pub const CALLS: usize = 32;

fn nothing(_: u64) {}

/// Everything that has no better place.
pub fn simple(kernel_stack: u64) {
    hot("null hypercall").measure(nothing, |_| i64::from(call(XEN_VERSION, [0; 5]) <= 0));
    let mut calls = [MulticallEntry { op: XEN_VERSION, ..Default::default() }; CALLS];
    let at = address(&mut calls);
    hot("multicall of 32 null calls, each")
        .each(CALLS as u64)
        .measure(nothing, |_| call(MULTICALL, [at, CALLS as u64, 0, 0, 0]));
    if calls.iter().any(|call| (call.result as i64) <= 0) {
        failed("a call of the multicall", 0);
    }
    let mut features = [0u32; 2];
    let at = address(&mut features);
    cold("xen_version get_features").measure(nothing, |_| call(XEN_VERSION, [6, at, 0, 0, 0]));
    hot("stack_switch")
        .measure(nothing, |_| call(STACK_SWITCH, [FLAT_KERNEL_SS64.into(), kernel_stack, 0, 0, 0]));
    hot("set_segment_base fs").measure(nothing, |_| call(SET_SEGMENT_BASE, [0; 5]));
    hot("fpu_taskswitch clear").measure(nothing, |_| call(FPU_TASKSWITCH, [0; 5]));
    let mut table = trap_table();
    let at = address(&mut table);
    cold("set_trap_table, 4 entries").measure(nothing, |_| call(SET_TRAP_TABLE, [at, 0, 0, 0, 0]));
    cold("set_debugreg").measure(nothing, |_| call(SET_DEBUGREG, [0, 0, 0, 0, 0]));
    cold("vcpu_op is_up").measure(nothing, |_| call(VCPU_OP, [3, 0, 0, 0, 0]) - 1);
    hot("set_timer_op").measure(nothing, |_| call(SET_TIMER_OP, [1 << 40, 0, 0, 0, 0]));
    hot("sched_op yield, alone").measure(nothing, |_| call(SCHED_OP, [0; 5]));
}

/// The handlers of the bench: breakpoint, invalid opcode, page fault, system call gate.
fn trap_table() -> [TrapInfo; 5] {
    let entry = |vector, stub: Stub, flags| TrapInfo {
        vector,
        flags,
        cs: FLAT_KERNEL_CS64,
        address: stub.address(),
        ..Default::default()
    };
    [
        entry(3, Stub::Trap, 3),
        entry(6, Stub::InvalidOpcode, 0),
        entry(14, Stub::PageFault, 0),
        entry(0x80, Stub::Trap, 3),
        TrapInfo::default(),
    ]
}

/// Descriptor table.
pub fn descriptors() {
    let page = Block::take(1);
    page.seal(0);
    let mut frames = [page.mfn(0)];
    let at = address(&mut frames);
    cold("set_gdt, 1 frame").measure(nothing, |_| call(SET_GDT, [at, 512, 0, 0, 0]));
    let slot = (page.mfn(0) << 12) + 8 * 20;
    let descriptor = |i: u64| 0x00cf_f300_0000_ffff | (i & 1) << 16;
    cold("update_descriptor").measure(nothing, |i| call(UPDATE_DESCRIPTOR, [slot, descriptor(i), 0, 0, 0]));
    // The CPU may have set "accessed" if it was loaded; it was not.
    if peek(page.base + 8 * 20) != descriptor(super::machine::SAMPLES as u64 - 1) {
        failed("update_descriptor wrote", 0);
    }
}

/// One character at a time.
pub fn console() {
    let mut text = [b'.'];
    let at = address(&mut text);
    cold("console_io, 1 character").measure(nothing, |_| call(CONSOLE_IO, [0, 1, at, 0, 0]));
}

/// Event channels. The shared page is mapped once more for that.
pub fn events() {
    let window = Block::take(1).base;
    let shared = (start::info().shared_info & pte::FRAME_MASK) | pte::READ_WRITE;
    let result = remap(window, shared);
    let mut bind = EvtchnBindIpi { vcpu: 0, ..Default::default() };
    let bound = call(EVENT_CHANNEL_OP, [EVTCHNOP_BIND_IPI.into(), address(&mut bind), 0, 0, 0]);
    if result != 0 || bound != 0 {
        failed("event channels", result.min(bound));
        return;
    }
    let port = bind.port;
    set_event_source(window, port);
    let (old, _) = arch::callback_stubs();
    register_event(Stub::Event.address());
    let mut unmask = EvtchnUnmask { port };
    let unmask_at = address(&mut unmask);
    let unmasked = |_| call(EVENT_CHANNEL_OP, [EVTCHNOP_UNMASK.into(), unmask_at, 0, 0, 0]);
    let _ = unmasked(0);
    let mut send = EvtchnSend { port };
    let send_at = address(&mut send);
    let send = || call(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), send_at, 0, 0, 0]);
    let before = core::cell::Cell::new(0);
    hot("event send, upcall, iret")
        .measure(|_| before.set(upcalls()), |_| send() | i64::from(upcalls() != before.get() + 1));
    let clear = |_| {
        poke_byte(window + offset_of!(VcpuInfo, evtchn_upcall_mask) as u64, 1);
        poke_byte(window + offset_of!(VcpuInfo, evtchn_upcall_pending) as u64, 0);
        poke(window + offset_of!(VcpuInfo, evtchn_pending_sel) as u64, 0);
        let word = window + offset_of!(SharedInfo, evtchn_pending) as u64 + u64::from(port / 64) * 8;
        poke(word, peek(word) & !(1 << (port % 64)));
    };
    hot("event send while masked").measure(clear, |_| send());
    clear(0);
    poke_byte(window + offset_of!(VcpuInfo, evtchn_upcall_mask) as u64, 0);
    hot("event unmask").measure(nothing, unmasked);
    register_event(old);

    let mut alloc = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, ..Default::default() };
    let alloc_at = address(&mut alloc);
    let port_at = alloc_at + offset_of!(EvtchnAllocUnbound, port) as u64;
    let mut close = EvtchnClose { port: 0 };
    let close_at = address(&mut close);
    let open = || call(EVENT_CHANNEL_OP, [EVTCHNOP_ALLOC_UNBOUND.into(), alloc_at, 0, 0, 0]);
    let shut = || call(EVENT_CHANNEL_OP, [EVTCHNOP_CLOSE.into(), close_at, 0, 0, 0]);
    let take_port = || {
        let port = super::machine::peek_half(port_at);
        super::machine::poke_half(close_at, port);
    };
    cold("event alloc_unbound").measure(
        |i| {
            if i > 0 {
                take_port();
                let _ = shut();
            }
        },
        |_| open(),
    );
    take_port();
    let _ = shut();
    cold("event close").measure(
        |_| {
            let _ = open();
            take_port();
        },
        |_| shut(),
    );
}

fn register_event(stub: u64) {
    let mut event = CallbackRegister { type_: CALLBACKTYPE_EVENT, address: stub, ..Default::default() };
    let result = call(CALLBACK_OP, [CALLBACKOP_REGISTER.into(), address(&mut event), 0, 0, 0]);
    assert!(result == 0, "registering the event callback: {result}");
}
