//! Asks the C compiler.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where `libxen-dev` puts the headers.
pub const INCLUDE: &str = "/usr/include/xen";

/// A structure of the list.
pub struct Struct {
    /// Its header, relative to [`INCLUDE`].
    pub header: &'static str,
    /// C name; with dots, the type of a member.
    pub name: &'static str,
    /// Rust name.
    pub rust: &'static str,
    /// Size in Rust, bytes.
    pub size: usize,
    /// Alignment in Rust, bytes.
    pub align: usize,
    /// C name, offset and size in Rust.
    pub fields: Vec<(&'static str, usize, usize)>,
}

impl Struct {
    fn c_type(&self) -> String {
        match self.name.split_once('.') {
            Some((outer, member)) => format!("__typeof__((({outer} *)0)->{member})"),
            None => self.name.to_string(),
        }
    }

    /// C expressions: size, alignment, and offset and size of each field.
    pub fn questions(&self) -> Vec<String> {
        let c = self.c_type();
        let mut all = vec![format!("sizeof({c})"), format!("_Alignof({c})")];
        for (field, _, size) in &self.fields {
            all.push(format!("offsetof({c}, {field})"));
            // A flexible array has no size in C.
            all.push(if *size == 0 { "0".to_string() } else { format!("sizeof((({c} *)0)->{field})") });
        }
        all
    }

    /// What Rust says, in the same order, with a name for each.
    pub fn answers(&self) -> Vec<(String, i64)> {
        let name = format!("{}: {}", self.header, self.name);
        let mut all = vec![
            (format!("{name}: size"), self.size as i64),
            (format!("{name}: alignment"), self.align as i64),
        ];
        for (field, offset, size) in &self.fields {
            all.push((format!("{name}: offset of {field}"), *offset as i64));
            all.push((format!("{name}: size of {field}"), *size as i64));
        }
        all
    }
}

/// The size of the field that `_get` borrows.
pub fn field_size<T, F>(_get: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// A number of the list.
pub struct Const {
    /// Its header.
    pub header: &'static str,
    /// Rust name, with the prefix that only C has.
    pub name: String,
    /// Value in Rust.
    pub value: i64,
}

impl Const {
    /// The C name among `macros`: the same, else the same in another case, else the same after leading underscores. A name
    /// that is no macro is an enumerator.
    pub fn c_name(&self, macros: &BTreeMap<String, String>) -> String {
        let same = |strip: bool| {
            macros.keys().find(|m| {
                (if strip { m.trim_start_matches('_') } else { m }).eq_ignore_ascii_case(&self.name)
            })
        };
        if macros.contains_key(&self.name) {
            return self.name.clone();
        }
        same(false).or_else(|| same(true)).cloned().unwrap_or_else(|| c_enumerator(&self.name))
    }
}

/// Enumerators of the headers are spelled as in Rust, but for two families.
fn c_enumerator(name: &str) -> String {
    for prefix in ["XENMEM_ACCESS_", "HVMMEM_"] {
        if let Some(kind) = name.strip_prefix(prefix) {
            let prefix = prefix.replace("ACCESS", "access");
            return format!("{prefix}{}", kind.to_lowercase());
        }
    }
    name.to_string()
}

/// A string of the list.
pub struct Text {
    /// Its header.
    pub header: &'static str,
    /// Name, the same in C and Rust.
    pub name: &'static str,
    /// Value in Rust.
    pub value: &'static str,
}

/// The headers the crate answers to, in an order in which they can be included.
pub const HEADERS: &[&str] = &[
    "xen.h",
    "arch-x86/xen-x86_64.h",
    "arch-x86/xen.h",
    "event_channel.h",
    "sched.h",
    "vcpu.h",
    "version.h",
    "features.h",
    "elfnote.h",
    "callback.h",
    "nmi.h",
    "errno.h",
    "grant_table.h",
    "memory.h",
    "physdev.h",
    "arch-x86/cpuid.h",
    "domctl.h",
    "sysctl.h",
    "platform.h",
    "io/ring.h",
    "io/console.h",
    "io/xs_wire.h",
    "io/xenbus.h",
    "io/protocols.h",
    "io/blkif.h",
    "io/netif.h",
    "hvm/params.h",
    "hvm/hvm_op.h",
    "hvm/dm_op.h",
    "hvm/hvm_vcpu.h",
    "arch-x86/hvm/start_info.h",
    "xsm/flask_op.h",
    "hypfs.h",
    "kexec.h",
    "xenoprof.h",
    "argo.h",
];

fn includes() -> String {
    let mut c = String::from(
        "#define __XEN_TOOLS__ 1\n#include <stdio.h>\n#include <stdint.h>\n#include <stddef.h>\n#include <string.h>\n",
    );
    for header in HEADERS {
        c += &format!("#include <xen/{header}>\n");
    }
    c
}

fn gcc(args: &[&str], source: &Path) -> Output {
    assert!(
        Path::new(INCLUDE).join("xen.h").is_file(),
        "{INCLUDE}/xen.h is missing: install Xen's public headers (Debian, Ubuntu: apt-get install libxen-dev)"
    );
    let output =
        Command::new("gcc").args(["-w", "-std=gnu11"]).args(args).arg(source).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| {
        panic!("gcc cannot be started ({e}): install it (apt-get install gcc libc6-dev)")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "gcc refused {}:\n{errors}", source.display());
    output
}

fn source_file(text: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("layout-{}-{number}.c", std::process::id()));
    fs::write(&path, text).unwrap_or_else(|e| panic!("{} cannot be written: {e}", path.display()));
    path
}

/// The values of C constant expressions.
pub fn ask(expressions: &[String]) -> Vec<i64> {
    let mut c = includes() + "static const long long answers[] = {\n";
    for expression in expressions {
        c += &format!("    (long long)({expression}),\n");
    }
    c += "};\nint main(void) {\n    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) printf(\"%lld\\n\", answers[i]);\n    return 0;\n}\n";
    let source = source_file(&c);
    let program = source.with_extension("bin");
    gcc(&["-o", program.to_str().expect("the build directory has a plain name")], &source);
    let output = Command::new(&program)
        .output()
        .unwrap_or_else(|e| panic!("{} cannot be started: {e}", program.display()));
    assert!(output.status.success(), "{} failed: {}", program.display(), output.status);
    let _ = fs::remove_file(&source);
    let _ = fs::remove_file(&program);
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|l| l.parse().unwrap_or_else(|e| panic!("the C program printed {l:?}: {e}"))).collect()
}

/// What the preprocessor knows.
pub struct Header;

impl Header {
    /// Every object-like macro and its replacement.
    pub fn all_macros() -> BTreeMap<String, String> {
        let source = source_file(&includes());
        let output = gcc(&["-E", "-dM"], &source);
        let _ = fs::remove_file(&source);
        String::from_utf8_lossy(&output.stdout).lines().filter_map(object_like).collect()
    }

    /// Every object-like macro by the header that defines it.
    pub fn macros_by_header() -> Vec<(String, String, String)> {
        let source = source_file(&includes());
        let output = gcc(&["-E", "-dD"], &source);
        let _ = fs::remove_file(&source);
        let mut header = String::new();
        let mut all = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(marker) = line.strip_prefix("# ") {
                header = normal(marker.split('"').nth(1).unwrap_or_default());
            } else if let Some((name, value)) = object_like(line) {
                all.push((header.clone(), name, value));
            }
        }
        all
    }
}

/// `path` relative to [`INCLUDE`], without `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let path = parts.join("/");
    path.strip_prefix(INCLUDE).unwrap_or(&path).trim_start_matches('/').to_string()
}

fn object_like(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("#define ")?;
    let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
    (!name.contains('(')).then(|| (name.to_string(), value.trim().to_string()))
}
