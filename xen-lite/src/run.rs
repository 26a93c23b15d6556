//! What happens between an exit and the next entry: effects are carried out, pending events delivered, vCPUs exchanged.

use xen_lite_core::addr::Mfn;
use xen_lite_core::domain::{Domain, Registers, VcpuState};
use xen_lite_core::effects::{Effects, Todo};
use xen_lite_core::fail::Why;
use xen_lite_core::hypercall::Caller;
use xen_lite_core::platform::BaseOf;
use xen_lite_core::{sched, trap};

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::cpu::percpu::Running;
use crate::cpu::{CR0_TS, PerCpu, descriptors, fpu, segments};
use crate::entry::guarded;
use crate::exit::Resume;
use crate::hypervisor::hv;
use crate::{memory, platform, smp, time};

/// Carries out what an exit led to, and says which vCPU goes on.
#[inline(never)]
pub fn finish(cpu: &'static PerCpu, result: Result<Effects, Why>) -> Resume {
    let mut result = result;
    #[cfg(feature = "audit")]
    crate::audit::attend(cpu);
    loop {
        let effects = carry_out(cpu, result);
        if effects.todo.contains(Todo::RESCHEDULE) {
            result = choose(cpu);
            if result != Ok(Effects::NONE) {
                continue;
            }
        }
        let Some((mut caller, registers)) = current(cpu) else { unreachable!("no vCPU was chosen") };
        if trap::has_pending(hv(), &caller) {
            let delivered = trap::deliver_pending(hv(), &mut caller);
            if carry_out(cpu, delivered).todo.contains(Todo::RESCHEDULE) {
                result = Ok(Effects::todo(Todo::RESCHEDULE));
                continue;
            }
        }
        return Resume { registers };
    }
}

/// The running vCPU as a caller, and its registers.
fn current(cpu: &'static PerCpu) -> Option<(Caller<'static>, *mut Registers)> {
    let running = cpu.running()?;
    // SAFETY: S-06: this CPU holds the mutex of the running vCPU, and no other reference to the state is alive.
    let state = unsafe { &mut *running.state };
    let registers = &raw mut state.regs;
    Some((Caller::new(&running.domain, &running.vcpu, state), registers))
}

/// Ends the domain if that is the result; else does what the effects ask for of the running vCPU. Returns the effects.
fn carry_out(cpu: &'static PerCpu, result: Result<Effects, Why>) -> Effects {
    let Some((mut caller, _)) = current(cpu) else { return result.unwrap_or(Effects::NONE) };
    let effects = match result {
        Ok(effects) => effects,
        Err(why) => {
            log_registers(&caller);
            sched::crash_domain(hv(), caller.domain, why).and(Effects::todo(Todo::RESCHEDULE))
        }
    };
    if effects != Effects::NONE {
        platform::kick(effects.kick);
        apply(cpu, caller.state, effects.todo);
        let _ = &mut caller;
    }
    effects
}

fn log_registers(caller: &Caller<'_>) {
    let r = &caller.state.regs;
    let mode = caller.state.mode;
    log::error!(
        "{}{} in {mode:?} mode, rip {:04x}:{:016x} rsp {:04x}:{:016x} flags {:x}",
        caller.domain.id,
        caller.vcpu.id,
        r.cs,
        r.rip,
        r.ss,
        r.rsp,
        r.rflags
    );
    log::error!("rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}", r.rax, r.rbx, r.rcx, r.rdx);
    log::error!("rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}", r.rsi, r.rdi, r.rbp, r.r8);
    log::error!("r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}", r.r9, r.r10, r.r11, r.r12);
    log::error!("r13 {:016x} r14 {:016x} r15 {:016x} cr2 {:016x}", r.r13, r.r14, r.r15, caller.state.cr2);
}

/// Carries out effects of the running vCPU's own that exchange neither it nor its registers.
#[inline(never)]
pub fn apply_effects(cpu: &PerCpu, state: &mut VcpuState, effects: Effects) {
    if effects.kick != 0 {
        platform::kick(effects.kick);
    }
    if effects.todo == Todo::LOAD_TS {
        fpu::set_ts(cpu, state.cr0 & CR0_TS != 0);
    } else if effects.todo == Todo::LOAD_DEBUG {
        load_debug(cpu, state);
    } else {
        apply(cpu, state, effects.todo);
    }
}

/// Brings the CPU in line with the running vCPU's state.
fn apply(cpu: &PerCpu, state: &mut VcpuState, todo: Todo) {
    if todo.contains(Todo::FLUSH_LOCAL_GLOBAL) {
        platform::flush_all_here();
    }
    if todo.contains(Todo::LOAD_CR3) {
        load_root(cpu, state.root());
    } else if todo.contains(Todo::FLUSH_LOCAL) {
        platform::flush_here();
    }
    if todo.contains(Todo::LOAD_DESCRIPTORS) {
        load_descriptors(cpu, state);
    }
    if todo.contains(Todo::LOAD_SEGMENTS) {
        let (fs, gs) = (segments::base(BaseOf::Fs), segments::base(BaseOf::Gs));
        segments::load(&state.selectors, fs, gs);
    }
    if todo.contains(Todo::LOAD_DEBUG) {
        load_debug(cpu, state);
    }
    if todo.contains(Todo::LOAD_TS) {
        fpu::set_ts(cpu, state.cr0 & CR0_TS != 0);
    }
    if todo.contains(Todo::LOAD_XCR0) {
        fpu::load_xcr0(cpu, state.xcr0);
    }
    if todo.contains(Todo::LOAD_TSC_AUX) {
        platform::set_tsc_aux(cpu, state.tsc_aux);
    }
    if todo.contains(Todo::LOAD_INFO)
        && let Some(running) = cpu.running()
    {
        cpu.watch(&running.domain, &running.vcpu);
    }
}

/// Loads a guest's root table.
pub fn load_root(cpu: &PerCpu, root: Mfn) {
    let address = root.address().map_or(memory::root(), |address| address.raw());
    cpu.root.set(address);
    // SAFETY: S-01: the core makes a frame a root only after `install_hypervisor_slots`.
    unsafe { memory::load_root(address) };
}

fn load_descriptors(cpu: &PerCpu, state: &VcpuState) {
    let count = (state.gdt_entries as usize).div_ceil(512).min(descriptors::GUEST_PAGES);
    let frame = |mfn: &Mfn| mfn.address().map_or(memory::zero_page(), |address| address.raw());
    descriptors::map_gdt(cpu, state.gdt[..count].iter().map(frame));
    descriptors::set_ldt(cpu, state.ldt_entries);
}

/// Loads breakpoints if the guest has any, and none otherwise.
fn load_debug(cpu: &PerCpu, state: &VcpuState) {
    use core::arch::asm;
    const ENABLED: u64 = 0xff;
    const NONE: u64 = 0x400;
    let wanted = state.debug[7] & ENABLED != 0;
    if !wanted && !cpu.debug_armed.get() {
        return;
    }
    // SAFETY: S-18: the core keeps the addresses out of the hypervisor's part, and DR7 without general detect.
    unsafe {
        if wanted {
            let [d0, d1, d2, d3, _, _, d6, d7] = state.debug;
            asm!("mov dr0, {}", in(reg) d0, options(nomem, nostack, preserves_flags));
            asm!("mov dr1, {}", in(reg) d1, options(nomem, nostack, preserves_flags));
            asm!("mov dr2, {}", in(reg) d2, options(nomem, nostack, preserves_flags));
            asm!("mov dr3, {}", in(reg) d3, options(nomem, nostack, preserves_flags));
            asm!("mov dr6, {}", in(reg) d6, options(nomem, nostack, preserves_flags));
            asm!("mov dr7, {}", in(reg) d7, options(nomem, nostack, preserves_flags));
        } else {
            asm!("mov dr7, {}", in(reg) NONE, options(nomem, nostack, preserves_flags));
        }
    }
    cpu.debug_armed.set(wanted);
}

/// DR6 after power-on.
const DR6_NONE: u64 = 0xffff_0ff0;

/// Moves the CPU's DR6 to the vCPU after a debug exception.
pub fn take_debug_status(state: &mut VcpuState) {
    let status: u64;
    // SAFETY: S-18: reading DR6 has no effect.
    unsafe { core::arch::asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    state.debug[6] = status | state.debug[6] & 0xf;
    clear_debug_status();
}

/// Resets the CPU's DR6.
pub fn clear_debug_status() {
    // SAFETY: S-18: this value is what DR6 has after power-on.
    unsafe { core::arch::asm!("mov dr6, {}", in(reg) DR6_NONE, options(nomem, nostack, preserves_flags)) };
}

/// Asks the scheduler until there is a vCPU to run; waits for interrupts meanwhile. The result is that of preparing it: its
/// selectors may be such that its failsafe callback must be entered.
pub fn choose(cpu: &'static PerCpu) -> Result<Effects, Why> {
    loop {
        let decision = hv().sched.schedule(hv(), cpu.id, time::now());
        let Some(next) = decision.next else {
            switch(cpu, None);
            idle(cpu);
            continue;
        };
        if cpu.running().is_some_and(|running| Arc::ptr_eq(&running.vcpu, &next)) {
            return Ok(Effects::NONE);
        }
        let Some(domain) = next.domain.upgrade() else { unreachable!("a runnable vCPU without a domain") };
        let running = Running::try_lock(&domain, &next).unwrap_or_else(|| {
            // Another CPU is not done with it. It may want the vCPU that this CPU holds.
            switch(cpu, None);
            Running::lock(&domain, &next)
        });
        return enter_vcpu(cpu, running);
    }
}

/// Waits with interrupts on until one of them asks to choose again.
fn idle(cpu: &'static PerCpu) {
    loop {
        smp::wait_for_interrupt();
        #[cfg(feature = "audit")]
        crate::audit::attend(cpu);
        let effects = cpu.idle_effects.replace(Effects::NONE);
        platform::kick(effects.kick);
        if effects.todo.contains(Todo::RESCHEDULE) {
            return;
        }
    }
}

/// Makes another vCPU the CPU's, or none, and lets go of the one before.
fn switch(cpu: &'static PerCpu, next: Option<Running>) {
    if let Some(state) = cpu.running().map(|running| running.state) {
        // SAFETY: S-06: this CPU holds the mutex, and no other reference to the state is alive.
        save(cpu, unsafe { &mut *state });
    }
    let here = 1 << cpu.id.raw();
    match &next {
        Some(running) => {
            // Before the flush in `load_context`: whoever changes a translation afterwards sees that this CPU must hear of it.
            platform::set_active(here);
            running.domain.active_cpus.fetch_or(here, Ordering::SeqCst);
            load_context(cpu, running.state);
        }
        None => load_root(cpu, Mfn::INVALID),
    }
    // SAFETY: S-06: no borrow of the running vCPU is alive.
    let previous = unsafe { cpu.set_running(next) };
    if let Some(running) = cpu.running() {
        cpu.watch(&running.domain, &running.vcpu);
    }
    if let Some(previous) = previous {
        match cpu.running() {
            Some(running) if Arc::ptr_eq(&running.domain, &previous.domain) => {}
            Some(_) => clear_active(&previous.domain, here),
            None => {
                clear_active(&previous.domain, here);
                platform::set_inactive(here);
            }
        }
        // SAFETY: S-06: this CPU held the mutex since `Running::lock`, and nothing of the vCPU is loaded any more.
        unsafe { previous.vcpu.state.force_unlock() };
    }
}

/// A CPU left the address spaces of a domain. What it still has of their translations goes before it runs any guest again.
fn clear_active(domain: &Domain, here: u64) {
    domain.active_cpus.fetch_and(!here, Ordering::SeqCst);
}

/// Lets exits save registers into a vCPU's state, and loads its address space.
fn load_context(cpu: &PerCpu, state: *mut VcpuState) {
    // SAFETY: S-06: this CPU holds the mutex, and no other reference to the state is alive.
    let state = unsafe { &mut *state };
    cpu.set_registers_end((&raw mut state.regs).wrapping_add(1) as u64);
    load_root(cpu, state.root());
    // User mappings of guests are global: those of the vCPU before, perhaps another domain's, outlive the load of CR3.
    platform::flush_all_here();
}

/// Switches to a vCPU and loads everything that is its own.
fn enter_vcpu(cpu: &'static PerCpu, next: Running) -> Result<Effects, Why> {
    switch(cpu, Some(next));
    let Some((mut caller, _)) = current(cpu) else { unreachable!("just switched to it") };
    let state = &mut *caller.state;
    load_descriptors(cpu, state);
    load_debug(cpu, state);
    fpu::load(cpu, &mut state.fpu, state.xcr0);
    fpu::set_ts(cpu, state.cr0 & CR0_TS != 0);
    platform::set_tsc_aux(cpu, state.tsc_aux);
    cpu.guest_spec_ctrl.set(state.spec_ctrl);
    let loaded = segments::load(&state.selectors, state.fs_base, state.gs_base);
    xen_lite_core::time::entered(hv(), caller.domain, caller.vcpu, caller.state);
    if loaded { Ok(Effects::NONE) } else { trap::failsafe(hv(), &mut caller) }
}

/// Saves what is in the CPU of the vCPU that ran.
fn save(cpu: &PerCpu, state: &mut VcpuState) {
    state.selectors = segments::selectors();
    state.fs_base = segments::base(BaseOf::Fs);
    state.gs_base = segments::base(BaseOf::Gs);
    fpu::save(cpu, &mut state.fpu);
}

/// Maps the page of the running vCPU's LDT that holds `address` of the window; `false` when the guest has none there.
pub fn map_ldt_page(cpu: &PerCpu, caller: &mut Caller<'_>, address: u64) -> bool {
    let Some(page) = descriptors::ldt_page(cpu, address) else { return false };
    let Some(frame) = xen_lite_core::mm::ldt_frame(hv(), caller, page) else { return false };
    let Some(address) = frame.address() else { return false };
    descriptors::map_ldt(cpu, page, address.raw());
    true
}

/// The same for a fault of the hypervisor's own, which loads a selector for the running vCPU.
pub fn map_ldt_for_hypervisor(cpu: &'static PerCpu, address: u64) -> bool {
    current(cpu).is_some_and(|(mut caller, _)| map_ldt_page(cpu, &mut caller, address))
}

/// Enters the first vCPU of the calling CPU.
pub fn start(cpu: &'static PerCpu) -> ! {
    let resume = finish(cpu, Ok(Effects::todo(Todo::RESCHEDULE)));
    // SAFETY: S-08: `finish` made it the CPU's running vCPU and loaded it.
    unsafe {
        if guarded::is_used() {
            guarded::enter(resume.registers)
        } else {
            crate::entry::enter(resume.registers)
        }
    }
}
