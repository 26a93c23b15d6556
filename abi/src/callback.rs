//! `callback.h`: where the hypervisor enters a PV guest.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

/// x86: Callback for event delivery.
pub const CALLBACKTYPE_EVENT: u16 = 0;
/// x86: Failsafe callback when guest state cannot be restored by Xen.
pub const CALLBACKTYPE_FAILSAFE: u16 = 1;
/// x86/64 hypervisor: Syscall by 64-bit guest app ('64-on-64-on-64').
pub const CALLBACKTYPE_SYSCALL: u16 = 2;
/// x86/32 hypervisor: Only available on x86/32 when supervisor_mode_kernel feature is enabled. Do not use
/// this callback type in new code.
pub const CALLBACKTYPE_SYSENTER_DEPRECATED: u16 = 3;
/// x86: Callback for NMI delivery.
pub const CALLBACKTYPE_NMI: u16 = 4;
pub const CALLBACKTYPE_SYSENTER: u16 = 5;
/// x86/64 hypervisor: Syscall by 32-bit guest app on AMD CPUs ('32-on-32-on-64', '32-on-64-on-64').
pub const CALLBACKTYPE_SYSCALL32: u16 = 7;
pub const CALLBACKF_MASK_EVENTS: u16 = 1 << 0;
/// Register a callback.
pub const CALLBACKOP_REGISTER: u32 = 0;

structs! {
    /// `struct callback_register`.
    pub struct CallbackRegister {
        type_: u16,
        flags: u16,
        _pad0: [u8; 4],
        address: u64,
    }
}

/// Unregister a callback.
pub const CALLBACKOP_UNREGISTER: u32 = 1;

structs! {
    /// `struct callback_unregister`.
    pub struct CallbackUnregister {
        type_: u16,
        _unused: u16,
    }
}
