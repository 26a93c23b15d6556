//! Measures one operation after the other and prints a line for each.
//!
//! `BENCH hot 250 null hypercall`: an operation of the hot paths takes 250 units of the time-stamp counter. Under QEMU's
//! `-icount shift=0` a unit is an instruction. `BENCH failed 2 NAME`: the operation did not do what it should.

use super::machine::{SAMPLES, now};
use domu_sdk::{println, start};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    name: &'static str,
    hot: bool,
    each: u64,
}

/// An operation that kernels do all the time.
pub const fn hot(name: &'static str) -> Row {
    Row { name, hot: true, each: 1 }
}

/// Any other operation.
pub const fn cold(name: &'static str) -> Row {
    Row { name, hot: false, each: 1 }
}

impl Row {
    /// The operation does so many of its kind; the figure is for one of them.
    pub const fn each(self, count: u64) -> Self {
        Self { each: count, ..self }
    }

    /// Measures. `prepare` is not counted; `operation` returns 0 if it did its work.
    #[inline(always)]
    pub fn measure(self, mut prepare: impl FnMut(u64), mut operation: impl FnMut(u64) -> i64) {
        if !self.is_wanted() {
            return;
        }
        let mut times = [0; SAMPLES];
        let mut wrong = 0;
        for (i, time) in times.iter_mut().enumerate() {
            prepare(i as u64);
            let start = now();
            let result = operation(i as u64);
            *time = now() - start;
            wrong += u64::from(result != 0);
        }
        self.report(times, wrong);
    }

    /// Whether the command line asks for it: `only=WORD,WORD` names parts of names, for profiling.
    pub fn is_wanted(self) -> bool {
        start::parameter("only").is_none_or(|words| words.split(',').any(|word| self.name.contains(word)))
    }

    /// Prints the line of times that were measured elsewhere.
    pub fn report(self, mut times: [u64; SAMPLES], wrong: u64) {
        times.sort_unstable();
        if wrong != 0 {
            println!("BENCH failed {wrong} {}", self.name);
            return;
        }
        let kind = if self.hot { "hot" } else { "cold" };
        println!("BENCH {kind} {} {}", times[SAMPLES / 2] / self.each, self.name);
    }
}

/// Says that an operation could not be tried.
pub fn failed(name: &str, error: i64) {
    println!("BENCH failed {error} {name}");
}
