//! Numbers from guests that choose an element of a table.
//!
//! A bounds check is a branch, and a CPU guesses branches: behind one that was guessed wrong, an element far behind the
//! table may be loaded, and what it holds chooses the next address that is loaded, which the guest can time (Spectre variant 1).
//! So the number that is used has a data dependency on the comparison: it is the guest's number if that is in range, else 0. On
//! x86-64 this is CMP, SBB, AND. The intrinsics keep the compiler from concluding that the number is in range anyway, as a
//! plain comparison would not.

/// `number` if it is less than `count`, else 0, without a branch.
///
/// It does not replace the bounds check: it is for the number that is used behind it.
#[inline(always)]
#[must_use]
pub fn index(number: usize, count: usize) -> usize {
    number & mask(number as u64, count as u64) as usize
}

/// All ones if `number` is less than `count`, else 0.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask(number: u64, count: u64) -> u64 {
    use core::arch::x86_64::_subborrow_u64;
    let (mut difference, mut mask) = (0, 0);
    let below = _subborrow_u64(0, number, count, &mut difference);
    let _ = _subborrow_u64(below, 0, 0, &mut mask);
    mask
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn mask(number: u64, count: u64) -> u64 {
    u64::from(core::hint::black_box(number) < count).wrapping_neg()
}

/// As [`get`], to change the element.
#[inline(always)]
pub fn get_mut<T>(table: &mut [T], number: usize) -> Option<&mut T> {
    let count = table.len();
    if number < count { table.get_mut(index(number, count)) } else { None }
}

/// An element of a table by a guest's number; `None` past its end, and nothing behind the end even in speculation.
#[inline(always)]
pub fn get<T>(table: &[T], number: usize) -> Option<&T> {
    if number < table.len() { table.get(index(number, table.len())) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_range_stay_and_others_are_zero() {
        let edges = [0, 1, 2, 63, 64, 65, usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX - 1, usize::MAX];
        for count in edges {
            for number in edges {
                assert_eq!(
                    index(number, count),
                    if number < count { number } else { 0 },
                    "{number} of {count}"
                );
            }
        }
        assert_eq!(get(&[5, 6], 1), Some(&6));
        assert_eq!(get(&[5, 6], 2), None);
        assert_eq!(get::<u8>(&[], 0), None);
    }
}
