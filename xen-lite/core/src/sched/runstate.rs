//! How long a vCPU was in which state (`struct vcpu_runstate_info` of vcpu.h).

/// State of a vCPU; the numbers are `RUNSTATE_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// Runs on a CPU.
    Running = 0,
    /// Could run, but another does.
    Runnable = 1,
    /// Waits for an event.
    Blocked = 2,
    /// Held back otherwise: down, paused, shut down.
    #[default]
    Offline = 3,
}

/// The account. The times add up to the time since the vCPU was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Runstate {
    /// The present state.
    pub state: State,
    /// Since when, in nanoseconds since boot.
    pub since: u64,
    /// Nanoseconds spent in each [`State`], the present stay not included.
    pub times: [u64; 4],
}

impl Runstate {
    /// Enters a state.
    pub fn enter(&mut self, state: State, now: u64) {
        if self.since == 0 && self.times == [0; 4] {
            *self = Runstate { state, since: now, times: [0; 4] };
            return;
        }
        self.times[self.state as usize] += now.saturating_sub(self.since);
        self.state = state;
        self.since = now.max(self.since);
    }

    /// A copy in which the present stay is included.
    pub fn up_to(&self, now: u64) -> Runstate {
        let mut copy = *self;
        copy.times[self.state as usize] += now.saturating_sub(self.since);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up() {
        let mut account = Runstate::default();
        account.enter(State::Offline, 100);
        account.enter(State::Runnable, 150);
        account.enter(State::Running, 160);
        account.enter(State::Blocked, 200);
        assert_eq!(account.times, [40, 10, 0, 50]);
        assert_eq!(account.up_to(230).times, [40, 10, 30, 50]);
        assert_eq!(account.up_to(230).times.iter().sum::<u64>(), 130);
        assert_eq!(account.since, 200);
    }

    #[test]
    fn a_clock_that_lags_on_another_cpu_does_no_harm() {
        let mut account = Runstate::default();
        account.enter(State::Running, 100);
        account.enter(State::Runnable, 90);
        assert_eq!((account.since, account.times), (100, [0; 4]));
    }
}
