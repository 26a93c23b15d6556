//! The two bit orders of CRC-32 with polynomial 0x04c11db7: gzip reflects, bzip2 does not.

const REFLECTED: [u32; 256] = table(true);
const STRAIGHT: [u32; 256] = table(false);

const fn table(reflected: bool) -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = if reflected { i as u32 } else { (i as u32) << 24 };
        let mut bit = 0;
        while bit < 8 {
            crc = match (reflected, if reflected { crc & 1 } else { crc >> 31 }) {
                (true, 0) => crc >> 1,
                (true, _) => (crc >> 1) ^ 0xedb8_8320,
                (false, 0) => crc << 1,
                (false, _) => (crc << 1) ^ 0x04c1_1db7,
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

/// CRC-32 of gzip.
pub(super) fn gzip(data: &[u8]) -> u32 {
    !data
        .iter()
        .fold(u32::MAX, |crc, byte| (crc >> 8) ^ REFLECTED[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

/// CRC-32 of a bzip2 block.
pub(super) fn bzip2(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| (crc << 8) ^ STRAIGHT[((crc >> 24) ^ u32::from(*byte)) as usize])
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_values() {
        assert_eq!(super::gzip(b"123456789"), 0xcbf4_3926);
        assert_eq!(super::bzip2(b"123456789"), 0xfc89_1918);
    }
}
