//! Nothing is left out, on either side.

use crate::c_side::{HEADERS, Header, INCLUDE};
use crate::{consts, structs};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Declared here but in no C header: what the processor's manual, the BIOS or this crate define.
const OURS: &[&str] = &[
    // io/ring.h has these as macros with arguments, or as part of other structures.
    "Sring",
    "FrontRing",
    "BackRing",
    "RING_OFFSET",
    "SLOT_SIZE",
    "TX_SLOT_SIZE",
    "RX_SLOT_SIZE",
    "CTRL_SLOT_SIZE",
    // The memory map of the BIOS.
    "E820Entry",
    "E820_RAM",
    "E820_RESERVED",
    "E820_ACPI",
    "E820_NVS",
    "E820_UNUSABLE",
    // Facts of the hypercall page, of the CPUID leaves and of continuations that the headers tell in comments.
    "ENTRY_SIZE",
    "PAGE_ENTRIES",
    "XEN_HYPERCALL_MSR",
    "MEMOP_EXTENT_SHIFT",
    // What this architecture speaks.
    "XEN_IO_PROTO_ABI_NATIVE",
    // Helpers.
    "GuestPtr",
    "Union",
    "NULL",
    "ALL",
    "EWOULDBLOCK",
    "EDEADLOCK",
    "NR_EXCEPTIONS",
    "StartFlags",
    "GrantFlags",
    "GrantMapFlags",
    "DomainInfoFlags",
    "CreateFlags",
    "ContextFlags",
    "EventWord",
];

/// Files whose numbers no Xen header has: vectors of the processor; flag sets made of constants that are compared.
const UNCHECKED_FILES: &[&str] = &["trap.rs", "flags.rs"];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the crate's sources are readable") {
        let path = entry.expect("the crate's sources are readable").path();
        if path.is_dir() {
            sources(&path, into);
        } else if !UNCHECKED_FILES.iter().any(|f| path.ends_with(f)) {
            into.push(path);
        }
    }
}

/// Names declared by lines that start with `keyword`.
fn declared(keyword: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 30, "only {} source files were found", files.len());
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for line in text.lines() {
            let Some(rest) = line.trim_start().strip_prefix(keyword) else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() && name != "fn" && rest[name.len()..].starts_with([':', ' ', '<']) {
                names.insert(name);
            }
        }
    }
    for ours in OURS {
        names.remove(*ours);
    }
    names
}

/// The C name as this crate spells it.
fn camel(c: &str) -> String {
    let c = c.rsplit(' ').next().unwrap_or(c);
    let c = c.strip_prefix("xen_").unwrap_or(c);
    let c = c.strip_suffix("_t").unwrap_or(c);
    c.split('_').filter(|p| !p.is_empty()).map(|p| p[..1].to_uppercase() + &p[1..]).collect()
}

#[test]
fn every_constant_of_the_crate_is_compared() {
    let mut listed: BTreeSet<String> = consts::numbers().into_iter().map(|c| c.name).collect();
    listed.extend(consts::texts().into_iter().map(|t| t.name.to_string()));
    let missing: Vec<String> = declared("pub const ")
        .into_iter()
        .filter(|name| !listed.contains(name) && !listed.contains(&format!("__HYPERVISOR_{name}")))
        .collect();
    assert!(missing.is_empty(), "not in tests/layout/consts.rs: {missing:?}");
}

#[test]
fn every_structure_of_the_crate_is_compared() {
    let listed: BTreeSet<&str> = structs::all().iter().map(|s| s.rust).collect();
    let missing: Vec<String> =
        declared("pub struct ").into_iter().filter(|name| !listed.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in tests/layout/structs.rs: {missing:?}");
}

/// Macros that are no part of the binary interface, or that stand for text, types or expressions of C.
fn not_ours(name: &str, value: &str) -> bool {
    let c_only = [
        "__XEN",
        "XEN_HAVE_",
        "PRI",
        "XEN_FLEX",
        "XEN_EMULATE",
        "COMPAT_",
        "XEN_DEFINE",
        "XEN_GUEST_HANDLE",
        "XEN_ERRNO",
    ];
    value.is_empty()
        || name.starts_with('_') && !name.starts_with("__HYPERVISOR_")
        || c_only.iter().any(|p| name.starts_with(p))
        || name.ends_with("_H__")
        || value.contains("struct ")
        || !value.chars().any(|c| c.is_ascii_digit())
            && !value.starts_with('"')
            && !value.chars().any(char::is_uppercase)
        || LEFT_OUT.contains(&name)
}

/// Macros of the headers that are left out, each for a reason.
const LEFT_OUT: &[&str] = &[
    // Names of C types.
    "int64_aligned_t",
    "uint64_aligned_t",
    "blkif_vdev_t",
    "blkif_sector_t",
    // Older names of what is here under its newer name.
    "xen_vga_console_info",
    "xen_vga_console_info_t",
    "XS_DEBUG",
    // Another macro that is a string.
    "XEN_IO_PROTO_ABI_NATIVE",
    // Expressions of C.
    "machine_to_phys_mapping",
    "GNTTABOP_error_msgs",
    "XEN_CPUID",
];

#[test]
fn every_constant_of_the_headers_is_in_the_crate() {
    let listed: BTreeSet<String> = consts::numbers()
        .into_iter()
        .map(|c| c.name.to_lowercase())
        .chain(consts::texts().into_iter().map(|t| t.name.to_lowercase()))
        .collect();
    let mut seen = 0;
    let missing: Vec<String> = Header::macros_by_header()
        .into_iter()
        .filter(|(header, name, value)| HEADERS.contains(&header.as_str()) && !not_ours(name, value))
        .inspect(|_| seen += 1)
        .filter(|(_, name, _)| {
            let name = name.to_lowercase();
            !listed.contains(&name) && !listed.contains(name.trim_start_matches('_'))
        })
        .map(|(header, name, value)| format!("{header}: {name} = {value}"))
        .collect();
    assert!(seen > 800, "only {seen} macros were found in the headers");
    assert!(missing.is_empty(), "{} of {seen} are missing:\n  {}", missing.len(), missing.join("\n  "));
}

/// Structures of the headers that are left out, each for a reason.
const LEFT_OUT_STRUCTS: &[&str] = &[
    // A table of texts.
    "xsd_errors",
    // What the hypervisor and its patches agree on; no toolstack may use it.
    "livepatch_expectation",
    "livepatch_func",
    // Interfaces that Xen had before 4.7 to 4.10.
    "xen_hvm_set_pci_intx_level",
    "xen_hvm_set_isa_irq_level",
    "xen_hvm_set_pci_link_route",
    "xen_hvm_altp2m_set_mem_access",
    "xen_flask_userlist",
];

#[test]
fn every_structure_of_the_headers_is_in_the_crate() {
    let listed: BTreeSet<&str> = structs::all().iter().map(|s| s.rust).collect();
    let mut seen = 0;
    let mut missing = Vec::new();
    for header in HEADERS {
        let path = Path::new(INCLUDE).join(header);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for line in text.lines() {
            let line = line.trim();
            let Some(rest) = line.strip_prefix("typedef ").unwrap_or(line).strip_prefix("struct ") else {
                continue;
            };
            let Some(name) = rest.strip_suffix('{').map(str::trim) else { continue };
            if name.is_empty() || name.contains([' ', '#', '*']) || LEFT_OUT_STRUCTS.contains(&name) {
                continue;
            }
            seen += 1;
            if !listed.contains(camel(name).as_str()) {
                missing.push(format!("{header}: struct {name}"));
            }
        }
    }
    assert!(seen > 200, "only {seen} structures were found in the headers");
    assert!(missing.is_empty(), "{} of {seen} are missing:\n  {}", missing.len(), missing.join("\n  "));
}
