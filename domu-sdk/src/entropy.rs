//! Random bytes from the processor.
//!
//! A PV guest may execute RDSEED and RDRAND itself; the hypervisor is not asked. Where the processor has neither there is no good
//! source, and [`fill`] says so: what it gives then differs from start to start, but an attacker may guess it.
//!
//! The crate `getrandom`, which most libraries use, reaches RDRAND by itself on this target: put
//! `--cfg getrandom_backend="rdrand"` into `rustflags` of the guest's `.cargo/config.toml` (version 0.3), or turn its feature `rdrand`
//! on (version 0.2).

use crate::{arch, sync::MaskedMutex};

/// How good random bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// From the processor's generator: fit for keys.
    Hardware,
    /// Mixed from clocks: fit for hash tables, not for keys.
    Guess,
}

/// What is mixed from where there is no generator.
static STATE: MaskedMutex<u64> = MaskedMutex::new(0);

/// Fills `out` with random bytes, and says how good they are.
pub fn fill(out: &mut [u8]) -> Quality {
    let mut quality = Quality::Hardware;
    for chunk in out.chunks_mut(8) {
        let word = arch::random_word().unwrap_or_else(|| {
            quality = Quality::Guess;
            guess()
        });
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    quality
}

/// The next word of a sequence that begins, and goes on, with what the clocks show.
fn guess() -> u64 {
    let mut state = STATE.lock();
    let clocks = arch::time_stamp() ^ crate::time::Instant::now().nanoseconds().rotate_left(32);
    *state = mixed(*state ^ clocks);
    *state
}

/// Each bit of the result depends on each bit of the word (the end of the generator "SplitMix64").
const fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_tests_has_no_generator_and_says_so() {
        let mut bytes = [0; 20];
        assert_eq!(fill(&mut bytes), Quality::Guess);
        assert_ne!(bytes[..8], bytes[8..16]);
    }

    #[test]
    fn mixing_spreads_a_single_bit() {
        let changed = (mixed(1) ^ mixed(0)).count_ones();
        assert!((16..=48).contains(&changed), "{changed} bits changed");
    }
}
