//! `xenoprof.h`: profiling.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

/// Commands to HYPERVISOR_xenoprof_op().
pub const XENOPROF_INIT: u32 = 0;
pub const XENOPROF_RESET_ACTIVE_LIST: u32 = 1;
pub const XENOPROF_RESET_PASSIVE_LIST: u32 = 2;
pub const XENOPROF_SET_ACTIVE: u32 = 3;
pub const XENOPROF_SET_PASSIVE: u32 = 4;
pub const XENOPROF_RESERVE_COUNTERS: u32 = 5;
pub const XENOPROF_COUNTER: u32 = 6;
pub const XENOPROF_SETUP_EVENTS: u32 = 7;
pub const XENOPROF_ENABLE_VIRQ: u32 = 8;
pub const XENOPROF_START: u32 = 9;
pub const XENOPROF_STOP: u32 = 10;
pub const XENOPROF_DISABLE_VIRQ: u32 = 11;
pub const XENOPROF_RELEASE_COUNTERS: u32 = 12;
pub const XENOPROF_SHUTDOWN: u32 = 13;
pub const XENOPROF_GET_BUFFER: u32 = 14;
pub const XENOPROF_SET_BACKTRACE: u32 = 15;
/// AMD IBS support.
pub const XENOPROF_GET_IBS_CAPS: u32 = 16;
pub const XENOPROF_IBS_COUNTER: u32 = 17;
pub const XENOPROF_LAST_OP: u32 = 17;
pub const MAX_OPROF_EVENTS: u32 = 32;
pub const MAX_OPROF_DOMAINS: u32 = 25;
pub const XENOPROF_CPU_TYPE_SIZE: u32 = 64;

structs! {
    /// `struct event_log`: Xenoprof performance events (not Xen events).
    pub struct EventLog {
        eip: u64,
        mode: u8,
        event: u8,
        _pad0: [u8; 6],
    }
}

/// PC value that indicates a special code.
pub const XENOPROF_ESCAPE_CODE: u64 = 0xffffffffffffffff;
/// Transient events for the xenoprof->oprofile cpu buf.
pub const XENOPROF_TRACE_BEGIN: u32 = 1;

structs! {
    /// `struct xenoprof_buf`: Xenoprof buffer shared between Xen and domain – 1 per VCPU.
    pub struct XenoprofBuf {
        event_head: u32,
        event_tail: u32,
        event_size: u32,
        vcpu_id: u32,
        xen_samples: u64,
        kernel_samples: u64,
        user_samples: u64,
        lost_samples: u64,
        event_log: [EventLog; 1],
    }

    /// `struct xenoprof_init`.
    pub struct XenoprofInit {
        num_events: i32,
        is_primary: i32,
        cpu_type: [u8; 64],
    }

    /// `struct xenoprof_get_buffer`.
    pub struct XenoprofGetBuffer {
        max_samples: i32,
        nbuf: i32,
        bufsize: i32,
        _pad0: [u8; 4],
        buf_gmaddr: u64,
    }

    /// `struct xenoprof_counter`.
    pub struct XenoprofCounter {
        ind: u32,
        _pad0: [u8; 4],
        count: u64,
        enabled: u32,
        event: u32,
        hypervisor: u32,
        kernel: u32,
        user: u32,
        _pad1: [u8; 4],
        unit_mask: u64,
    }

    /// `struct xenoprof_passive`.
    pub struct XenoprofPassive {
        domain_id: u16,
        _pad0: [u8; 2],
        max_samples: i32,
        nbuf: i32,
        bufsize: i32,
        buf_gmaddr: u64,
    }

    /// `struct xenoprof_ibs_counter`.
    pub struct XenoprofIbsCounter {
        op_enabled: u64,
        fetch_enabled: u64,
        max_cnt_fetch: u64,
        max_cnt_op: u64,
        rand_en: u64,
        dispatched_ops: u64,
    }
}
