//! Every allocation of frames fails once: the n-th of a scenario, for all n. Whoever asked gets an error, nobody loses a frame.
//!
//! The scenario has what takes frames: creating a domain and its vCPUs, filling it, exchanging memory, pinning, growing grant
//! tables and mapping grants, event arrays, resources of another domain. After the failure it goes on, as guests would.

use abi::domctl::XEN_DOMCTL_INTERFACE_VERSION;
use abi::xen::hypercall as number;
use fuzz::machine::Machine;
use fuzz_grammar::{Request, SCRATCH};
use xen_lite_core::addr::Mfn;
use xen_lite_core::platform::Platform;

/// The domain that the scenario creates.
const NEW: u64 = 4;
/// Where structures are, and lists behind them.
const AT: u64 = 0x8000;
const LIST: u64 = 0x8800;
const SELF: u64 = 0x7ff0;

/// Makes calls whose structure is a list of words.
struct Caller<'a> {
    machine: &'a Machine,
    refused: Vec<String>,
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
        let answer = self.machine.answer(who, &Request { row: 0, number, args });
        assert!(answer >= 0 || [-12, -22, -3, -14, -16].contains(&answer), "{what}: {answer}");
        if answer < 0 {
            self.refused.push(format!("{what}: {answer}"));
        }
        self.machine.check(what);
    }

    fn memory(&mut self, who: usize, what: &str, command: u64, words: &[u64], list: &[u64]) {
        self.call(who, what, number::MEMORY_OP, [command, AT, 0, 0, 0], words, list);
    }

    fn domctl(&mut self, what: &str, command: u64, domain: u64, rest: &[u64]) {
        let head = [command | u64::from(XEN_DOMCTL_INTERFACE_VERSION) << 32, domain];
        let words: Vec<u64> = head.iter().chain(rest).copied().collect();
        self.call(0, what, number::DOMCTL, [AT, 0, 0, 0, 0], &words, &[]);
    }
}

fn scenario(machine: &Machine) -> Vec<String> {
    let mut guest = Caller { machine, refused: Vec::new() };
    let frame = |who: usize, n: usize| machine.guests[who].frames[n].raw();
    // ssidref, handle, flags, iommu_opts, max_vcpus, max_evtchn_port, max_grant_frames, max_maptrack_frames, grant_opts
    guest.domctl("creating a domain", 1, NEW, &[0, 0, 0, 2 << 32, 127 | 4 << 32, 4 | 1 << 32, 0, 0]);
    guest.domctl("giving it vCPUs", 15, NEW, &[2]);
    guest.domctl("giving it a limit", 11, NEW, &[256]);
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
    guest.call(
        1,
        "setting a grant table up",
        number::GRANT_TABLE_OP,
        [2, AT, 1, 0, 0],
        &[2 | 3 << 32, 0, LIST],
        &[],
    );
    guest.call(
        1,
        "setting its own up",
        number::GRANT_TABLE_OP,
        [2, AT, 1, 0, 0],
        &[SELF | 3 << 32, 0, LIST],
        &[],
    );
    if let Ok(first) = xen_lite_core::grant::frame(&machine.hv, &machine.guests[1].domain, 0) {
        let entry = 1 | 3 << 16 | frame(1, 5) << 32;
        machine.hv.platform.store(first, 9, entry);
    }
    // host_addr, flags | ref, dom | status, handle and dev_bus_addr
    guest.call(2, "mapping", number::GRANT_TABLE_OP, [0, AT, 1, 0, 0], &[0x5000, 2 | 9 << 32, 2, 0], &[]);
    guest.call(1, "a control block", number::EVENT_CHANNEL_OP, [11, AT, 0, 0, 0], &[frame(1, 6), 0, 0], &[]);
    guest.call(1, "an event array", number::EVENT_CHANNEL_OP, [12, AT, 0, 0, 0], &[frame(1, 7)], &[]);
    // domid, type and id; number of frames; first frame; list
    guest.memory(0, "acquiring a grant table", 28, &[NEW | 1 << 16, 2, 0, LIST], &[]);
    guest.domctl("destroying it", 2, NEW, &[]);
    guest.refused
}

#[test]
fn no_failing_allocation_loses_a_frame() {
    let machine = Machine::new();
    let refused = scenario(&machine);
    assert!(refused.is_empty(), "without a failure: {refused:?}");
    machine.end();
    for n in 1.. {
        let machine = Machine::new();
        machine.hv.frames.fail_allocation(n);
        let refused = scenario(&machine);
        let happened = machine.hv.frames.fail_allocation(0) == 0;
        machine.end();
        if !happened {
            assert!(n > 15, "the scenario allocates frames: {n}");
            return;
        }
        println!("allocation {n}: {refused:?}");
    }
}
