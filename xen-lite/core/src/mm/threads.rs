//! Two CPUs at once on the same frames, and the auditor afterwards.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::thread;

use super::testing::show;
use crate::addr::{DomId, Mfn, VcpuId};
use crate::domain::{Domain, Life, VcpuState};
use crate::effort::effort;
use crate::fail::Fail;
use crate::frame;
use crate::frame::audit::audit;
use crate::frame::pte::{PRESENT, USER, WRITABLE};
use crate::hypercall::Caller;
use crate::hypercall::memory::memory_op;
use crate::hypercall::mm::ext::mmuext_op;
use crate::hypercall::mm::mmu_update;
use crate::hypervisor::Hypervisor;
use crate::platform::Platform;
use crate::world::{World, domain, machine_with_cpus};

const STEPS: u32 = effort(6000, 40);

/// Numbers that look random; the same each time for the same seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

fn one_cpu(hv: &Hypervisor<World>, domain: &Arc<Domain>, frames: &[Mfn], scratch: Mfn, cpu: u32) {
    World::be_cpu(cpu);
    let vcpu = domain.vcpu(VcpuId::new(0)).unwrap();
    let mut state = VcpuState::new(576).unwrap();
    let mut dice = Dice(0x9e37_79b9 + u64::from(cpu) * 7919);
    let at = scratch.raw() << 12;
    let own = u64::from(DomId::SELF.raw());
    for _ in 0..STEPS {
        let mut caller = Caller::new(domain, vcpu, &mut state);
        let frame = |dice: &mut Dice| frames[dice.throw(frames.len() as u64) as usize].raw();
        let result = match dice.throw(8) {
            0..4 => {
                let flags =
                    [PRESENT | WRITABLE | USER, PRESENT, 0, PRESENT | WRITABLE][dice.throw(4) as usize];
                hv.platform.store(scratch, 0, frame(&mut dice) << 12 | dice.throw(4) << 3);
                hv.platform.store(scratch, 1, frame(&mut dice) << 12 | flags);
                mmu_update(hv, &mut caller, &mut [at, 1, 0, own, 0, 0])
            }
            kind @ 4..7 => {
                let command = if kind == 6 { 4 } else { dice.throw(4) };
                hv.platform.store(scratch, 0, command);
                hv.platform.store(scratch, 1, frame(&mut dice));
                mmuext_op(hv, &mut caller, &mut [at, 1, 0, own, 0, 0])
            }
            _ => {
                let lists = [at + 72, 1, 0, own, at + 80, 1, 0, own, 0, frame(&mut dice), 5];
                lists.iter().enumerate().for_each(|(n, word)| hv.platform.store(scratch, n, *word));
                memory_op(hv, &mut caller, &mut [11, at, 0, 0, 0, 0])
            }
        };
        assert!(!matches!(result, Err(Fail::Crash(_))));
    }
    while super::roots::finish_table(hv, &mut state).is_err() {}
}

#[test]
fn two_cpus_at_once_leave_everything_counted() {
    let hv = machine_with_cpus(48, 2);
    let free = hv.frames.free_frames();
    let scratch: Vec<Mfn> = (0..2).map(|_| frame::alloc(&hv, 0, DomId::XEN).unwrap()).collect();
    let (domain, frames) = domain(&hv, 1, false, 12);
    thread::scope(|scope| {
        for cpu in 0..2 {
            let (hv, domain, frames, scratch) = (&hv, &domain, &frames, scratch[cpu]);
            scope.spawn(move || one_cpu(hv, domain, frames, scratch, cpu as u32));
        }
    });
    let findings = audit(&hv, &[]);
    assert!(findings.is_empty(), "{}", show(&findings));
    domain.advance(Life::Dying);
    while super::relinquish(&hv, &domain).is_err() {}
    super::free_shared(&hv, domain.shared_info);
    scratch.iter().for_each(|mfn| frame::free(&hv, *mfn, 0));
    let findings = audit(&hv, &[]);
    assert!(findings.is_empty(), "{}", show(&findings));
    assert_eq!(hv.frames.free_frames(), free);
}
