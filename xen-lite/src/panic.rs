//! The end, when going on would leak or escalate.

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    log::error!("{info}");
    loop {
        x86_64::instructions::hlt();
    }
}
