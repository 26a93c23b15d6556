//! The first instructions: from a boot loader's 32-bit mode into long mode.
//!
//! Both multiboot protocols enter here in protected mode without paging, with a magic number in EAX that tells which of them
//! it is, and the address of the loader's information in EBX. This code runs at its physical address (section `.boot`). It
//! builds page tables that map the first 4 GiB three times: at zero (where it runs), in the direct map, and (the first GiB) at
//! the image's own address; then it calls [`super::start`] there.

use core::arch::global_asm;

use crate::layout;

/// Bytes of the boot stack. Decompressing a kernel needs most of it.
const STACK_SIZE: usize = 128 << 10;
/// Bytes of the page below it, which is not mapped once the final page tables are loaded.
const GUARD_SIZE: usize = 4 << 10;

/// Bounds of the boot stack with its guard page: physical addresses. It is the last of what only boot needs.
pub fn stack() -> (u64, u64) {
    unsafe extern "C" {
        static boot_stack_guard: u8;
        static boot_stack_top: u8;
    }
    (&raw const boot_stack_guard as u64, &raw const boot_stack_top as u64)
}

global_asm!(
    r#"
    .set MB1_MAGIC, 0x1badb002
    .set MB1_FLAGS, 0x3                 /* modules on page boundaries, memory information */
    .set MB2_MAGIC, 0xe85250d6

    .section .boot.header, "aw"
    .balign 8
    .long MB1_MAGIC, MB1_FLAGS, -(MB1_MAGIC + MB1_FLAGS)

    .balign 8
mb2_header:
    .long MB2_MAGIC, 0, mb2_header_end - mb2_header
    .long -(MB2_MAGIC + 0 + (mb2_header_end - mb2_header)) & 0xffffffff
    .balign 8
    .short 1, 0                         /* information request: */
    .long 20
    .long 1, 3, 6                       /* command line, modules, memory map */
    .balign 8
    .short 6, 0                         /* modules on page boundaries */
    .long 8
    .balign 8
    .short 0, 0                         /* end */
    .long 8
mb2_header_end:

    .section .boot.text, "ax"
    .code32
    .globl boot_entry
boot_entry:
    cld
    cli
    movl    %eax, %ebp
    movl    %ebx, %esi

    movl    $no_loader, %edi
    cmpl    $0x2badb002, %ebp
    je      1f
    cmpl    $0x36d76289, %ebp
    jne     refuse
1:  movl    $boot_scratch_top, %esp

    /* Long mode? CPUID itself is there on every CPU with it. */
    movl    $no_long_mode, %edi
    pushfl
    popl    %eax
    movl    %eax, %ecx
    xorl    $0x200000, %eax
    pushl   %eax
    popfl
    pushfl
    popl    %eax
    xorl    %ecx, %eax
    testl   $0x200000, %eax
    jz      refuse
    movl    $0x80000000, %eax
    cpuid
    cmpl    $0x80000001, %eax
    movl    $no_long_mode, %edi
    jb      refuse
    movl    $0x80000001, %eax
    cpuid
    movl    $no_long_mode, %edi
    testl   $0x20000000, %edx
    jz      refuse

    /* 4 GiB of 2 MiB pages. */
    movl    $boot_l2, %edi
    movl    $0x83, %eax
    xorl    %edx, %edx
    movl    $2048, %ecx
2:  movl    %eax, (%edi)
    movl    %edx, 4(%edi)
    addl    $8, %edi
    addl    $0x200000, %eax
    adcl    $0, %edx
    decl    %ecx
    jnz     2b

    movl    $boot_l2 + 0x0003, boot_l3
    movl    $boot_l2 + 0x1003, boot_l3 + 8
    movl    $boot_l2 + 0x2003, boot_l3 + 16
    movl    $boot_l2 + 0x3003, boot_l3 + 24
    movl    $boot_l2 + 0x0003, boot_l3_image + {image_l3} * 8
    movl    $boot_l3 + 3, boot_l4
    movl    $boot_l3 + 3, boot_l4 + {direct_l4} * 8
    movl    $boot_l3_image + 3, boot_l4 + {image_l4} * 8

    movl    $boot_l4, %eax
    movl    %eax, %cr3
    movl    %cr4, %eax
    orl     $0x20, %eax                 /* PAE */
    movl    %eax, %cr4
    movl    $0xc0000080, %ecx           /* EFER */
    rdmsr
    orl     $0x100, %eax                /* LME */
    wrmsr
    movl    %cr0, %eax
    orl     $0x80010001, %eax           /* PG, WP, PE */
    movl    %eax, %cr0
    lgdtl   boot_gdt_pointer
    ljmpl   $8, $boot_entry_64

    /* Tells why on com1, at the speed that firmware left, and stops. */
refuse:
    movw    $0x3f8, %dx
3:  movb    (%edi), %bl
    incl    %edi
    testb   %bl, %bl
    jz      5f
    movl    $100000, %ecx
    addw    $5, %dx
4:  inb     %dx, %al
    testb   $0x20, %al
    loopz   4b
    subw    $5, %dx
    movb    %bl, %al
    outb    %al, %dx
    jmp     3b
5:  hlt
    jmp     5b

    .code64
boot_entry_64:
    movl    $16, %eax
    movl    %eax, %ss
    movl    %eax, %ds
    movl    %eax, %es
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    movabsq ${image} + boot_stack_top, %rsp
    movl    %ebp, %edi
    movl    %esi, %esi
    xorl    %ebp, %ebp
    movabsq ${start}, %rax
    callq   *%rax
    ud2

    .section .boot.data, "aw"
    .balign 8
boot_gdt:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
boot_gdt_pointer:
    .short 23
    .long boot_gdt
no_loader:    .asciz "xen-lite: not started by a multiboot loader (the magic number in EAX is wrong)\r\n"
no_long_mode: .asciz "xen-lite: this CPU has no 64-bit mode (CPUID 0x80000001 EDX bit 29)\r\n"

    .section .boot.bss, "aw", @nobits
    .balign 4096
boot_l4:        .skip 4096
boot_l3:        .skip 4096
boot_l3_image:  .skip 4096
boot_l2:        .skip 4096 * 4
boot_scratch:   .skip 64
boot_scratch_top:
    .balign 4096
    .globl  boot_stack_guard, boot_stack_top
boot_stack_guard: .skip {guard_size} + {stack_size}
boot_stack_top:

    .text
    "#,
    image_l4 = const (layout::IMAGE >> 39) & 511,
    image_l3 = const (layout::IMAGE >> 30) & 511,
    direct_l4 = const (layout::DIRECT >> 39) & 511,
    image = const layout::IMAGE,
    guard_size = const GUARD_SIZE,
    stack_size = const STACK_SIZE,
    start = sym super::start,
    options(att_syntax)
);
