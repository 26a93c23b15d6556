//! Where another CPU begins: in real mode, at a page below 1 MiB, on the way to [`super::begin`].
//!
//! The code lies in the image and is copied to [`PAGE`], which no one else has. Its last words are the root table to load (one that
//! maps the page at its own address besides all of the hypervisor) and the ticket, the address of the CPU's `PerCpu`.

use core::arch::global_asm;
use core::sync::atomic::Ordering;

use crate::cpu::PerCpu;
use crate::cpu::percpu::offset;
use crate::memory::{self, direct};

/// The page, as a number: what a start-up interrupt carries.
pub const PAGE: u8 = (memory::TRAMPOLINE >> 12) as u8;

global_asm!(
    r#"
    .set TRAMPOLINE, {page}

    .section .rodata.trampoline, "a"
    .balign 16
    .globl trampoline_start
trampoline_start:
    .code16
    cli
    cld
    movw    %cs, %ax
    movw    %ax, %ds
    lgdtl   trampoline_gdt_pointer - trampoline_start
    movl    %cr0, %eax
    orl     $1, %eax
    movl    %eax, %cr0
    ljmpl   $8, $(TRAMPOLINE + trampoline_32 - trampoline_start)

    .code32
trampoline_32:
    movl    $16, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    movl    %cr4, %eax
    orl     $0x20, %eax                 /* PAE */
    movl    %eax, %cr4
    movl    TRAMPOLINE + trampoline_root - trampoline_start, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx           /* EFER */
    rdmsr
    orl     $0x900, %eax                /* NXE, LME */
    wrmsr
    movl    %cr0, %eax
    andl    $0x9fffffff, %eax           /* caches on */
    orl     $0x80010001, %eax           /* PG, WP, PE */
    movl    %eax, %cr0
    ljmpl   $24, $(TRAMPOLINE + trampoline_64 - trampoline_start)

    .code64
trampoline_64:
    movl    $16, %eax
    movl    %eax, %ss
    movl    %eax, %ds
    movl    %eax, %es
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    xchgq   %rax, TRAMPOLINE + trampoline_ticket - trampoline_start
    testq   %rax, %rax
    jz      1f
    movq    %rax, %rdi
    movq    {stack}(%rdi), %rsp
    xorl    %ebp, %ebp
    movabsq ${begin}, %rax
    callq   *%rax
1:  cli
    hlt
    jmp     1b

    .balign 8
trampoline_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
trampoline_gdt_pointer:
    .short 31
    .long TRAMPOLINE + trampoline_gdt - trampoline_start
    .balign 8
    .globl trampoline_root
trampoline_root:
    .quad 0
    .globl trampoline_ticket
trampoline_ticket:
    .quad 0
    .globl trampoline_end
trampoline_end:

    .text
    "#,
    page = const memory::TRAMPOLINE,
    stack = const offset::STACK,
    begin = sym super::begin,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_root: u8;
    static trampoline_ticket: u8;
    static trampoline_end: u8;
}

/// Word of the page that a symbol of the trampoline stands for.
fn index_of(symbol: *const u8) -> usize {
    (symbol as usize - &raw const trampoline_start as usize) / 8
}

/// Copies the code to its page. `root` is the machine address of the table to load.
///
/// # Errors
/// The page is no RAM, or the root lies too high for 32-bit code.
pub fn install(root: u64) -> Result<(), &'static str> {
    if !memory::is_direct(memory::TRAMPOLINE, memory::PAGE) {
        return Err("no RAM at the page where other CPUs start");
    }
    if root >> 32 != 0 {
        return Err("no memory below 4 GiB for the page tables with which other CPUs start");
    }
    let start = &raw const trampoline_start;
    let size = &raw const trampoline_end as usize - start as usize;
    // SAFETY: S-12: the code lies in the image, and the page is reserved for it.
    unsafe { direct::copy(crate::layout::direct(memory::TRAMPOLINE) as *mut u8, start, size) };
    direct::write(memory::TRAMPOLINE, index_of(&raw const trampoline_root), root);
    Ok(())
}

/// Gives the next CPU its data.
pub fn offer(cpu: &'static PerCpu) {
    let ticket = direct::word(memory::TRAMPOLINE, index_of(&raw const trampoline_ticket));
    ticket.store(core::ptr::from_ref(cpu) as u64, Ordering::SeqCst);
}

/// Takes the offer back; whether no CPU had taken it.
pub fn take_back() -> bool {
    direct::word(memory::TRAMPOLINE, index_of(&raw const trampoline_ticket)).swap(0, Ordering::SeqCst) != 0
}
