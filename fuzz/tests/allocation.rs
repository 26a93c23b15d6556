//! Every allocation fails once: the n-th of a scenario, for all n, be it of frames or of the hypervisor's own heap. Whoever asked
//! gets an error, nobody loses a frame, and the auditor looks after each call.
//!
//! The scenario has what takes memory: creating a domain and its vCPUs, filling it, exchanging memory, pinning, growing grant
//! tables and mapping grants, event channels and arrays, memory maps, CPU policies, contexts of vCPUs, resources of another domain.
//! After the failure it goes on, as guests would.
//!
//! An allocation of the heap that cannot be refused ends this test as it would end the hypervisor.

use std::alloc::{GlobalAlloc, Layout, System};

use abi::domctl::*;
use abi::sysctl::*;
use abi::xen::hypercall as number;
use fuzz::machine::Machine;
use fuzz_grammar::{Request, SCRATCH};
use xen_lite_core::addr::{GuestVirt, Mfn};
use xen_lite_core::platform::Platform;
use xen_lite_core::world::heap;

/// The domain that the scenario creates.
const NEW: u64 = 4;
/// Where structures are, and lists behind them.
const AT: u64 = 0x8000;
const LIST: u64 = 0x8800;
const SELF: u64 = 0x7ff0;

/// The tests' heap, whose allocations fail when [`heap`] says so.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: it does what the system's does, or refuses.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        if heap::fails_now(layout) { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Makes calls whose structure is a list of words.
struct Caller<'a> {
    machine: &'a Machine,
    refused: Vec<String>,
    /// In how many allocations of the heap one fails; 0: none does (any more).
    heap_fails_in: u64,
}

impl Caller<'_> {
    fn call(&mut self, who: usize, what: &str, number: u64, args: [u64; 5], words: &[u64], list: &[u64]) {
        let mut page = [0; SCRATCH];
        let put = |page: &mut [u8; SCRATCH], from: usize, words: &[u64]| {
            for (n, word) in words.iter().enumerate() {
                page[from + 8 * n..from + 8 * n + 8].copy_from_slice(&word.to_le_bytes());
            }
        };
        put(&mut page, 0, words);
        put(&mut page, 2048, list);
        let scratch = self.machine.scratch(who).expect("the guest keeps its scratch page");
        assert_eq!(scratch, AT);
        self.machine.put(scratch, &page);
        let request = Request { row: 0, number, args };
        heap::fail_allocation(self.heap_fails_in);
        let answer = self.machine.answer(who, &request);
        self.heap_fails_in = heap::fail_allocation(0);
        assert!(answer >= 0 || [-12, -22, -3, -14, -16, -38].contains(&answer), "{what}: {answer}");
        if answer < 0 {
            self.refused.push(format!("{what}: {answer}"));
        }
        self.machine.check(what);
    }

    fn memory(&mut self, who: usize, what: &str, command: u64, words: &[u64], list: &[u64]) {
        self.call(who, what, number::MEMORY_OP, [command, AT, 0, 0, 0], words, list);
    }

    /// Grant operations answer in their structure: in the first half of this word of it, or behind the domain's number there.
    fn grants(&mut self, who: usize, what: &str, command: u64, words: &[u64], status: usize) {
        self.call(who, what, number::GRANT_TABLE_OP, [command, AT, 1, 0, 0], words, &[]);
        let mut word = [0; 8];
        let at = GuestVirt::new(AT + 8 * status as u64);
        self.machine.hv.platform.copy_in(at, &mut word).expect("the scratch page is there");
        let [a, b, c, d, ..] = word;
        let answer = i16::from_le_bytes(if command == 0 { [c, d] } else { [a, b] });
        if answer != 0 {
            self.refused.push(format!("{what}: status {answer}"));
        }
    }

    fn domctl(&mut self, what: &str, command: u32, domain: u64, rest: &[u64], list: &[u64]) {
        let head = [u64::from(command) | u64::from(XEN_DOMCTL_INTERFACE_VERSION) << 32, domain];
        let words: Vec<u64> = head.iter().chain(rest).copied().collect();
        self.call(0, what, number::DOMCTL, [AT, 0, 0, 0, 0], &words, list);
    }

    fn sysctl(&mut self, what: &str, command: u32, rest: &[u64]) {
        let head = [u64::from(command) | u64::from(XEN_SYSCTL_INTERFACE_VERSION) << 32];
        let words: Vec<u64> = head.iter().chain(rest).copied().collect();
        self.call(0, what, number::SYSCTL, [AT, 0, 0, 0, 0], &words, &[]);
    }
}

/// Runs all of it, with the so manieth allocation of the heap failing. Returns what was refused, and what was left to count.
fn scenario(machine: &Machine, heap_fails_in: u64) -> (Vec<String>, u64) {
    let mut guest = Caller { machine, refused: Vec::new(), heap_fails_in };
    let frame = |who: usize, n: usize| machine.guests[who].frames[n].raw();
    // ssidref, handle, flags, iommu_opts, max_vcpus, max_evtchn_port, max_grant_frames, max_maptrack_frames, grant_opts
    let limits = [0, 0, 0, 2 << 32, 127 | 4 << 32, 4 | 1 << 32, 0, 0];
    guest.domctl("creating a domain", XEN_DOMCTL_CREATEDOMAIN, NEW, &limits, &[]);
    guest.domctl("giving it vCPUs", XEN_DOMCTL_MAX_VCPUS, NEW, &[2], &[]);
    guest.domctl("giving it a limit", XEN_DOMCTL_MAX_MEM, NEW, &[256], &[]);
    policies(&mut guest);
    states(&mut guest);
    let list: Vec<u64> = (0..8).collect();
    guest.memory(0, "populating", 6, &[LIST, 6, 0, NEW], &list);
    guest.memory(0, "populating with a larger order", 6, &[LIST, 2, 2, NEW], &list);
    guest.memory(1, "growing", 0, &[LIST, 2, 0, SELF], &list);
    let spare: Vec<u64> = (22..26).map(|n| frame(1, n)).collect();
    guest.memory(1, "exchanging", 11, &[LIST, 3, 0, SELF, LIST + 64, 3, 0, SELF, 0], &spare);
    // An L1 table of its own, with an entry, pinned.
    let table = frame(1, 28);
    machine.hv.platform.store(Mfn::new(table), 3, frame(1, 29) << 12 | 0x67);
    guest.call(1, "pinning", number::MMUEXT_OP, [AT, 1, 0, SELF, 0], &[0, table, 0], &[]);
    guest.grants(1, "setting a grant table up", 2, &[2 | 3 << 32, 0, LIST], 1);
    guest.grants(1, "setting its own up", 2, &[SELF | 3 << 32, 0, LIST], 1);
    if let Ok(first) = xen_lite_core::grant::frame(&machine.hv, &machine.guests[1].domain, 0) {
        let entry = 1 | 3 << 16 | frame(1, 5) << 32;
        machine.hv.platform.store(first, 9, entry);
    }
    // host_addr, flags | ref, dom | status, handle and dev_bus_addr
    guest.grants(2, "mapping", 0, &[0x5000, 2 | 9 << 32, 2, 0], 2);
    guest.call(1, "a control block", number::EVENT_CHANNEL_OP, [11, AT, 0, 0, 0], &[frame(1, 6), 0, 0], &[]);
    guest.call(1, "an event array", number::EVENT_CHANNEL_OP, [12, AT, 0, 0, 0], &[frame(1, 7)], &[]);
    // domid, type and id; number of frames; first frame; list
    guest.memory(0, "acquiring a grant table", 28, &[NEW | 1 << 16, 2, 0, LIST], &[]);
    channels(&mut guest);
    guest.domctl("destroying it", XEN_DOMCTL_DESTROYDOMAIN, NEW, &[], &[]);
    (guest.refused, guest.heap_fails_in)
}

/// CPU policies of the machine and of the new domain. Lists have room for 32 leaves and 2 MSRs.
fn policies(guest: &mut Caller<'_>) {
    let (leaves, msrs) = (LIST, LIST + 1024);
    let room = 32 | 2 << 32;
    for index in [XEN_SYSCTL_CPU_POLICY_HOST, XEN_SYSCTL_CPU_POLICY_PV_MAX] {
        let wanted = [u64::from(index) | 32 << 32, 2, leaves, msrs];
        guest.sysctl("reading a policy", XEN_SYSCTL_GET_CPU_POLICY, &wanted);
        let wanted = [u64::from(index) | 64 << 32, LIST];
        guest.sysctl("reading features", XEN_SYSCTL_GET_CPU_FEATURESET, &wanted);
    }
    let leaf = [1 | 0xffff_ffff << 32, 0, 0];
    let get = |guest: &mut Caller<'_>| {
        guest.domctl("reading its policy", XEN_DOMCTL_GET_CPU_POLICY, NEW, &[room, leaves, msrs], &[]);
    };
    get(guest);
    guest.domctl("setting its policy", XEN_DOMCTL_SET_CPU_POLICY, NEW, &[1, leaves, 0], &leaf);
    get(guest);
}

/// Memory maps, and the state of vCPUs.
fn states(guest: &mut Caller<'_>) {
    let map = [0, 1 << 20, 1 | 0x10_0000 << 32, 0, 1];
    guest.memory(0, "setting a memory map", 13, &[2, 2, LIST], &map);
    guest.memory(1, "reading it", 9, &[8, LIST], &[]);
    guest.memory(0, "reading the machine's", 10, &[8, LIST], &[]);
    guest.domctl("resetting its vCPU", XEN_DOMCTL_SETVCPUCONTEXT, NEW, &[0, 0], &[]);
    guest.domctl("reading a context", XEN_DOMCTL_GETVCPUCONTEXT, 2, &[0, LIST], &[]);
    guest.domctl("reading extended state", XEN_DOMCTL_GETVCPUEXTSTATE, 2, &[0, 0, 99, LIST], &[]);
    guest.memory(0, "claiming memory for it", 24, &[0, 4, 0, NEW], &[]);
}

/// Event channels until the list of them has grown twice.
fn channels(guest: &mut Caller<'_>) {
    for _ in 0..140 {
        guest.call(1, "a port", number::EVENT_CHANNEL_OP, [6, AT, 0, 0, 0], &[SELF | 3 << 16], &[]);
    }
}

#[test]
fn no_failing_allocation_loses_a_frame() {
    let machine = Machine::new();
    let (refused, _) = scenario(&machine, 0);
    assert!(refused.is_empty(), "without a failure: {refused:?}");
    machine.end();
    for n in 1.. {
        let machine = Machine::new();
        machine.hv.frames.fail_allocation(n);
        let (refused, _) = scenario(&machine, 0);
        let happened = machine.hv.frames.fail_allocation(0) == 0;
        machine.end();
        if !happened {
            assert!(n > 15, "the scenario allocates frames: {n}");
            return;
        }
        println!("allocation {n}: {refused:?}");
    }
}

#[test]
fn whatever_the_heap_refuses_is_an_error_and_no_more() {
    for n in 1.. {
        let machine = Machine::new();
        let (refused, left) = scenario(&machine, n);
        machine.end();
        if left != 0 {
            assert!(n > 30, "the scenario allocates on the heap: {n}");
            return;
        }
        println!("heap allocation {n}: {refused:?}");
        let first = refused.first().unwrap_or_else(|| panic!("allocation {n} failed, and nobody was told"));
        // Grant operations have no status for this: general error, no space, no handle.
        let says =
            [": -12", ": status -1", ": status -7", ": status -13"].iter().any(|end| first.ends_with(end));
        assert!(says, "allocation {n}: the first error is {first}");
    }
}
