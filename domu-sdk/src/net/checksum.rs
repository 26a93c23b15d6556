//! TCP and UDP checksums that are left to others.
//!
//! A frame that stays on the machine needs none: the sender writes the sum of the pseudo-header only and says that the rest is
//! blank ([`leave_blank`]); whoever sends it on to a wire fills it in. A frame that came from a wire is checked once, here ([`is_right`]).
//! What is not TCP or UDP over IPv4, or not a whole datagram, has no such checksum as far as this module knows.

const HEADER: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Start and end of the segment, place of its checksum, sum over the pseudo-header.
fn segment(frame: &[u8]) -> Option<(usize, usize, usize, u32)> {
    let word = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let first = *frame.get(HEADER)?;
    // IPv4, and neither more fragments nor a later one.
    let plain = word(12)? == 0x0800 && first >> 4 == 4 && word(HEADER + 6)? & 0x3fff == 0;
    let start = HEADER + usize::from(first & 15) * 4;
    let end = HEADER + usize::from(word(HEADER + 2)?);
    if !plain || start < HEADER + 20 || start > end || end > frame.len() {
        return None;
    }
    let protocol = frame[HEADER + 9];
    let (field, least) = match protocol {
        TCP => (start + 16, 20),
        UDP => (start + 6, 8),
        _ => return None,
    };
    let pseudo =
        u32::from(sum(&frame[HEADER + 12..HEADER + 20])) + u32::from(protocol) + (end - start) as u32;
    (end - start >= least).then_some((start, end, field, pseudo))
}

/// Sum of 16-bit words in one's complement, an odd byte counting as the first of its word.
fn sum(data: &[u8]) -> u16 {
    let words = data.chunks(2).map(|pair| match pair {
        [a, b] => u64::from(u16::from_be_bytes([*a, *b])),
        [a] => u64::from(*a) << 8,
        _ => 0,
    });
    fold(words.sum())
}

fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Writes the pseudo-header's sum where the checksum belongs. `false` if the frame has none to leave blank.
pub(super) fn leave_blank(frame: &mut [u8]) -> bool {
    let Some((_, _, field, pseudo)) = segment(frame) else { return false };
    frame[field..field + 2].copy_from_slice(&fold(pseudo.into()).to_be_bytes());
    true
}

/// Whether the checksum of a frame is right, or there is none.
pub(super) fn is_right(frame: &[u8]) -> bool {
    let Some((start, end, field, pseudo)) = segment(frame) else { return true };
    // A UDP datagram may be sent without one.
    let none = frame[HEADER + 9] == UDP && frame[field..field + 2] == [0, 0];
    none || fold(u64::from(pseudo) + u64::from(sum(&frame[start..end]))) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    fn datagram(protocol: u8, data: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; HEADER + 20];
        (frame[12], frame[HEADER], frame[HEADER + 9]) = (8, 0x45, protocol);
        frame[HEADER + 2..HEADER + 4].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
        frame[HEADER + 12..HEADER + 20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend_from_slice(data);
        frame
    }

    #[test]
    fn a_blank_sum_can_be_completed() {
        let mut frame = datagram(TCP, &[7; 31]);
        assert!(!is_right(&frame));
        assert!(leave_blank(&mut frame));
        let (start, end, field, _) = segment(&frame).expect("a segment");
        // Completing is summing everything, the blank field included.
        let whole = !sum(&frame[start..end]);
        frame[field..field + 2].copy_from_slice(&whole.to_be_bytes());
        assert!(is_right(&frame));
        frame[end - 1] ^= 1;
        assert!(!is_right(&frame));
    }

    #[test]
    fn others_are_left_alone() {
        let mut echo = datagram(1, &[1; 30]);
        assert!(!leave_blank(&mut echo) && is_right(&echo));
        let mut cut = datagram(UDP, &[1; 30]);
        cut.pop();
        assert!(!leave_blank(&mut cut) && is_right(&cut));
        assert!(is_right(&datagram(UDP, &[0; 8])));
        for len in 0..40 {
            assert!(!leave_blank(&mut datagram(TCP, &[1; 30])[..len]));
        }
    }
}
