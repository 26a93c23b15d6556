//! A program for user mode, of many parts: its first argument says which one is played.
//!
//! It is linked with nothing, and knows three system calls, with the numbers that Linux gives them: write, the number of the process,
//! and the end. The guest that runs it (`tests/guests`, `processes`) knows what each part must lead to.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const WRITE: u64 = 1;
const GETPID: u64 = 39;
const EXIT: u64 = 60;

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

fn call(number: u64, [a, b, c]: [u64; 3]) -> u64 {
    let result;
    // SAFETY: the kernel keeps all registers but these.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

fn print(text: &[u8]) -> u64 {
    call(WRITE, [1, text.as_ptr().addr() as u64, text.len() as u64])
}

fn exit(status: u64) -> ! {
    loop {
        call(EXIT, [status, 0, 0]);
    }
}

/// A zero-terminated text.
struct Text(*const u8);

impl Text {
    fn bytes(&self) -> &'static [u8] {
        let mut len = 0;
        // SAFETY: the kernel put a text with a zero behind it onto the stack.
        unsafe {
            while *self.0.add(len) != 0 {
                len += 1;
            }
            core::slice::from_raw_parts(self.0, len)
        }
    }
}

extern "C" fn start(stack: *const u64) -> ! {
    // SAFETY: the kernel put the number of arguments and their addresses there.
    let arguments = unsafe { core::slice::from_raw_parts(stack.add(1).cast::<Text>(), *stack as usize) };
    let part = arguments.get(1).map_or(&b""[..], Text::bytes);
    match part {
        b"greet" => {
            print(b"greetings from user mode, from ");
            print(arguments[0].bytes());
            print(b"\n");
            exit(7)
        }
        b"registers" => exit(u64::from(!registers_survive())),
        b"count" => count(),
        b"null" => read(8),
        b"kernel" => read(0xffff_ffff_8010_1000),
        b"hypervisor" => read(0xffff_8280_0000_0000),
        b"code" => write(start as *const () as u64),
        b"constant" => write(b"constant".as_ptr().addr() as u64),
        b"stack" => execute(stack.addr() as u64),
        // SAFETY: each of these traps.
        b"privileged" => unsafe { asm!("mov cr3, {}", in(reg) 0_u64) },
        // SAFETY: as above.
        b"undefined" => unsafe { asm!("ud2") },
        // SAFETY: as above.
        b"divide" => unsafe { asm!("xor edx, edx", "div edx", out("eax") _, out("edx") _) },
        // SAFETY: as above.
        b"interrupt" => unsafe { asm!("int 0x80") },
        b"deep" => exit(deep(1)),
        _ => exit(1),
    }
    exit(99)
}

/// Whether all registers are after a system call what they were before, those of SSE too.
fn registers_survive() -> bool {
    let (mut sum, vector): (u64, u64);
    // SAFETY: puts every register back that the compiler cannot give away.
    unsafe {
        asm!(
            "push rbx", "push rbp",
            "mov rbx, 0x1111", "mov rbp, 0x2222", "mov r12, 0x3333", "mov r13, 0x4444", "mov r14, 0x5555", "mov r15, 0x6666",
            "mov r8, 0x7777", "mov r9, 0x8888", "mov r10, 0x9999",
            "movq xmm5, r10",
            "mov eax, {getpid}",
            "syscall",
            "mov rax, rbx", "add rax, rbp", "add rax, r12", "add rax, r13", "add rax, r14", "add rax, r15",
            "add rax, r8", "add rax, r9", "add rax, r10",
            "movq rdx, xmm5",
            "pop rbp", "pop rbx",
            getpid = const GETPID,
            out("rax") sum, out("rdx") vector, out("rcx") _, out("r11") _, out("r8") _, out("r9") _, out("r10") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _, out("rdi") _, out("rsi") _,
        );
    }
    sum -= 0x1111 * 45;
    sum == 0 && vector == 0x9999
}

/// Works for a while, then says how often the kernel counted meanwhile (its number of the process, here).
fn count() -> ! {
    let first = call(GETPID, [0; 3]);
    loop {
        for _ in 0..100_000 {
            core::hint::spin_loop();
        }
        if call(GETPID, [0; 3]) >= first + 3 {
            exit(0);
        }
    }
}

fn read(address: u64) {
    // SAFETY: traps, or reads what nobody uses.
    unsafe { asm!("mov {}, [{}]", out(reg) _, in(reg) address) };
}

fn write(address: u64) {
    // SAFETY: traps.
    unsafe { asm!("mov byte ptr [{}], 0", in(reg) address) };
}

fn execute(address: u64) {
    // SAFETY: traps.
    unsafe { asm!("jmp {}", in(reg) address) };
}

/// Needs more and more of the stack.
#[inline(never)]
fn deep(level: u64) -> u64 {
    let mut room = [level; 512];
    if core::hint::black_box(&mut room)[0] == 0 {
        return 0;
    }
    let below = deep(level + 1);
    below.wrapping_add(room[level as usize % 512])
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}
