//! `top`: who uses the CPUs, looked at again and again.

use alloc::string::ToString;

use super::run::{CANCELLED, Outcome};
use super::{Session, Waited};
use crate::control::detail::Look;
use crate::hypervisor::Hypervisor;

/// To the upper left corner, and clears what is below.
const AFRESH: &str = "\x1b[H\x1b[J";

impl<H: Hypervisor> Session<'_, H> {
    /// Shows the table `count` times, `seconds` apart; without a count, in place until a key is typed.
    pub(super) fn top(&mut self, count: Option<u32>, seconds: u64) -> Outcome {
        let mut look = Look::default();
        let mut shown = 0;
        loop {
            if let Some(table) = self.control.top(&mut look)? {
                if count.is_none() {
                    self.show(AFRESH);
                }
                self.say(&table);
                shown += 1;
            }
            if count == Some(shown) {
                return Ok(());
            }
            let until_key = count.is_none();
            match self.pump(seconds, |session| until_key && !session.typed.is_empty()) {
                Waited::TimedOut => {}
                Waited::Done => {
                    self.typed.clear();
                    return Ok(());
                }
                Waited::Cancelled => return Err(CANCELLED.to_string()),
            }
        }
    }
}
