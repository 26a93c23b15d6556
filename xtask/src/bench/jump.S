/*
 * A multiboot kernel that reads the time-stamp counter where a loader jumps to, prints it as "JUMP 0x…" on the serial
 * port and ends QEMU through its isa-debug-exit device. Read by bench/mod.rs.
 */
        .code32
        .text
        .balign 4
        .long   0x1badb002, 3, -(0x1badb002 + 3)
        .globl _start
_start:
        rdtsc
        movl    %eax, %ebx
        movl    %edx, %ebp
        movl    $text, %esi
        movw    $0x3f8, %dx
0:      lodsb
        testb   %al, %al
        jz      1f
        outb    %al, %dx
        jmp     0b
1:      movl    $16, %ecx
2:      movl    %ebp, %eax                      /* rotate EBP:EBX left by one digit ... */
        shldl   $4, %ebx, %ebp
        shldl   $4, %eax, %ebx
        movl    %ebx, %eax                      /* ... so that the highest one is now the lowest */
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     3f
        addb    $('a' - '0' - 10), %al
3:      outb    %al, %dx
        loop    2b
        movb    $'\n', %al
        outb    %al, %dx
        outb    %al, $0xf4
4:      hlt
        jmp     4b
text:   .asciz  "JUMP 0x"
