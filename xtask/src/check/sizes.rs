//! Says which source files have grown long. This is advice, not a gate.

use super::layering::rust_files;
use crate::paths::Paths;
use crate::say;
use anyhow::{Context, Result};

/// Lines without tests above which a file is mentioned.
const LONG: usize = 400;

/// Prints the long files.
///
/// # Errors
/// If a source cannot be read.
pub fn report(paths: &Paths) -> Result<()> {
    let mut long = Vec::new();
    for file in rust_files(&paths.root)? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let lines = lines_without_tests(&text);
        let is_test = file.file_name().is_some_and(|name| name == "tests.rs");
        if lines > LONG && !is_test {
            long.push((lines, paths.shown(&file)));
        }
    }
    long.sort_unstable_by(|a, b| b.cmp(a));
    for (lines, file) in long {
        say::note(&format!("{file} has {lines} lines without its tests, more than {LONG}"));
    }
    Ok(())
}

/// Lines up to the test module, which by custom is the last item.
fn lines_without_tests(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_not_counted() {
        assert_eq!(lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
    }
}
