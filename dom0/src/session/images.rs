//! Saving and restoring guests.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Session, Waited};
use crate::hypervisor::Hypervisor;

/// Seconds that a guest may take to suspend itself.
const PATIENCE: u64 = 60;

impl<H: Hypervisor> Session<'_, H> {
    /// Asks a guest to suspend itself, waits until it has, and keeps it.
    pub(super) fn save(&mut self, domain: &str, file: &str) -> Result<String, String> {
        let dom = self.control.find(domain)?;
        if let Some(warning) = self.control.begin_save(dom, file)? {
            self.say(&format!("warning: {warning}"));
        }
        let mut failed = None;
        let waited = self.pump(PATIENCE, |session| match session.control.is_suspended(dom) {
            Ok(suspended) => suspended,
            Err(why) => {
                failed = Some(why);
                true
            }
        });
        let failed = failed.or_else(|| match waited {
            Waited::Done => None,
            Waited::TimedOut => Some(format!("{domain} did not suspend itself within {PATIENCE} s")),
            Waited::Cancelled => Some(super::run::CANCELLED.to_string()),
        });
        if let Some(why) = failed {
            self.control.cancel_save(dom);
            return Err(why);
        }
        let started = self.control.hv.now();
        let saved = self.control.finish_save(dom, file)?;
        let milliseconds = self.control.hv.now().saturating_sub(started) / 1_000_000;
        let (what, kib) = (saved.summary, saved.bytes >> 10);
        Ok(format!(
            "{domain} is saved as {file}: {} pages, {} of them zero and {} page tables, {} vCPU(s), {kib} KiB, {milliseconds} ms; \
             restore {file} lets it go on",
            what.pages, what.zero, what.tables, what.vcpus
        ))
    }

    /// Lets a saved guest go on.
    pub(super) fn restore(&mut self, file: &str) -> Result<String, String> {
        let created = self.control.restore(file)?;
        for warning in &created.warnings {
            self.say(&format!("warning: {warning}"));
        }
        Ok(format!("{} goes on as domain {}; console {} attaches", created.name, created.dom, created.name))
    }
}
