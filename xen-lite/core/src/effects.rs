//! What an operation causes beyond its result, as a value.
//!
//! Operations run with locks held and must not flush, interrupt or switch. They say what is to be done; the image does it
//! once, after all locks are released and before the guest runs again. Effects of several operations combine with
//! [`Effects::and`].

bitflags::bitflags! {
    /// Things that the image does before it re-enters a guest.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Todo: u32 {
        /// Ask the scheduler: the caller blocked, yielded, ended, or something more urgent woke.
        const RESCHEDULE = 1 << 0;
        /// Load CR3 from the running vCPU's state (its mode or a base pointer changed).
        const LOAD_CR3 = 1 << 1;
        /// Drop the local translations, global ones excepted.
        const FLUSH_LOCAL = 1 << 2;
        /// Drop the local translations, global ones included.
        const FLUSH_LOCAL_GLOBAL = 1 << 3;
        /// Load FS, GS bases and selectors from the running vCPU's state.
        const LOAD_SEGMENTS = 1 << 4;
        /// Map the running vCPU's GDT and LDT frames again.
        const LOAD_DESCRIPTORS = 1 << 5;
        /// Load the debug registers from the running vCPU's state.
        const LOAD_DEBUG = 1 << 6;
        /// Bring CR0.TS in line with the running vCPU's state.
        const LOAD_TS = 1 << 7;
        /// The registers were replaced as a whole: the return value must not be stored in RAX.
        const REGS_REPLACED = 1 << 8;
        /// Load XCR0 from the running vCPU's state.
        const LOAD_XCR0 = 1 << 9;
        /// Load TSC_AUX from the running vCPU's state.
        const LOAD_TSC_AUX = 1 << 10;
        /// The `vcpu_info` of the running vCPU moved.
        const LOAD_INFO = 1 << 11;
    }
}

/// Consequences of an operation.
#[must_use = "effects must be combined or handed to the image"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Effects {
    /// What the calling CPU does.
    pub todo: Todo,
    /// CPUs to interrupt so that they look at their run queue (bit n is CPU n).
    pub kick: u64,
}

impl Effects {
    /// Nothing.
    pub const NONE: Effects = Effects { todo: Todo::empty(), kick: 0 };

    /// Just these things to do.
    pub const fn todo(todo: Todo) -> Effects {
        Effects { todo, kick: 0 }
    }
    /// Both.
    pub fn and(self, other: Effects) -> Effects {
        Effects { todo: self.todo | other.todo, kick: self.kick | other.kick }
    }
}

/// A hypercall's success: the value for RAX, and the consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Goes to RAX.
    pub value: i64,
    /// What the image does next.
    pub effects: Effects,
}

impl Done {
    /// Zero, no consequence.
    pub const OK: Done = Done { value: 0, effects: Effects::NONE };
    /// A value, no consequence.
    pub const fn value(value: i64) -> Done {
        Done { value, effects: Effects::NONE }
    }
    /// Zero, with consequences.
    pub const fn with(effects: Effects) -> Done {
        Done { value: 0, effects }
    }
}
