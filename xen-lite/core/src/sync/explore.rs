//! Tries all interleavings of a few threads, up to a number of preemptions.
//!
//! The threads are real, but only one runs at a time. At each [`point`] (before an access to an atomic, a lock or a word of the
//! machine's memory) the next to run is chosen; a schedule is the list of these choices. The first run preempts nobody; then the
//! last choice that has an alternative is changed, and all is run again, until there is none left: a search in depth. A thread
//! that waits for a lock gives way without that being a preemption. Errors in concurrent code need few preemptions, mostly one or
//! two, so the bound loses little.
//!
//! What is explored is sequentially consistent: one order of all accesses. It is what the protocols rely on (`SeqCst`, or read-modify-write
//! of one word); Miri looks at weaker orders.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::cell::RefCell;
use std::sync::{Condvar, Mutex};
use std::thread;

use crate::effort::effort;
use crate::world::World;

std::thread_local! {
    static HERE: RefCell<Option<(Arc<Shared>, usize)>> = const { RefCell::new(None) };
}

/// Points that one run may have.
const LONGEST: usize = 20_000;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Threads that have not ended.
    alive: Vec<bool>,
    /// Threads that wait for a lock since another last did something.
    waiting: Vec<bool>,
    /// Choices to be repeated: places in the lists of threads that could go on.
    script: Vec<usize>,
    /// Choices made so far: which one of how many.
    made: Vec<(usize, usize)>,
    preemptions: usize,
    bound: usize,
    failed: bool,
}

impl State {
    /// Chooses who goes on after `me`, who may go on itself or not.
    fn choose(&mut self, me: usize, can_stay: bool) {
        let others: Vec<usize> =
            (0..self.alive.len()).filter(|&id| id != me && self.alive[id] && !self.waiting[id]).collect();
        let mut options = Vec::new();
        if can_stay {
            options.push(me);
        }
        if !can_stay || self.preemptions < self.bound {
            options.extend(&others);
        }
        if options.is_empty() {
            // All wait: let each try again; one of them holds what the others want.
            options = (0..self.alive.len()).filter(|&id| self.alive[id]).collect();
            self.waiting.fill(false);
            if options.is_empty() {
                return;
            }
        }
        let place = self.script.get(self.made.len()).copied().unwrap_or(0);
        assert!(place < options.len(), "the same schedule gave other choices");
        let next = options[place];
        self.preemptions += usize::from(can_stay && next != me);
        self.made.push((place, options.len()));
        self.running = next;
    }
}

impl Shared {
    fn step(&self, me: usize, waits: bool) {
        let mut state = self.state.lock().unwrap();
        if state.failed {
            return;
        }
        if state.made.len() > LONGEST {
            state.failed = true;
            self.changed.notify_all();
            drop(state);
            panic!("the threads do not end");
        }
        if waits {
            state.waiting[me] = true;
        } else {
            state.waiting.fill(false);
        }
        state.choose(me, !waits);
        if state.running == me {
            return;
        }
        self.changed.notify_all();
        while state.running != me && !state.failed {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn end(&self, me: usize, failed: bool) {
        let mut state = self.state.lock().unwrap();
        state.alive[me] = false;
        state.failed |= failed;
        state.waiting.fill(false);
        if !state.failed {
            state.choose(me, false);
        }
        self.changed.notify_all();
    }
}

/// Another thread may go first here.
pub(crate) fn point() {
    // While a thread ends, its locals may be gone.
    let _ = HERE.try_with(|here| {
        if let Ok(here) = here.try_borrow()
            && let Some((shared, me)) = here.as_ref()
        {
            shared.step(*me, false);
        }
    });
}

/// What a lock does while it is taken.
#[derive(Debug)]
pub struct Waiting;

impl spin::RelaxStrategy for Waiting {
    fn relax() {
        let explored = HERE.with(|here| match here.borrow().as_ref() {
            Some((shared, me)) => {
                shared.step(*me, true);
                true
            }
            None => false,
        });
        if !explored {
            core::hint::spin_loop();
        }
    }
}

struct Ends(Arc<Shared>, usize);

impl Drop for Ends {
    fn drop(&mut self) {
        HERE.with(|here| here.borrow_mut().take());
        self.0.end(self.1, thread::panicking());
    }
}

/// A thread of an exploration; it is the CPU of its place in the list.
pub(crate) type Thread<'a, S> = &'a (dyn Fn(&S) + Sync);

/// More preemptions than the tests ask for, for a machine with time.
const MORE: &str = "XEN_LITE_PREEMPTIONS";

/// Runs `threads` on a new state of `make` in every interleaving with at most `bound` preemptions (and as many more as the
/// environment's `XEN_LITE_PREEMPTIONS` says), and `check` after each. Returns how many there were.
/// Under Miri there are only the first few.
pub(crate) fn explore<S: Sync>(
    bound: usize,
    make: impl Fn() -> S,
    threads: &[Thread<'_, S>],
    check: impl Fn(&S),
) -> usize {
    explore_first(effort(usize::MAX, 4), bound, make, threads, check)
}

/// As [`explore`], no more than the first `most` interleavings.
fn explore_first<S: Sync>(
    most: usize,
    bound: usize,
    make: impl Fn() -> S,
    threads: &[Thread<'_, S>],
    check: impl Fn(&S),
) -> usize {
    let more = std::env::var(MORE).ok().and_then(|text| text.parse().ok());
    let bound = bound + more.unwrap_or(0);
    let mut script = Vec::new();
    for runs in 1.. {
        let state = make();
        let made = run(bound, script, &state, threads);
        check(&state);
        match next_script(made) {
            Some(next) if runs < most => script = next,
            _ => return runs,
        }
    }
    unreachable!("there are finitely many schedules")
}

fn run<S: Sync>(
    bound: usize,
    script: Vec<usize>,
    state: &S,
    threads: &[Thread<'_, S>],
) -> Vec<(usize, usize)> {
    let count = threads.len();
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            alive: alloc::vec![true; count],
            waiting: alloc::vec![false; count],
            script,
            bound,
            ..State::default()
        }),
        changed: Condvar::new(),
    });
    // Nobody runs yet; who begins is the first choice.
    shared.state.lock().unwrap().choose(usize::MAX, false);
    thread::scope(|scope| {
        for (id, body) in threads.iter().enumerate() {
            let shared = shared.clone();
            scope.spawn(move || {
                World::be_cpu(id as u32);
                let ends = Ends(shared.clone(), id);
                let mut now = shared.state.lock().unwrap();
                while now.running != id && !now.failed {
                    now = shared.changed.wait(now).unwrap();
                }
                drop(now);
                HERE.with(|here| *here.borrow_mut() = Some((shared.clone(), id)));
                body(state);
                drop(ends);
            });
        }
    });
    core::mem::take(&mut shared.state.lock().unwrap().made)
}

/// The schedule after this one: the last choice that has another alternative takes it.
fn next_script(mut made: Vec<(usize, usize)>) -> Option<Vec<usize>> {
    while let Some((place, of)) = made.pop() {
        if place + 1 < of {
            let before = made.iter().map(|choice| choice.0);
            return Some(before.chain([place + 1]).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;
    use crate::sync::atomic::{AtomicU32, Ordering};
    use std::collections::BTreeSet;
    use std::sync::Mutex as Plain;

    /// Two threads that add without a lock: some interleavings lose one, and it takes one preemption to see that.
    #[test]
    fn a_lost_update_is_found() {
        let add = |count: &AtomicU32| {
            let before = count.load(Ordering::SeqCst);
            count.store(before + 1, Ordering::SeqCst);
        };
        let seen = |bound| {
            let ends = Plain::new(BTreeSet::new());
            let runs = explore_first(
                usize::MAX,
                bound,
                || AtomicU32::new(0),
                &[&add, &add],
                |count| {
                    ends.lock().unwrap().insert(count.load(Ordering::SeqCst));
                },
            );
            (runs, ends.into_inner().unwrap())
        };
        assert_eq!(seen(0).1, [2].into());
        let (runs, ends) = seen(1);
        assert!(runs > 2, "{runs}");
        assert_eq!(ends, [1, 2].into());
    }

    #[test]
    fn locks_are_waited_for() {
        let add = |count: &Mutex<u32>| *count.lock() += 1;
        let adds: [Thread<'_, _>; 3] = [&add, &add, &add];
        let bound = effort(3, 0);
        let runs =
            explore_first(usize::MAX, bound, || Mutex::new(0), &adds, |count| assert_eq!(*count.lock(), 3));
        assert!(runs >= 6, "{runs}");
    }
}
