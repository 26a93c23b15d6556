//! Vectors of processor exceptions, as `set_trap_table` and the processor's manual number them.

/// Divide error.
pub const DIVIDE_ERROR: u8 = 0;
/// Debug.
pub const DEBUG: u8 = 1;
/// Non-maskable interrupt.
pub const NMI: u8 = 2;
/// Breakpoint.
pub const INT3: u8 = 3;
/// Overflow.
pub const OVERFLOW: u8 = 4;
/// Bound range exceeded.
pub const BOUNDS: u8 = 5;
/// Invalid opcode.
pub const INVALID_OP: u8 = 6;
/// Device not available (CR0.TS).
pub const NO_DEVICE: u8 = 7;
/// Double fault.
pub const DOUBLE_FAULT: u8 = 8;
/// Coprocessor segment overrun; no processor of today raises it.
pub const COPRO_SEG: u8 = 9;
/// Invalid TSS.
pub const INVALID_TSS: u8 = 10;
/// Segment not present.
pub const NO_SEGMENT: u8 = 11;
/// Stack fault.
pub const STACK_ERROR: u8 = 12;
/// General protection.
pub const GP_FAULT: u8 = 13;
/// Page fault.
pub const PAGE_FAULT: u8 = 14;
/// Spurious interrupt; reserved.
pub const SPURIOUS_INT: u8 = 15;
/// x87 floating-point error.
pub const COPRO_ERROR: u8 = 16;
/// Alignment check.
pub const ALIGNMENT_CHECK: u8 = 17;
/// Machine check.
pub const MACHINE_CHECK: u8 = 18;
/// SIMD floating-point error.
pub const SIMD_ERROR: u8 = 19;
/// Virtualisation exception.
pub const VIRT_EXCEPTION: u8 = 20;
/// Control protection.
pub const CONTROL_PROTECTION: u8 = 21;
/// Hypervisor injection (AMD).
pub const HYPERVISOR_INJECTION: u8 = 28;
/// VMM communication (AMD).
pub const VMM_COMMUNICATION: u8 = 29;
/// Security exception (AMD).
pub const SECURITY_EXCEPTION: u8 = 30;
/// How many vectors the processor keeps for exceptions.
pub const NR_EXCEPTIONS: u8 = 32;

const ERROR_CODES: u32 = 1 << DOUBLE_FAULT
    | 1 << INVALID_TSS
    | 1 << NO_SEGMENT
    | 1 << STACK_ERROR
    | 1 << GP_FAULT
    | 1 << PAGE_FAULT
    | 1 << ALIGNMENT_CHECK
    | 1 << CONTROL_PROTECTION
    | 1 << VMM_COMMUNICATION
    | 1 << SECURITY_EXCEPTION;

/// Whether the processor pushes an error code for `vector`.
pub const fn has_error_code(vector: u8) -> bool {
    vector < NR_EXCEPTIONS && ERROR_CODES >> vector & 1 == 1
}

/// The name of exception `vector`, for logs.
pub const fn name(vector: u8) -> &'static str {
    match vector {
        DIVIDE_ERROR => "divide error",
        DEBUG => "debug",
        NMI => "nmi",
        INT3 => "breakpoint",
        OVERFLOW => "overflow",
        BOUNDS => "bound range exceeded",
        INVALID_OP => "invalid opcode",
        NO_DEVICE => "device not available",
        DOUBLE_FAULT => "double fault",
        COPRO_SEG => "coprocessor segment overrun",
        INVALID_TSS => "invalid TSS",
        NO_SEGMENT => "segment not present",
        STACK_ERROR => "stack fault",
        GP_FAULT => "general protection",
        PAGE_FAULT => "page fault",
        COPRO_ERROR => "x87 error",
        ALIGNMENT_CHECK => "alignment check",
        MACHINE_CHECK => "machine check",
        SIMD_ERROR => "SIMD error",
        VIRT_EXCEPTION => "virtualisation exception",
        CONTROL_PROTECTION => "control protection",
        HYPERVISOR_INJECTION => "hypervisor injection",
        VMM_COMMUNICATION => "VMM communication",
        SECURITY_EXCEPTION => "security exception",
        _ => "reserved exception",
    }
}
