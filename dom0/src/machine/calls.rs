//! Control hypercalls that carry pointers: the unsafe part of Dom0.
//!
//! Each function takes the buffers its call reads or writes as references, so that they live as long as the call.

use abi::errno::Errno;
use abi::xen::hypercall;
use abi::zerocopy::{FromBytes, Immutable, IntoBytes};
use abi::{GuestPtr, domctl as dc, sysctl as sc};
use dom0::hypervisor::Result;

/// The address of a buffer for a structure that is passed to the hypervisor.
pub trait Ptr<T> {
    /// A handle to the first element.
    fn input(&self) -> GuestPtr<T>;
    /// A handle to the first element, for the hypervisor to write to.
    fn output(&mut self) -> GuestPtr<T>;
}

impl<T: Immutable + IntoBytes + FromBytes> Ptr<T> for [T] {
    fn input(&self) -> GuestPtr<T> {
        GuestPtr::new(self.as_ptr().expose_provenance() as u64)
    }
    fn output(&mut self) -> GuestPtr<T> {
        GuestPtr::new(self.as_mut_ptr().expose_provenance() as u64)
    }
}

fn call(number: u64, arguments: [u64; 5]) -> Result<u64> {
    // SAFETY: every caller below passes the address of a structure it owns; handles inside were made by `Ptr` from buffers
    // that its own caller borrows for the time of the call. None of the calls changes this domain's own mappings.
    Errno::check(unsafe { domu_sdk::arch::raw_hypercall(number, arguments) })
}

fn address<T>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).expose_provenance() as u64
}

/// Issues a domctl whose union was filled in; the version is set here.
pub fn domctl(argument: &mut dc::Domctl) -> Result<u64> {
    argument.interface_version = dc::XEN_DOMCTL_INTERFACE_VERSION;
    call(hypercall::DOMCTL, [address(argument), 0, 0, 0, 0])
}

/// Issues a sysctl whose union was filled in; the version is set here.
pub fn sysctl(argument: &mut sc::Sysctl) -> Result<u64> {
    argument.interface_version = sc::XEN_SYSCTL_INTERFACE_VERSION;
    call(hypercall::SYSCTL, [address(argument), 0, 0, 0, 0])
}

/// Issues a memory operation on another domain.
pub fn memory_op<T: IntoBytes>(operation: u32, argument: &mut T) -> Result<u64> {
    call(hypercall::MEMORY_OP, [u64::from(operation), address(argument), 0, 0, 0])
}

/// Issues one extended MMU operation on the tables of another domain.
pub fn mmuext_op(mut operation: abi::xen::MmuextOp, domain: u16) -> Result<()> {
    call(hypercall::MMUEXT_OP, [address(&mut operation), 1, 0, u64::from(domain), 0]).map(|_| ())
}
