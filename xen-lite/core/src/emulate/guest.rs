//! The running vCPU as a [`GuestCpu`]: what binds the pure emulator to domains and to the machine.
//!
//! Memory goes through the guest's own page tables with every address checked against the hypervisor's hole; ports go
//! through [`ports::Rights`]; registers that the CPU holds while the guest runs (FS and GS bases) are read and written
//! there, others in [`crate::domain::VcpuState`], and what must follow them in the CPU is told by effects.

use super::cpuid::{self, Context, TscInfo};
use super::ports::{PCI_ADDRESS, PCI_DATA, Rights, Route, all_ones};
use super::{Base, Bits, Code, Exception, GuestCpu, Loaded, Outcome, Seg, segment, xcr0};
use crate::Hypervisor;
use crate::addr::{GuestVirt, Mfn};
use crate::domain::Mode;
use crate::effects::{Effects, Todo};
use crate::fail::{Fail, Why};
use crate::hypercall::Caller;
use crate::hypercall::guest::{range_ok, read_bytes, read_one, write_bytes};
use crate::mm::{pages, roots};
use crate::platform::{BaseOf, Platform};
use crate::trap::{self, FLAT_CS32, FLAT_CS64, FLAT_SS};

const CR0_TS: u64 = 1 << 3;
/// Bits of CR4 that a guest owns: TSD, DE, FSGSBASE.
const CR4_OWN: u64 = 1 << 2 | 1 << 3 | 1 << 16;
/// Bits that it sees set: PAE, MCE, OSFXSR, OSXMMEXCPT.
const CR4_FIXED: u64 = 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_OSXSAVE: u64 = 1 << 18;
/// DR6.BS: single step.
const DR6_SINGLE_STEP: u64 = 1 << 14;
const VECTOR_DB: u8 = 1;
const VECTOR_PF: u8 = 14;
/// Whether a guest may have something at an address: the last byte of all is one.
fn is_guests(address: u64) -> bool {
    address == u64::MAX || range_ok(address, 1)
}

/// Selector bit: the descriptor is in the LDT.
const IN_LDT: u64 = 4;

struct View<'h, 'c, 'd, P: Platform> {
    hv: &'h Hypervisor<P>,
    caller: &'c mut Caller<'d>,
    bits: Bits,
    effects: Effects,
}

/// Emulates the privileged instruction at RIP after a #GP with error code 0; `None`: it is none, the guest gets its #GP.
pub fn privileged<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Option<Result<Effects, Why>> {
    let mut view = View { hv, caller, bits: Bits::B64, effects: Effects::NONE };
    let outcome = super::privileged(&mut view);
    deliver(view, outcome)
}

/// Emulates the forced-emulation prefix at RIP after a #UD; `None`: there is none, the guest gets its #UD.
pub fn forced<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Option<Result<Effects, Why>> {
    let mut view = View { hv, caller, bits: Bits::B64, effects: Effects::NONE };
    let outcome = super::forced(&mut view);
    deliver(view, outcome)
}

/// The frequent case of [`forced`]: CPUID in the flat segment, within a page, not single-stepped. `None`: it is another, and
/// nothing is done.
#[inline(always)]
pub fn forced_cpuid<P: Platform>(hv: &Hypervisor<P>, caller: &mut Caller<'_>) -> Option<Effects> {
    const LENGTH: u64 = super::FORCED_CPUID.len() as u64;
    const WANTED: u64 = super::FORCED_CPUID_WORD;
    const MASK: u64 = u64::MAX >> 8;
    const FLAG_TF: u64 = 1 << 8;
    const FLAG_RF: u64 = 1 << 16;
    let regs = &caller.state.regs;
    let [word] = hv.platform.read_words(GuestVirt::new(regs.rip)).ok()?;
    if regs.cs != u64::from(FLAT_CS64) || word & MASK != WANTED || regs.rflags & FLAG_TF != 0 {
        return None;
    }
    let (leaf, subleaf) = (regs.rax as u32, regs.rcx as u32);
    let mut view = View { hv, caller, bits: Bits::B64, effects: Effects::NONE };
    let [a, b, c, d] = view.cpuid(leaf, subleaf);
    let regs = &mut view.caller.state.regs;
    (regs.rax, regs.rbx, regs.rcx, regs.rdx) = (a.into(), b.into(), c.into(), d.into());
    regs.rip = regs.rip.wrapping_add(LENGTH);
    regs.rflags &= !FLAG_RF;
    Some(view.effects)
}

/// Gives the guest what an emulation ended in.
fn deliver<P: Platform>(view: View<'_, '_, '_, P>, outcome: Outcome) -> Option<Result<Effects, Why>> {
    let View { hv, caller, effects, .. } = view;
    let delivered = match outcome {
        Outcome::NotHandled => return None,
        Outcome::Again | Outcome::Done { single_step: false } => return Some(Ok(effects)),
        Outcome::Done { single_step: true } => {
            caller.state.debug[6] |= DR6_SINGLE_STEP;
            trap::inject(hv, caller, VECTOR_DB, 0)
        }
        Outcome::Fault(Exception { vector: VECTOR_PF, error_code, cr2 }) => {
            trap::deliver_page_fault(hv, caller, error_code, cr2)
        }
        Outcome::Fault(Exception { vector, error_code, .. }) => trap::inject(hv, caller, vector, error_code),
    };
    Some(delivered.map(|more| effects.and(more)))
}

/// The registers' place in `Registers`, by the CPU's number.
fn slot(regs: &mut crate::domain::Registers, number: u8) -> &mut u64 {
    match number & 15 {
        0 => &mut regs.rax,
        1 => &mut regs.rcx,
        2 => &mut regs.rdx,
        3 => &mut regs.rbx,
        4 => &mut regs.rsp,
        5 => &mut regs.rbp,
        6 => &mut regs.rsi,
        7 => &mut regs.rdi,
        8 => &mut regs.r8,
        9 => &mut regs.r9,
        10 => &mut regs.r10,
        11 => &mut regs.r11,
        12 => &mut regs.r12,
        13 => &mut regs.r13,
        14 => &mut regs.r14,
        _ => &mut regs.r15,
    }
}

fn host<P: Platform>(hv: &Hypervisor<P>, leaf: u32, subleaf: u32) -> cpuid::Leaf {
    let (a, b, c, d) = hv.platform.cpuid(leaf, subleaf);
    [a, b, c, d]
}

impl<P: Platform> View<'_, '_, '_, P> {
    /// The descriptor that a selector names in the guest's tables.
    fn descriptor(&mut self, selector: u64) -> Option<u64> {
        let index = selector >> 3 & 0x1fff;
        if selector & IN_LDT != 0 {
            if index >= u64::from(self.caller.state.ldt_entries) {
                return None;
            }
            // As the CPU finds it: in the frame that is held, whichever mode runs.
            let frame = crate::mm::ldt_frame(self.hv, self.caller, index as usize / 512)?;
            return Some(self.hv.platform.load(frame, index as usize % 512));
        }
        let state = &*self.caller.state;
        if index >= u64::from(state.gdt_entries) {
            return None;
        }
        let frame = *crate::speculation::get(&state.gdt, index as usize / 512)?;
        (frame != Mfn::INVALID).then(|| self.hv.platform.load(frame, index as usize % 512))
    }

    fn rights(&self) -> Rights {
        Rights { hardware: self.caller.domain.privileged, console: self.hv.platform.console_port() }
    }

    /// Carries out `access` at the machine's PCI configuration ports with the latched address. The domain's lock keeps
    /// its other vCPUs from setting theirs in between; nobody else touches these ports.
    fn with_pci_address<T>(&self, access: impl FnOnce() -> T) -> T {
        let settings = self.caller.domain.settings.lock();
        self.hv.platform.port_out(PCI_ADDRESS, 4, settings.pci_address);
        access()
    }

    fn route(&self, port: u16, size: u8) -> Route {
        // Everybody but the few PCI ports goes without the lock.
        let latch = if port & !7 == PCI_ADDRESS { self.caller.domain.settings.lock().pci_address } else { 0 };
        self.rights().route(port, size, latch)
    }

    /// The selector in a segment register.
    fn selector(&self, seg: Seg) -> u16 {
        let regs = &self.caller.state.regs;
        let data = self.hv.platform.selectors();
        match seg {
            Seg::Cs => regs.cs as u16,
            Seg::Ss => regs.ss as u16,
            Seg::Ds => data.ds,
            Seg::Es => data.es,
            Seg::Fs => data.fs,
            Seg::Gs => data.gs,
        }
    }

    /// The page fault of an access that failed: its address is that of the first byte which cannot be read, or else of the
    /// first byte.
    fn fault(&self, linear: u64, size: u64, error_code: u32) -> Exception {
        let unreadable = |at: &u64| read_bytes(self.hv, *at, &mut [0]).is_err();
        let at = (0..size).map(|byte| linear.wrapping_add(byte)).find(unreadable);
        Exception::page_fault(at.unwrap_or(linear), error_code)
    }

    /// Something in the kernel's address space, whichever runs.
    fn with_kernel_tables<T>(&self, action: impl FnOnce() -> T) -> T {
        let state = &*self.caller.state;
        if state.mode == Mode::Kernel {
            return action();
        }
        self.hv.platform.load_root(state.kernel_root);
        let result = action();
        self.hv.platform.load_root(state.user_root);
        result
    }
}

impl<P: Platform> Context for View<'_, '_, '_, P> {
    fn host(&self, leaf: u32, subleaf: u32) -> cpuid::Leaf {
        host(self.hv, leaf, subleaf)
    }
    fn vcpu_id(&self) -> u32 {
        self.caller.vcpu.id.raw()
    }
    fn controls_speculation(&self) -> bool {
        self.hv.config.speculation.guest_msrs
    }
    fn supported_xcr0(&self) -> u64 {
        xcr0::supported(|leaf, subleaf| host(self.hv, leaf, subleaf))
    }
    fn xcr0(&self) -> u64 {
        self.caller.state.xcr0
    }
    fn osxsave(&self) -> bool {
        Context::supported_xcr0(self) != 0
    }
    fn fsgsbase(&self) -> bool {
        self.host(0, 0)[0] >= 7 && self.host(7, 0)[1] & 1 != 0
    }
    fn shows_invariant_tsc(&self) -> bool {
        self.caller.domain.privileged
    }
    fn tsc(&self) -> TscInfo {
        const INVARIANT_TSC: u32 = 1 << 8;
        const POWER: u32 = 0x8000_0007;
        let clock = self.hv.platform.clock();
        TscInfo {
            reliable: self.host(0x8000_0000, 0)[0] >= POWER && self.host(POWER, 0)[3] & INVARIANT_TSC != 0,
            khz: clock.khz,
            host_khz: clock.khz,
            mul: clock.mul,
            shift: clock.shift,
            ..TscInfo::default()
        }
    }
    fn address_bits(&self) -> u32 {
        // As many as the last frame of RAM needs.
        u64::BITS - self.hv.frames.len().saturating_sub(1).leading_zeros() + crate::addr::PAGE_SHIFT
    }
}

impl<P: Platform> GuestCpu for View<'_, '_, '_, P> {
    fn first_domain(&self) -> bool {
        self.caller.domain.privileged
    }
    fn code(&mut self) -> Option<Code> {
        let cs = self.caller.state.regs.cs & 0xffff;
        let descriptor = match cs as u16 {
            FLAT_CS64 => segment::FLAT_CODE64,
            FLAT_CS32 => segment::FLAT_CODE32,
            _ => self.descriptor(cs)?,
        };
        let code = segment::code(descriptor)?;
        self.bits = code.bits;
        Some(code)
    }
    fn fetch(&mut self, linear: u64, out: &mut [u8]) -> bool {
        read_bytes(self.hv, linear, out).is_ok()
    }
    fn fetch_block(&mut self, linear: u64) -> Option<[u8; 16]> {
        read_one(self.hv, linear).ok()
    }
    fn fetch_word(&mut self, linear: u64) -> Option<u64> {
        read_one(self.hv, linear).ok()
    }
    fn gpr(&self, number: u8) -> u64 {
        let regs = &self.caller.state.regs;
        match number & 15 {
            0 => regs.rax,
            1 => regs.rcx,
            2 => regs.rdx,
            3 => regs.rbx,
            4 => regs.rsp,
            5 => regs.rbp,
            6 => regs.rsi,
            7 => regs.rdi,
            8 => regs.r8,
            9 => regs.r9,
            10 => regs.r10,
            11 => regs.r11,
            12 => regs.r12,
            13 => regs.r13,
            14 => regs.r14,
            _ => regs.r15,
        }
    }
    fn set_gpr(&mut self, number: u8, value: u64) {
        *slot(&mut self.caller.state.regs, number) = value;
    }
    fn rip(&self) -> u64 {
        self.caller.state.regs.rip
    }
    fn set_rip(&mut self, value: u64) {
        self.caller.state.regs.rip = value;
    }
    fn rflags(&self) -> u64 {
        self.caller.state.regs.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.caller.state.regs.rflags = value;
    }
    fn in_kernel(&self) -> bool {
        self.caller.state.mode == Mode::Kernel
    }

    fn iopl(&self) -> u8 {
        self.caller.state.iopl
    }
    fn bitmap_permits(&mut self, port: u16) -> bool {
        let (base, ports) = self.caller.state.io_bitmap;
        let mut byte = [0xff];
        let Some(at) = base.checked_add(u64::from(port) / 8).filter(|_| u32::from(port) < ports) else {
            return false;
        };
        let read = self.with_kernel_tables(|| read_bytes(self.hv, at, &mut byte));
        read.is_ok() && byte[0] >> (port % 8) & 1 == 0
    }
    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        let machine = &self.hv.platform;
        match self.route(port, size) {
            Route::Machine => machine.port_in(port, size),
            Route::PciAddress => self.caller.domain.settings.lock().pci_address,
            Route::PciData(byte) => {
                self.with_pci_address(|| machine.port_in(PCI_DATA + u16::from(byte), size))
            }
            Route::Nowhere => all_ones(size),
        }
    }
    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        let machine = &self.hv.platform;
        match self.route(port, size) {
            Route::Machine => machine.port_out(port, size, value),
            Route::PciAddress => self.caller.domain.settings.lock().pci_address = value,
            Route::PciData(byte) => {
                self.with_pci_address(|| machine.port_out(PCI_DATA + u16::from(byte), size, value))
            }
            Route::Nowhere => {}
        }
    }

    /// In 64-bit mode only FS and GS have a base, and the first byte must be at an address that guests may have; else the
    /// descriptor counts.
    fn linear(&mut self, seg: Seg, offset: u64, size: u8, write: bool) -> Result<u64, Exception> {
        if self.bits == Bits::B64 {
            let base = match seg {
                Seg::Fs => self.hv.platform.guest_base(BaseOf::Fs),
                Seg::Gs => self.hv.platform.guest_base(BaseOf::Gs),
                _ => 0,
            };
            let linear = base.wrapping_add(offset);
            return if is_guests(linear) { Ok(linear) } else { Err(Exception::GP) };
        }
        let selector = self.selector(seg);
        let descriptor = match selector | 3 {
            FLAT_CS32 => segment::FLAT_CODE32,
            FLAT_SS => segment::FLAT_DATA,
            FLAT_CS64 => segment::FLAT_CODE64,
            0..=3 => return Err(Exception::GP),
            _ => self.descriptor(selector.into()).ok_or(Exception::GP)?,
        };
        segment::data(descriptor, offset, size, write)
    }
    fn read(&mut self, linear: u64, out: &mut [u8]) -> Result<(), Exception> {
        read_bytes(self.hv, linear, out).map_err(|_| self.fault(linear, out.len() as u64, 0))
    }
    fn write(&mut self, linear: u64, bytes: &[u8]) -> Result<(), Exception> {
        let fault = |view: &Self| view.fault(linear, bytes.len() as u64, 1 << 1);
        write_bytes(self.hv, linear, bytes).map_err(|_| fault(self))
    }

    fn cr(&self, number: u8) -> u64 {
        let state = &*self.caller.state;
        match number {
            0 => state.cr0,
            2 => state.cr2,
            3 => state.kernel_root.address().map_or(0, |address| address.raw()),
            _ => CR4_FIXED | state.cr4 & (CR4_OWN | CR4_OSXSAVE),
        }
    }
    fn set_ts(&mut self, on: bool) {
        let cr0 = &mut self.caller.state.cr0;
        *cr0 = if on { *cr0 | CR0_TS } else { *cr0 & !CR0_TS };
        self.effects = self.effects.and(Effects::todo(Todo::LOAD_TS));
    }
    fn set_cr2(&mut self, value: u64) {
        self.caller.state.cr2 = value;
        trap::info::set_cr2(self.hv, self.caller.vcpu, value);
    }
    fn set_cr3(&mut self, value: u64) -> Loaded {
        if value & 0xfff != 0 {
            return Loaded::Refused;
        }
        let (domain, root) = (self.caller.domain.id, Mfn::new(value >> 12));
        let state = &mut *self.caller.state;
        let result = roots::finish_table(self.hv, state)
            .and_then(|()| Ok(roots::switch_root::<P, true>(self.hv, domain, state, root)?));
        match result {
            Ok(_) => Loaded::Yes,
            Err(Fail::Again | Fail::AgainWith(_)) => Loaded::Again,
            Err(Fail::Errno(_) | Fail::Crash(_)) => Loaded::Refused,
        }
    }
    fn set_cr4(&mut self, value: u64) {
        let xsave = if GuestCpu::supported_xcr0(self) != 0 { CR4_OSXSAVE } else { 0 };
        let missing = if Context::fsgsbase(self) { 0 } else { CR4_FSGSBASE };
        self.caller.state.cr4 = value & (CR4_OWN & !missing | xsave);
    }
    fn dr(&self, number: u8) -> u64 {
        self.caller.state.debug[usize::from(number & 7)]
    }
    fn set_dr(&mut self, number: u8, value: u64) -> bool {
        self.effects = self.effects.and(Effects::todo(Todo::LOAD_DEBUG));
        crate::hypercall::cpu::write_debug(self.caller.state, number.into(), value).is_ok()
    }
    fn set_xcr0(&mut self, value: u64) -> bool {
        self.caller.state.xcr0 = value;
        self.effects = self.effects.and(Effects::todo(Todo::LOAD_XCR0));
        true
    }
    fn supported_xcr0(&self) -> u64 {
        Context::supported_xcr0(self)
    }

    fn base(&self, base: Base) -> u64 {
        match base {
            Base::Fs => self.hv.platform.guest_base(BaseOf::Fs),
            Base::Gs => self.hv.platform.guest_base(BaseOf::Gs),
            Base::KernelGs => self.caller.state.gs_base_other,
        }
    }
    fn set_base(&mut self, base: Base, value: u64) {
        match base {
            Base::Fs => self.hv.platform.set_guest_base(BaseOf::Fs, value),
            Base::Gs => self.hv.platform.set_guest_base(BaseOf::Gs, value),
            Base::KernelGs => self.caller.state.gs_base_other = value,
        }
    }
    fn tsc(&mut self) -> u64 {
        let clock = self.hv.platform.clock();
        let elapsed = self.hv.platform.now().saturating_sub(clock.ns);
        let ticks = u128::from(elapsed) * u128::from(clock.khz) / 1_000_000;
        clock.tsc.wrapping_add(ticks as u64)
    }
    fn tsc_aux(&self) -> u32 {
        self.caller.state.tsc_aux
    }
    fn spec_ctrl(&self) -> u64 {
        self.caller.state.spec_ctrl.into()
    }
    fn set_spec_ctrl(&mut self, value: u64) {
        // Only the lower half has bits.
        self.caller.state.spec_ctrl = value as u32;
        self.hv.platform.set_guest_spec_ctrl(value as u32);
    }
    fn forget_branches(&mut self, command: u64) {
        self.hv.platform.forget_branches(command);
    }
    fn set_tsc_aux(&mut self, value: u32) {
        self.caller.state.tsc_aux = value;
        self.effects = self.effects.and(Effects::todo(Todo::LOAD_TSC_AUX));
    }
    fn vcpu_id(&self) -> u32 {
        self.caller.vcpu.id.raw()
    }
    fn fill_hypercall_page(&mut self, gfn: u64) -> bool {
        // A PV guest's frame numbers are the machine's.
        let (hv, mfn) = (self.hv, Mfn::new(gfn));
        let fill = || hv.platform.store_bytes(mfn, 0, &crate::hypercall::page::contents());
        pages::with_writable(hv, self.caller.domain.id, mfn, fill).is_ok()
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let values = cpuid::pv_leaf(leaf, subleaf, self);
        match &self.caller.domain.settings.lock().cpu_policy {
            Some(own) => own.show(leaf, subleaf, values),
            None => values,
        }
    }
    fn flush_caches(&mut self) {
        if self.caller.domain.privileged {
            self.hv.platform.flush_cache();
        }
    }
}
