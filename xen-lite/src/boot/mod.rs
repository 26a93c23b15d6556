//! From the boot loader to the first domain.

mod entry;
mod info;

use info::BootInfo;

/// The stack of CPU 0.
#[repr(C, align(4096))]
pub struct Stack(core::cell::UnsafeCell<[u8; entry::STACK_SIZE]>);

// SAFETY: S-05: a stack is only reached through the stack pointer of the CPU that it belongs to.
unsafe impl Sync for Stack {}

static BOOT_STACK: Stack = Stack(core::cell::UnsafeCell::new([0; entry::STACK_SIZE]));

/// First Rust code: called by the entry code in long mode, on the boot stack, with the loader's two registers.
extern "C" fn start(magic: u32, info: u32) -> ! {
    crate::heap::init();
    crate::console::init();
    log::info!("xen-lite version {}", env!("CARGO_PKG_VERSION"));
    let boot = match BootInfo::read(magic, info) {
        Ok(boot) => boot,
        Err(text) => panic!("{text}"),
    };
    log::info!("Loader: {} ({})", boot.loader, boot.protocol);
    log::info!("Command line: {}", boot.command_line);
    for region in &boot.regions {
        log::info!(" [{:016x}, {:016x}] {}", region.start, region.end, region.kind);
    }
    for module in &boot.modules {
        log::info!("module {:x}-{:x} {}", module.start, module.end, module.arguments);
    }
    panic!("end of slice");
}
