//! What a toolstack asks of the hypervisor: creating, inspecting and ending domains. Only operations; the public structures
//! of `domctl` and `sysctl` are known to the shims in [`crate::hypercall`].

pub mod info;
pub mod lifecycle;
pub mod policy;
