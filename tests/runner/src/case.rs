//! What a test is: a value that says what to boot, what to type, what must come and how it must end.
//!
//! Cases are built with short methods so that the lists in [`crate::cases`] read line by line:
//!
//! ```
//! use runner::case::{Case, End};
//! let case = Case::new("shell", "dom0")
//!     .initrd("samples.cpio")
//!     .expect("dom0>", 60)
//!     .type_line("poweroff")
//!     .end(End::PowerOff);
//! assert_eq!(case.name, "shell");
//! ```

use crate::http::{self, Body};
use crate::qemu::DEFAULT_CPU;

/// The hypervisor under a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// This project's image.
    XenLite,
    /// Xen 4.17 as Debian ships it: the reference.
    Upstream,
}

impl Hypervisor {
    /// The name in run names and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::XenLite => "xen-lite",
            Self::Upstream => "upstream",
        }
    }
}

/// Both hypervisors: the default of a case.
pub const BOTH: &[Hypervisor] = &[Hypervisor::XenLite, Hypervisor::Upstream];
/// For what only this project's image promises.
pub const XEN_LITE: &[Hypervisor] = &[Hypervisor::XenLite];
/// For what is known of upstream only.
pub const UPSTREAM: &[Hypervisor] = &[Hypervisor::Upstream];

/// One step of a test.
#[derive(Clone, Debug)]
pub enum Step {
    /// Wait at most so many seconds for a text after the one expected before.
    Expect(String, u64),
    /// Type a text on the serial console.
    Type(String),
    /// Send a request over the machine's network; the answer must be like this, within so many seconds.
    Fetch(String, Body, u64),
    /// Open so many connections over the machine's network that ask by half, until the end.
    Stall(usize),
}

/// How the machine must end after the last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// QEMU ends by itself with status 0: ACPI power-off, or a reset under `-no-reboot`.
    PowerOff,
    /// QEMU ends by itself with this status.
    Status(i32),
    /// The machine stays on (halted, or idle) and the runner ends it.
    StaysOn,
}

/// How the hypervisor gets into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loader {
    /// QEMU's `-kernel`: multiboot 1.
    Qemu,
    /// GRUB from this CD image, which holds hypervisor, modules and command lines.
    Grub(String),
}

/// A test.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, without the hypervisor.
    pub name: String,
    /// The hypervisors to run it on.
    pub on: &'static [Hypervisor],
    /// How the hypervisor is loaded.
    pub loader: Loader,
    /// Options for the hypervisor beyond those of every test.
    pub options: String,
    /// First module: a file of the image folder. Empty: no module at all.
    pub kernel: String,
    /// Arguments of the first module.
    pub args: String,
    /// Second module: a file of the image folder.
    pub initrd: Option<String>,
    /// QEMU's `-cpu`.
    pub cpu: String,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Number of processors.
    pub cpus: u32,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Texts that must not appear, beyond those of every test.
    pub forbidden: Vec<String>,
    /// Texts that are fine here, though they are a failure in every other test.
    pub allowed: Vec<String>,
    /// How it ends.
    pub end: End,
    /// Sizes in MiB of the machine's disks, which are zero at first.
    pub disks: Vec<u64>,
    /// Boots next on the same disks, once this machine has ended.
    pub then: Option<Box<Case>>,
    /// See [`Case::counted`].
    pub counted: Option<u8>,
    /// Limit of the whole run in seconds.
    pub limit: u64,
}

/// Seconds that the end of a machine may take after the last step.
pub const END_LIMIT: u64 = 30;

impl Case {
    /// A case on both hypervisors whose first module is the file `kernel`, with nothing expected yet.
    pub fn new(name: &str, kernel: &str) -> Self {
        Self {
            name: name.into(),
            on: BOTH,
            loader: Loader::Qemu,
            options: String::new(),
            kernel: kernel.into(),
            args: String::new(),
            initrd: None,
            cpu: DEFAULT_CPU.into(),
            memory_mb: 512,
            cpus: 1,
            steps: Vec::new(),
            forbidden: Vec::new(),
            allowed: Vec::new(),
            end: End::PowerOff,
            disks: Vec::new(),
            then: None,
            counted: None,
            limit: 120,
        }
    }

    /// Runs only on these hypervisors.
    #[must_use]
    pub fn on(mut self, on: &'static [Hypervisor]) -> Self {
        self.on = on;
        self
    }

    /// Boots this CD image instead of loading files with QEMU.
    #[must_use]
    pub fn cdrom(mut self, image: &str) -> Self {
        self.loader = Loader::Grub(image.into());
        self
    }

    /// Adds options to the hypervisor's command line.
    #[must_use]
    pub fn options(mut self, options: &str) -> Self {
        self.options = options.into();
        self
    }

    /// Gives the first module its arguments.
    #[must_use]
    pub fn args(mut self, args: &str) -> Self {
        self.args = args.into();
        self
    }

    /// Gives Dom0 a script: commands of its shell, separated by `; `.
    #[must_use]
    pub fn script(self, script: &str) -> Self {
        self.args(&format!("script=\"{script}\""))
    }

    /// Loads a second module.
    #[must_use]
    pub fn initrd(mut self, file: &str) -> Self {
        self.initrd = Some(file.into());
        self
    }

    /// Uses another CPU model.
    #[must_use]
    pub fn cpu(mut self, cpu: &str) -> Self {
        self.cpu = cpu.into();
        self
    }

    /// Uses another amount of memory, in MiB.
    #[must_use]
    pub fn memory(mut self, mb: u32) -> Self {
        self.memory_mb = mb;
        self
    }

    /// Uses several processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Next, `text` must come within `seconds`.
    #[must_use]
    pub fn expect(mut self, text: &str, seconds: u64) -> Self {
        self.steps.push(Step::Expect(text.into(), seconds));
        self
    }

    /// Next, `line` and Enter are typed on the serial console.
    #[must_use]
    pub fn type_line(self, line: &str) -> Self {
        self.type_text(&format!("{line}\r"))
    }

    /// Next, `text` is typed as it is.
    #[must_use]
    pub fn type_text(mut self, text: &str) -> Self {
        self.steps.push(Step::Type(text.into()));
        self
    }

    /// Next, `GET path` over the machine's network card must be answered like this within `seconds`.
    #[must_use]
    pub fn fetch(self, path: &str, body: Body, seconds: u64) -> Self {
        self.ask(&http::get(path), body, seconds)
    }

    /// Next, this request over the machine's network card must be answered like this within `seconds`.
    #[must_use]
    pub fn ask(mut self, request: &str, body: Body, seconds: u64) -> Self {
        self.steps.push(Step::Fetch(request.into(), body, seconds));
        self
    }

    /// Next, `count` clients connect over the machine's network card, send half a request, and stay.
    #[must_use]
    pub fn stall(mut self, count: usize) -> Self {
        self.steps.push(Step::Stall(count));
        self
    }

    /// Whether the machine has a network card.
    pub fn has_card(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Fetch(..)))
    }

    /// `text` must not come.
    #[must_use]
    pub fn forbid(mut self, text: &str) -> Self {
        self.forbidden.push(text.into());
        self
    }

    /// `text` may come, though it is a failure in every other test.
    #[must_use]
    pub fn allow(mut self, text: &str) -> Self {
        self.allowed.push(text.into());
        self
    }

    /// The machine must end like this.
    #[must_use]
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Sets the limit of the whole run in seconds.
    #[must_use]
    pub fn limit(mut self, seconds: u64) -> Self {
        self.limit = seconds;
        self
    }

    /// Gives the machine another virtio disk.
    #[must_use]
    pub fn disk(mut self, mib: u64) -> Self {
        self.disks.push(mib);
        self
    }

    /// Once this machine has ended as it must, boots `next` with the same disks. What `next` says of disks does not count.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.then = Some(Box::new(next));
        self
    }

    /// Lets time pass with instructions only, 2^`shift` ns for each: every run is the same, however busy the host is.
    #[must_use]
    pub fn counted(mut self, shift: u8) -> Self {
        self.counted = Some(shift);
        self
    }

    /// Whether it boots a guest of this project, and not only kernels of others.
    pub fn needs_guests(&self) -> bool {
        let ours = |file: &str| file == "dom0" || file.starts_with("guests/") || file.starts_with("broken/");
        ours(&self.kernel)
    }

    /// The name of the run on one hypervisor.
    pub fn run_name(&self, hypervisor: Hypervisor) -> String {
        format!("{}@{}", self.name, hypervisor.name())
    }
}
