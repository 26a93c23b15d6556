//! Which values XCR0 may take (SDM vol. 1, 13.3).

/// x87 state, always on.
pub const X87: u64 = 1 << 0;
/// SSE state.
pub const SSE: u64 = 1 << 1;
/// Upper halves of YMM.
pub const AVX: u64 = 1 << 2;
/// The three parts of AVX-512.
pub const AVX512: u64 = 0b111 << 5;

/// The components that guests may enable on a machine with this CPUID: those above, as far as it has them; 0 without XSAVE.
/// The image saves and restores the same.
pub fn supported(mut host: impl FnMut(u32, u32) -> [u32; 4]) -> u64 {
    const XSAVE: u32 = 1 << 26;
    if host(0, 0)[0] < 0xd || host(1, 0)[2] & XSAVE == 0 {
        return 0;
    }
    let [low, _, _, high] = host(0xd, 0);
    (u64::from(high) << 32 | u64::from(low)) & (AVX | AVX512) | X87 | SSE
}

/// Whether a guest that may enable `supported` may load `value`.
#[must_use]
pub fn valid(value: u64, supported: u64) -> bool {
    let avx512 = value & AVX512;
    value & !supported == 0
        && value & X87 != 0
        && (value & AVX == 0 || value & SSE != 0)
        && (avx512 == 0 || (avx512 == AVX512 && value & AVX != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations() {
        let all = X87 | SSE | AVX | AVX512;
        for (value, expected) in [
            (X87, true),
            (X87 | SSE, true),
            (X87 | SSE | AVX, true),
            (all, true),
            (0, false),
            (SSE, false),
            (X87 | AVX, false),
            (X87 | SSE | AVX512, false),
            (X87 | SSE | AVX | 1 << 5, false),
            (all | 1 << 9, false),
        ] {
            assert_eq!(valid(value, all), expected, "{value:#x}");
        }
        assert!(!valid(X87 | SSE | AVX, X87 | SSE));
    }
}
