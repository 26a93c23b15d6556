//! Replays the corpora, and a few inputs that are made up, on every target.

use fuzz::{TARGETS, corpus};
use fuzz_grammar::{Arg, Field, Source, Xorshift, table};
use xen_lite_core::hypercall::coverage;

/// Inputs that are made up for each target.
const MADE_UP: u64 = 12;

#[test]
fn corpora_pass() {
    for target in TARGETS {
        for (name, input) in corpus::read(target).expect("the corpus is readable") {
            println!("{}/{name}", target.name);
            (target.run)(&input);
        }
    }
}

#[test]
fn made_up_inputs_pass() {
    for target in TARGETS {
        for seed in 0..MADE_UP {
            let mut source = Xorshift::new(seed);
            let length = source.below(target.longest as u64 + 1);
            let input: Vec<u8> = (0..length).map(|_| source.byte()).collect();
            println!("{} seed {seed}", target.name);
            (target.run)(&input);
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(folder).expect("there are corpora") {
        let name = entry.expect("readable").file_name();
        assert!(fuzz::target(&name.to_string_lossy()).is_some(), "{name:?} belongs to no target");
    }
}

/// Hypercalls that are not implemented; their rows make commands by number, without a list.
const BY_NUMBER: [u64; 9] = [27, 28, 31, 34, 37, 39, 40, 41, 42];

#[test]
fn the_grammar_has_every_sub_operation_of_the_headers() {
    for hypercall in (0..64).filter(|number| !BY_NUMBER.contains(number)) {
        let rows: Vec<_> = table::rows().iter().filter(|row| row.number == hypercall).collect();
        if abi::xen::hypercall::name(hypercall).is_some() && hypercall < 48 {
            assert!(!rows.is_empty(), "no row for hypercall {hypercall}");
        }
        // Machine checks are refused as a whole.
        for (command, name) in coverage::ops(hypercall).iter().filter(|_| hypercall != 48) {
            let made = rows.iter().any(|row| row.commands.contains(command));
            assert!(made, "no row makes {name}");
        }
    }
}

#[test]
fn commands_of_a_row_are_the_ones_that_it_makes() {
    for row in table::rows() {
        let lists = row.args.iter().filter_map(|arg| match arg {
            Arg::Of(Field::OneOf(list)) => Some(*list),
            _ => None,
        });
        let inside = row.data.iter().filter_map(|field| match field {
            Field::OneOf(list) => Some(*list),
            _ => None,
        });
        for list in lists.chain(inside).filter(|_| row.number != 16 && row.number != 19) {
            assert_eq!(list, row.commands, "hypercall {}", row.number);
        }
    }
}
