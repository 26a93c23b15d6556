//! First instructions of a guest, and the Xen notes that lead the loader to them.
//!
//! At the entry point (public header `arch-x86/xen.h`): 64-bit mode in ring 3, flat segments, the kernel area mapped
//! writable from `VIRT_BASE` up, `rsi` = address of `start_info`, `rsp` = a boot stack of one page. The loader has already
//! cleared what lies beyond the file in memory; clearing it again makes no assumption about the loader.
//!
//! `_start` applies the relative relocations (the image is linked as a static position-independent executable, but always
//! runs where it was linked), moves to a stack of [`STACK_SIZE`] bytes and calls [`super::start_rust`].

use core::arch::global_asm;

/// Size of the boot vCPU's stack, in bytes; the page below it is a guard page.
pub const STACK_SIZE: usize = 256 * 1024;

global_asm!(
    // The page a loader may fill with stubs. The SDK issues SYSCALL itself and never jumps here.
    ".section .text.hypercall_page, \"ax\", @progbits",
    ".balign 4096",
    ".globl hypercall_page",
    "hypercall_page:",
    ".skip 4096, 0xcc",
    ".section .text.start, \"ax\", @progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "cld",
    "mov r12, rsi",
    // Relative relocations: offset, type, addend; 24 bytes each.
    "lea rsi, [rip + __rela_start]",
    "lea rdx, [rip + __rela_end]",
    "2: cmp rsi, rdx",
    "jae 3f",
    "mov rax, [rsi]",
    "mov rcx, [rsi + 16]",
    "mov [rax], rcx",
    "add rsi, 24",
    "jmp 2b",
    "3: lea rdi, [rip + __bss_start]",
    "lea rcx, [rip + __bss_end]",
    "sub rcx, rdi",
    "xor eax, eax",
    "rep stosb",
    "lea rsp, [rip + boot_stack_top]",
    "xor ebp, ebp",
    "mov rdi, r12",
    "call {start}",
    "ud2",
    ".size _start, . - _start",
    ".section .bss.boot_stack, \"aw\", @nobits",
    ".balign 4096",
    ".globl boot_stack_guard",
    "boot_stack_guard:",
    ".skip 4096",
    ".globl boot_stack",
    "boot_stack:",
    ".skip {stack_size}",
    ".globl boot_stack_top",
    "boot_stack_top:",
    start = sym super::start_rust,
    stack_size = const STACK_SIZE,
);

// Note types are those of the public header `elfnote.h`. Addresses are constants because a note cannot be relocated before
// it is read; the linker script asserts that they are right.
global_asm!(
    ".macro xen_note_string type, text",
    ".balign 4",
    ".long 4, 7f - 6f, \\type",
    ".asciz \"Xen\"",
    "6: .asciz \"\\text\"",
    "7: .balign 4",
    ".endm",
    ".macro xen_note_number type, value",
    ".balign 4",
    ".long 4, 8, \\type",
    ".asciz \"Xen\"",
    ".quad \\value",
    ".endm",
    ".section .note.xen, \"a\", @note",
    "xen_note_string 6, \"domu-sdk\"", // GUEST_OS
    "xen_note_string 7, \"0.1\"",      // GUEST_VERSION
    "xen_note_string 5, \"xen-3.0\"",  // XEN_VERSION
    "xen_note_string 8, \"generic\"",  // LOADER
    "xen_note_string 10, \"!writable_page_tables|pae_pgdir_above_4gb\"", // FEATURES
    "xen_note_string 9, \"yes\"",      // PAE_MODE
    "xen_note_number 3, 0xffffffff80000000", // VIRT_BASE
    "xen_note_number 4, 0",            // PADDR_OFFSET
    "xen_note_number 1, 0xffffffff80101000", // ENTRY
    "xen_note_number 2, 0xffffffff80100000", // HYPERCALL_PAGE
    "xen_note_number 12, 0xffff800000000000", // HV_START_LOW
    "xen_note_number 17, 0x801",       // SUPPORTED_FEATURES: dom0, writable_page_tables
    // L1_MFN_VALID: mask and value of a level-1 entry that maps a frame.
    ".balign 4",
    ".long 4, 16, 13",
    ".asciz \"Xen\"",
    ".quad 1, 1",
);
