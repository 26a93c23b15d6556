//! The hypercall page: one 32-byte entry for each number, which a guest calls instead of knowing the instruction.

use abi::xen::hypercall::IRET;

use crate::addr::PAGE_SIZE;

/// Bytes of an entry.
const ENTRY: usize = 32;

/// The page's contents. An entry saves RCX and R11, which `syscall` overwrites; that of `iret` builds the lower end of
/// `struct iret_context` and does not come back.
pub fn contents() -> [u8; PAGE_SIZE] {
    let mut page = [0xcc; PAGE_SIZE];
    for (number, entry) in page.chunks_exact_mut(ENTRY).enumerate() {
        let [n0, n1, n2, n3] = (number as u32).to_le_bytes();
        if number as u64 == IRET {
            // push rcx; push r11; push rax; mov eax, number; syscall; (not reached) int3
            let code = [0x51, 0x41, 0x53, 0x50, 0xb8, n0, n1, n2, n3, 0x0f, 0x05];
            entry[..code.len()].copy_from_slice(&code);
        } else {
            // push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
            let code = [0x51, 0x41, 0x53, 0xb8, n0, n1, n2, n3, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
            entry[..code.len()].copy_from_slice(&code);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn entries_call_their_own_number() {
        let page = super::contents();
        assert_eq!(page[17 * 32..17 * 32 + 8], [0x51, 0x41, 0x53, 0xb8, 17, 0, 0, 0]);
        assert_eq!(page[23 * 32 + 3..23 * 32 + 9], [0x50, 0xb8, 23, 0, 0, 0]);
        assert!(page.chunks(32).all(|entry| entry.windows(2).any(|pair| pair == [0x0f, 0x05])));
    }
}
