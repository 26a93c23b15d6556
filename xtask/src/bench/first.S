/*
 * The smallest Xen PV kernel: its first instruction reads the time-stamp counter. It prints the value as
 * "FIRST 0x…" and asks for a restart. Read by bench/mod.rs.
 */
        .macro note type, value:vararg
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
1:      \value
2:      .balign 4
        .endm

        .section .note.Xen, "a", @note
        note 6, .asciz "first"                  /* GUEST_OS */
        note 5, .asciz "xen-3.0"                /* XEN_VERSION */
        note 8, .asciz "generic"                /* LOADER */
        note 3, .quad 0xffffffff80000000        /* VIRT_BASE */
        note 4, .quad 0xffffffff80000000        /* PADDR_OFFSET: p_paddr is the virtual address */
        note 1, .quad _start                    /* ENTRY */
        note 2, .quad hypercall_page            /* HYPERCALL_PAGE */
        note 9, .asciz "yes"                    /* PAE_MODE */

        .text
        .globl _start
_start:
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        movq    %rax, %rbx
        leaq    digits(%rip), %rdi
        movl    $16, %ecx
        cld
0:      rolq    $4, %rbx
        movb    %bl, %al
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     1f
        addb    $('a' - '0' - 10), %al
1:      stosb
        loop    0b

        xorl    %edi, %edi                      /* console_io: write(length, text) */
        movl    $(line_end - line), %esi
        leaq    line(%rip), %rdx
        call    hypercall_page + 18 * 32
        movl    $2, %edi                        /* sched_op: shutdown(reboot) */
        leaq    reason(%rip), %rsi
        call    hypercall_page + 29 * 32
        ud2

        .balign 8
reason: .long   1
line:   .ascii  "FIRST 0x"
digits: .space  16
        .ascii  "\n"
line_end:

        .balign 4096
hypercall_page:
        .space  4096
