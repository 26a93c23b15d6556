//! Programs in user mode: an ELF file in an address space of its own, with system calls answered by a closure.
//!
//! A [`Process`] is a value. [`Process::run`] lets it go on until it ends; whatever it does meanwhile comes back as a value too: a
//! system call goes to the closure, and a fault ends `run` with a [`Fault`]. Nothing that a program does can harm the kernel: its page
//! tables map nothing of the kernel's, its flags and segments are set anew each time it goes on.
//!
//! ```ignore
//! let mut process = Process::load(elf)?;
//! let end = process.run(|call| match call.number {
//!     1 => Answer::Return(print(call)),
//!     60 => Answer::Exit(call.arguments[0] as i32),
//!     _ => Answer::Return(-38_i64 as u64),
//! });
//! ```
//!
//! # States
//! ```text
//!             load               resume                  an event
//!   ELF file -------> stopped ------------> in user mode ----------+
//!                        ^                      |                   |
//!                        +--------- Stop -------+<------------------+
//! ```
//! A process that faulted is stopped like any other: whoever mends the cause (maps the page) may run it again, and it repeats the
//! instruction. There are no threads: a process runs on one vCPU at a time, as `&mut` says. It may be moved between vCPUs.
//!
//! An event for the kernel interrupts user mode: [`Process::run`] handles it and goes on. [`Process::run_async`] lets other tasks
//! run then, so a program that loops for ever costs them nothing but time.

mod program;
#[cfg(test)]
mod tests;

pub use program::LoadError;

use crate::{
    arch, events, executor,
    memory::space::{AddressSpace, SpaceError},
    sync::EventsMasked,
    traps,
};
use alloc::vec::Vec;
use core::fmt;

/// A system call: SYSCALL with the number in `rax` and arguments in `rdi rsi rdx r10 r8 r9`.
#[derive(Debug)]
pub struct Call<'a> {
    /// The number.
    pub number: u64,
    /// The arguments.
    pub arguments: [u64; 6],
    /// The program's memory.
    pub memory: &'a mut AddressSpace,
    fs_base: &'a mut u64,
    gs_base: &'a mut u64,
}

impl Call<'_> {
    /// Copies `len` bytes of the program's memory.
    ///
    /// # Errors
    /// [`SpaceError::Fault`] if the program cannot read them either; [`SpaceError::NoMemory`] if there is no room for the copy.
    pub fn bytes(&self, address: u64, len: u64) -> Result<Vec<u8>, SpaceError> {
        let len = usize::try_from(len).map_err(|_| SpaceError::Fault(address))?;
        let most = self.memory.pages().saturating_mul(crate::memory::layout::PAGE_SIZE);
        if len > most {
            return Err(SpaceError::Fault(address));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| SpaceError::NoMemory)?;
        bytes.resize(len, 0);
        self.memory.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Sets where segment FS begins, in which programs keep the data of their thread.
    pub fn set_fs_base(&mut self, base: u64) {
        *self.fs_base = base;
    }

    /// Sets where segment GS begins.
    pub fn set_gs_base(&mut self, base: u64) {
        *self.gs_base = base;
    }
}

/// What is to follow a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The program goes on with this in `rax`.
    Return(u64),
    /// The program ends with this status.
    Exit(i32),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A system call was answered with [`Answer::Exit`].
    Exited(i32),
    /// It did what it must not.
    Faulted(Fault),
}

/// An exception in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The vector, such as 14 for a page fault.
    pub vector: u8,
    /// The error code, 0 where the vector has none.
    pub error_code: u64,
    /// The address of the instruction.
    pub instruction: u64,
    /// The address that a page fault is about; 0 for other vectors.
    pub address: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", traps::name(u64::from(self.vector)), self.instruction)?;
        if self.vector == abi::trap::PAGE_FAULT {
            let kind = if self.error_code & 0x10 != 0 {
                "executing"
            } else if self.error_code & 2 != 0 {
                "writing"
            } else {
                "reading"
            };
            write!(f, ", {kind} {:#x}", self.address)?;
        }
        Ok(())
    }
}

/// Why a program stopped for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A system call.
    Call,
    /// An exception.
    Fault(Fault),
    /// An event for the kernel came, or had come since the last stop. It has been handled; the program can go on.
    Event,
}

/// A program with its memory and registers.
#[derive(Debug)]
pub struct Process {
    memory: AddressSpace,
    context: arch::UserContext,
    /// Events that its runner knows of; see [`Process::resume`].
    upcalls: u64,
}

impl Process {
    /// Loads a static ELF file, without arguments.
    ///
    /// # Errors
    /// If the file cannot be loaded; see [`LoadError`].
    pub fn load(elf: &[u8]) -> Result<Self, LoadError> {
        Self::load_with(elf, &[], &[])
    }

    /// Loads a static ELF file and gives it arguments (the first is by custom its own name) and an environment of `NAME=value`.
    ///
    /// # Errors
    /// If the file cannot be loaded; see [`LoadError`].
    pub fn load_with(elf: &[u8], arguments: &[&str], environment: &[&str]) -> Result<Self, LoadError> {
        let mut memory = AddressSpace::new()?;
        let (entry, stack) = program::load(&mut memory, elf, arguments, environment)?;
        Ok(Self { memory, context: arch::UserContext::new(entry, stack), upcalls: 0 })
    }

    /// Runs the program until it ends. Between its system calls events are handled, but no other task runs.
    pub fn run(&mut self, mut answer: impl FnMut(&mut Call<'_>) -> Answer) -> End {
        loop {
            let stop = self.resume();
            if let Some(end) = self.carry_on(stop, &mut answer) {
                return end;
            }
        }
    }

    /// Runs the program until it ends; other tasks run after each of its system calls, and whenever an event came.
    pub async fn run_async(&mut self, mut answer: impl FnMut(&mut Call<'_>) -> Answer) -> End {
        loop {
            let stop = self.resume();
            if let Some(end) = self.carry_on(stop, &mut answer) {
                return end;
            }
            executor::yield_now().await;
        }
    }

    fn carry_on(&mut self, stop: Stop, answer: &mut impl FnMut(&mut Call<'_>) -> Answer) -> Option<End> {
        match stop {
            Stop::Event => None,
            Stop::Fault(fault) => Some(End::Faulted(fault)),
            Stop::Call => match answer(&mut self.call()) {
                Answer::Exit(status) => Some(End::Exited(status)),
                Answer::Return(value) => {
                    self.answer(value);
                    None
                }
            },
        }
    }

    /// Lets the program go on until it stops for any reason. After [`Stop::Call`], look at [`Process::call`] and give the answer with
    /// [`Process::answer`].
    pub fn resume(&mut self) -> Stop {
        // An event may have come since the last stop, for a task that has not run yet; none other may come to end this one's turn. So
        // with events masked it is made sure that there was none. Entering user mode unmasks them in one step.
        let masked = EventsMasked::new();
        let upcalls = core::mem::replace(&mut self.upcalls, events::upcalls());
        if upcalls != self.upcalls {
            return Stop::Event;
        }
        let entered = arch::enter_user(&mut self.context, self.memory.root());
        drop(masked);
        arch::forget_user_root();
        if let Err(errno) = entered {
            log::error!("the hypervisor refuses to enter user mode: {errno}");
            return Stop::Fault(Fault {
                vector: abi::trap::GP_FAULT,
                error_code: 0,
                instruction: 0,
                address: 0,
            });
        }
        let registers = &self.context.registers;
        match registers.vector {
            arch::SYSCALL_VECTOR => Stop::Call,
            arch::EVENT_VECTOR => Stop::Event,
            vector => {
                let vector = u8::try_from(vector).unwrap_or(abi::trap::GP_FAULT);
                let address = if vector == abi::trap::PAGE_FAULT { self.context.fault_address } else { 0 };
                Stop::Fault(Fault {
                    vector,
                    error_code: registers.error_code,
                    instruction: registers.rip,
                    address,
                })
            }
        }
    }

    /// The system call that the program waits in, after [`Stop::Call`].
    pub fn call(&mut self) -> Call<'_> {
        let registers = &self.context.registers;
        Call {
            number: registers.rax,
            arguments: [
                registers.rdi,
                registers.rsi,
                registers.rdx,
                registers.r10,
                registers.r8,
                registers.r9,
            ],
            memory: &mut self.memory,
            fs_base: &mut self.context.fs_base,
            gs_base: &mut self.context.gs_base,
        }
    }

    /// What the system call returns when the program goes on.
    pub fn answer(&mut self, value: u64) {
        self.context.registers.rax = value;
    }

    /// The program's memory.
    pub fn memory(&mut self) -> &mut AddressSpace {
        &mut self.memory
    }

    /// The program's registers as they were when it stopped. What is changed in them is what it goes on with.
    pub fn registers(&mut self) -> &mut traps::Frame {
        &mut self.context.registers
    }
}
