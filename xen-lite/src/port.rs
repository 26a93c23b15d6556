//! I/O ports.

use x86_64::instructions::port::Port;

macro_rules! ports {
    ($($read:ident $write:ident $width:ty;)*) => {$(
        /// Reads a port.
        #[inline(always)]
        pub fn $read(port: u16) -> $width {
            // SAFETY: S-14: ports have no effect on memory; who asks for which is decided by the callers.
            unsafe { Port::<$width>::new(port).read() }
        }
        /// Writes a port.
        #[inline(always)]
        pub fn $write(port: u16, value: $width) {
            // SAFETY: S-14: as above.
            unsafe { Port::<$width>::new(port).write(value) }
        }
    )*};
}

ports! {
    inb outb u8;
    inw outw u16;
    inl outl u32;
}
