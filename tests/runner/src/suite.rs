//! Runs many cases side by side and reports.

use crate::artifacts::Artifacts;
use crate::case::{Case, Hypervisor};
use crate::judge::{self, Verdict};
use anyhow::{Context, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How to run the suite.
#[derive(Clone, Debug)]
pub struct Options {
    /// Run only what has one of these texts in its run name; empty: everything.
    pub filters: Vec<String>,
    /// Number of machines at a time.
    pub jobs: usize,
    /// Factor on every time limit, for slow machines.
    pub slow: u32,
}

/// How many runs passed and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: usize,
    /// Failed, or not carried out.
    pub failed: usize,
}

impl Tally {
    /// Counts `other` in.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// One run: a case on one hypervisor.
pub type Run<'c> = (&'c Case, Hypervisor);

/// The runs that `options` select, in order.
pub fn select<'c>(cases: &'c [Case], options: &Options) -> Vec<Run<'c>> {
    let all = cases.iter().flat_map(|case| case.on.iter().map(move |&hypervisor| (case, hypervisor)));
    let wanted = |run: &Run<'_>| {
        let name = run.0.run_name(run.1);
        options.filters.is_empty() || options.filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    all.filter(wanted).collect()
}

/// Carries out the selected runs, prints a line for each and the log of each that failed.
///
/// # Errors
/// If the folder of the logs cannot be made.
pub fn run(cases: &[Case], files: &Artifacts, options: &Options) -> Result<Tally> {
    std::fs::create_dir_all(files.logs()).with_context(|| format!("creating {}", files.logs().display()))?;
    let runs = select(cases, options);
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while let Some(&(case, hypervisor)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let verdict = judge::run(case, hypervisor, files, options.slow);
                    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    report(&case.run_name(hypervisor), &verdict, started, files, &mut tally);
                }
            });
        }
    });
    Ok(tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Prints the outcome of one run; the caller holds the tally's lock, so reports do not mix.
fn report(name: &str, verdict: &Verdict, started: Instant, files: &Artifacts, tally: &mut Tally) {
    let seconds = started.elapsed().as_secs_f32();
    let (word, reason) = match verdict {
        Verdict::Passed => {
            tally.passed += 1;
            println!("ok     {name} ({seconds:.1} s)");
            return;
        }
        Verdict::Failed(reason) => ("FAILED", reason),
        Verdict::Error(reason) => ("ERROR ", reason),
    };
    tally.failed += 1;
    println!("{word} {name} ({seconds:.1} s): {reason}");
    print_log(name, files);
    // What was booted after the case has a log of its own, which is where it failed.
    if let Some((next, _)) = reason.split_once(": ").filter(|(next, _)| !next.contains(' ')) {
        let hypervisor = name.rsplit_once('@').map_or("", |(_, hypervisor)| hypervisor);
        print_log(&format!("{next}@{hypervisor}"), files);
    }
}

/// Lines of a log that are printed when its run failed; the whole stays in the file.
const PRINTED_LINES: usize = 120;

fn print_log(name: &str, files: &Artifacts) {
    let path = files.log(name);
    let Ok(bytes) = std::fs::read(&path) else { return };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let left_out = lines.len().saturating_sub(PRINTED_LINES);
    println!("---- log of {name} ({}), {left_out} earlier lines left out", path.display());
    for line in &lines[left_out..] {
        println!(
            "| {}",
            line.trim_end().escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
        );
    }
    println!("---- end of the log of {name}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_the_name_with_the_hypervisor() {
        let cases = [Case::new("a", "k"), Case::new("b", "k")];
        let options = Options { filters: vec!["a@up".into()], jobs: 1, slow: 1 };
        let runs = select(&cases, &options);
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].1, Hypervisor::Upstream);
    }
}
