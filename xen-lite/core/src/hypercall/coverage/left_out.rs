//! What is left out on purpose, and why. All of it answers `-ENOSYS`.

use abi::xen::hypercall as number;

/// Sub-operations of one hypercall with one reason; no numbers stand for all of them.
pub type LeftOut = (u64, &'static [u32], &'static str);

/// Every sub-operation of the headers is in the `SUBS` of a shim or in this table; a test sees to that.
pub const LEFT_OUT: &[LeftOut] = &[
    (
        number::PLATFORM_OP,
        &[31, 32, 33],
        "memory types are the page attribute table's; no range registers are shown",
    ),
    (number::PLATFORM_OP, &[35], "the firmware loads microcode"),
    (number::PLATFORM_OP, &[39], "no chipset quirk is known"),
    (number::PLATFORM_OP, &[49], "no EFI runtime services: the boot protocol is multiboot"),
    (number::PLATFORM_OP, &[52, 53, 54, 60], "the processors' power and frequency are not managed"),
    (number::PLATFORM_OP, &[58, 59], "processors and memory are those of the boot"),
    (number::PLATFORM_OP, &[61], "no resource can be monitored"),
    (number::PLATFORM_OP, &[63], "symbols of the hypervisor are nobody's but its own"),
    (number::MEMORY_OP, &[20], "no paging of guests: for HVM only"),
    (number::MEMORY_OP, &[22], "no sharing of memory: for HVM only"),
    (number::EVENT_CHANNEL_OP, &[14], "not for guests: upstream's own continuation of a reset"),
    (number::HVM_OP, &[12, 13], "removed from the interface before 4.17"),
    (number::SYSCTL, &[5, 15], "built for debugging only; upstream's release builds refuse them too"),
    (number::SYSCTL, &[14], "memory is not taken offline"),
    (number::DOMCTL, &[23], "not for tools: upstream's own continuation of a soft reset"),
    (number::DOMCTL, &[26], "of the PowerPC port; upstream refuses it too"),
    (number::DOMCTL, &[29], "tools hear of the end of a domain by VIRQ_DOM_EXC"),
    (number::DOMCTL, &[44], "of the Itanium port; upstream refuses it too"),
    (number::DOMCTL, &[54, 1000, 1001, 1002, 1003], "no debugger of guests"),
    (number::DOMCTL, &[56, 64], "no introspection of guests"),
    (number::DOMCTL, &[57, 65], "for HVM only"),
    (number::DOMCTL, &[66], "the first domain handles its own interrupts"),
    (number::DOMCTL, &[71], "caches are coherent; the Arm port needs it"),
    (number::DOMCTL, &[81], "of the Arm port"),
    (number::XSM_OP, &[], "no security module: as upstream without `flask`"),
    (number::XENOPROF_OP, &[], "no profiling; Xen 4.17 has it as deprecated"),
    (number::KEXEC_OP, &[], "no crash kernel"),
    (number::ARGO_OP, &[], "as upstream, which builds it in for experts only"),
    (number::HYPFS_OP, &[], "nothing is published as files"),
];

/// Why a sub-operation is left out, if it is.
pub fn reason(hypercall: u64, sub: u32) -> Option<&'static str> {
    let is = |(call, subs, _): &&LeftOut| *call == hypercall && (subs.is_empty() || subs.contains(&sub));
    LEFT_OUT.iter().find(is).map(|(_, _, why)| *why)
}

/// Hypercalls of the header that have no sub-operations and are left out.
pub fn whole(hypercall: u64) -> &'static str {
    match hypercall {
        number::TMEM_OP => "removed from the interface before 4.17",
        _ => "of no use on x86",
    }
}
