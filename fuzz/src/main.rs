//! Runs fuzz targets without any tool: seeded inputs, made from the corpus by mutation or from nothing.
//!
//! ```text
//! cargo run -p fuzz --profile fuzz -- TARGET [--seconds N] [--runs N] [--seed N]
//! cargo run -p fuzz --profile fuzz -- TARGET FILE...
//! cargo run -p fuzz --profile fuzz -- --list
//! ```
//!
//! An input that panics is written to `fuzz/artifacts/TARGET-HASH`; give that file as argument to see the panic again. The inputs
//! depend on nothing but seed and corpus. There is no feedback from coverage: targets take structured inputs, so blind ones
//! reach deep.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fuzz::{TARGETS, Target, corpus, target};
use fuzz_grammar::{Source, Xorshift};

/// What runs now, for the panic hook.
static NOW: Mutex<Option<(&'static str, Vec<u8>)>> = Mutex::new(None);

struct Limits {
    seconds: u64,
    runs: u64,
    seed: u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut limits = Limits { seconds: 60, runs: u64::MAX, seed: 1 };
    let (mut chosen, mut files) = (None, Vec::new());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut number = || rest.next().and_then(|text| text.parse().ok());
        let taken = match arg.as_str() {
            "--list" => {
                TARGETS.iter().for_each(|target| println!("{}", target.name));
                return ExitCode::SUCCESS;
            }
            "--seconds" => number().map(|value| limits.seconds = value),
            "--runs" => number().map(|value| limits.runs = value),
            "--seed" => number().map(|value| limits.seed = value),
            name if chosen.is_none() => target(name).map(|found| chosen = Some(found)),
            file => {
                files.push(PathBuf::from(file));
                Some(())
            }
        };
        if taken.is_none() {
            eprintln!("`{arg}` is not understood; --list shows the targets");
            return ExitCode::FAILURE;
        }
    }
    let Some(target) = chosen else {
        eprintln!("which target? --list shows them");
        return ExitCode::FAILURE;
    };
    keep_what_panics();
    if files.is_empty() { search(target, &limits) } else { replay(target, &files) }
}

fn replay(target: &Target, files: &[PathBuf]) -> ExitCode {
    for file in files {
        match std::fs::read(file) {
            Ok(input) => (target.run)(&input),
            Err(error) => {
                eprintln!("reading {}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
        println!("{}: fine", file.display());
    }
    ExitCode::SUCCESS
}

fn search(target: &'static Target, limits: &Limits) -> ExitCode {
    let corpus: Vec<Vec<u8>> = match corpus::read(target) {
        Ok(all) => all.into_iter().map(|(_, input)| input).collect(),
        Err(error) => {
            eprintln!("reading the corpus: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (start, mut said, mut runs) = (Instant::now(), Instant::now(), 0_u64);
    while runs < limits.runs && start.elapsed().as_secs() < limits.seconds {
        // Each run has its own stream, so that any of them can be had without those before.
        let mut source = Xorshift::new(limits.seed.wrapping_mul(1 << 32).wrapping_add(runs));
        let input = make(target, &corpus, &mut source);
        if let Ok(mut now) = NOW.lock() {
            *now = Some((target.name, input.clone()));
        }
        (target.run)(&input);
        runs += 1;
        if said.elapsed() > Duration::from_secs(20) {
            said = Instant::now();
            println!("{}: {runs} executions in {} s", target.name, start.elapsed().as_secs());
        }
    }
    println!("{}: {runs} executions, seed {}, no failure", target.name, limits.seed);
    ExitCode::SUCCESS
}

fn make(target: &Target, corpus: &[Vec<u8>], source: &mut Xorshift) -> Vec<u8> {
    if corpus.is_empty() || source.below(3) != 0 {
        // Short ones are fast and most; each power of two has its share.
        let longest = target.longest as u64 >> source.below(7);
        let length = source.below(longest + 1);
        return (0..length).map(|_| source.byte()).collect();
    }
    let mut input = corpus[source.below(corpus.len() as u64) as usize].clone();
    for _ in 0..=source.below(6) {
        mutate(&mut input, corpus, source);
    }
    input.truncate(target.longest);
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], source: &mut Xorshift) {
    let at = source.below(input.len() as u64 + 1) as usize;
    match source.below(6) {
        0 => input.truncate(at),
        1 => input.insert(at, source.byte()),
        2 if at < input.len() => drop(input.remove(at)),
        3 if at < input.len() => input[at] ^= 1 << source.below(8),
        4 => {
            let other = &corpus[source.below(corpus.len() as u64) as usize];
            let from = source.below(other.len() as u64 + 1) as usize;
            input.truncate(at);
            input.extend(&other[from..]);
        }
        _ if at < input.len() => input[at] = source.byte(),
        _ => input.push(source.byte()),
    }
}

/// Writes the input of a panic to a file before the program ends.
fn keep_what_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        let Ok(now) = NOW.lock() else { return };
        let Some((name, input)) = now.as_ref() else { return };
        let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts");
        let file = folder.join(format!("{name}-{hash:016x}"));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
        match written {
            Ok(()) => eprintln!("the input is in {}", file.display()),
            Err(error) => eprintln!("writing {}: {error}", file.display()),
        }
    }));
}
