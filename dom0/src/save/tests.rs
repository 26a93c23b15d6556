//! A guest that Dom0 built is made to look suspended, taken, and made again on a fake machine.

use abi::xen::{ArchSharedInfo, SharedInfo, StartInfo, StartInfoDomU};
use core::mem::offset_of;

use super::build::{self, Settings};
use super::plan::Plan;
use super::stream::{Pages, Writer, kind, page};
use super::take::{self, Summary, words};
use super::{PAGE, Result};
use crate::DomId;
use crate::control::Control;
use crate::fake::{self, Fake};
use crate::files::Files;
use crate::hypervisor::Hypervisor;

const FRAME: u64 = 0x000f_ffff_ffff_f000;
const PAGES: usize = 8 << 8;
const SETTINGS: Settings = Settings { max_memory: 8, vcpus: 1, uuid: [7; 16] };
/// Pages that nothing else is on: the lists of frames, and `start_info`'s.
const LISTS: [usize; 2] = [1000, 1001];

fn put(fake: &Fake, mfn: u64, at: usize, word: u64) {
    fake.write_words(mfn, at, &[word]);
}

fn word(fake: &Fake, mfn: u64, at: usize) -> u64 {
    words(&fake.frame(mfn)[at..at + 8]).next().unwrap()
}

/// Notes which frames are page tables, from a root down.
fn mark(fake: &Fake, dom: u16, mfn: u64, level: u32) {
    let pinned = if level == 4 { 8 } else { 0 };
    fake.0.borrow_mut().domains.get_mut(&dom).unwrap().kinds.insert(mfn, (level | pinned) << 28);
    if level > 1 {
        for entry in words(&fake.frame(mfn)).filter(|entry| entry & 1 != 0) {
            mark(fake, dom, (entry & FRAME) >> 12, level - 1);
        }
    }
}

/// A machine with one guest that has done its part of a suspend.
fn suspended() -> (Fake, DomId) {
    let kernel = fake::kernel(b"some text of the kernel");
    let archive = fake::archive(&[("g.cfg", b"kernel = 'k'\nmemory = 8"), ("k", &kernel)]);
    let (files, _) = Files::read(&archive);
    let fake = Fake::new(20_000);
    let mut control = Control::new(fake.clone(), files);
    let dom = control.create("g", false).unwrap().dom;
    // Whatever Dom0 has of it is not needed here.
    drop(control);
    let (mfns, shared) = fake.frames(dom.0);
    let pfn = |mfn: u64| mfns.iter().position(|it| *it == mfn).unwrap() as u64;
    let mut context = fake.0.borrow().domains[&dom.0].context.unwrap();
    mark(&fake, dom.0, context.ctrlreg[3] >> 12, 4);
    let start = mfns[((context.user_regs.rsi - fake::BASE) / PAGE as u64) as usize];
    context.user_regs.rdx = start;
    fake.0.borrow_mut().domains.get_mut(&dom.0).unwrap().context = Some(context);
    for at in
        [offset_of!(StartInfo, store_mfn), offset_of!(StartInfo, console) + offset_of!(StartInfoDomU, mfn)]
    {
        put(&fake, start, at, pfn(word(&fake, start, at)));
    }
    let list = ((word(&fake, start, offset_of!(StartInfo, mfn_list)) - fake::BASE) / PAGE as u64) as usize;
    let [top, lower] = LISTS.map(|pfn| mfns[pfn]);
    put(&fake, top, 0, lower);
    fake.write_words(lower, 0, &mfns[list..list + PAGES / 512]);
    let arch = offset_of!(SharedInfo, arch);
    put(&fake, shared, arch + offset_of!(ArchSharedInfo, max_pfn), PAGES as u64);
    put(&fake, shared, arch + offset_of!(ArchSharedInfo, pfn_to_mfn_frame_list_list), top);
    put(&fake, shared, offset_of!(SharedInfo, evtchn_pending), 6);
    (fake, dom)
}

fn take(fake: &Fake, dom: DomId) -> Result<(Vec<u8>, Summary)> {
    let mut hv = fake.clone();
    let info = hv.domain(dom).unwrap();
    let mut stream = Vec::new();
    let summary = take::take(&mut hv, &info, &mut stream)?;
    assert_eq!(fake.0.borrow().mapped, 0);
    Ok((stream, summary))
}

fn restore(fake: &Fake, stream: &[u8]) -> Result<DomId> {
    let plan = Plan::read(&mut &stream[..], PAGES as u64)?;
    build::build(&mut fake.clone(), &SETTINGS, plan, &mut &stream[..]).map(|built| built.dom)
}

#[test]
fn a_guest_is_the_same_afterwards() {
    let (fake, dom) = suspended();
    let (mfns, _) = fake.frames(dom.0);
    let kinds = fake.0.borrow().domains[&dom.0].kinds.clone();
    let before: Vec<Vec<u8>> = mfns.iter().map(|mfn| fake.frame(*mfn)).collect();
    let context = fake.0.borrow().domains[&dom.0].context.unwrap();
    let (stream, summary) = take(&fake, dom).unwrap();
    assert_eq!((summary.pages, summary.vcpus), (PAGES as u64, 1));
    assert!(summary.tables >= 4 && summary.zero > 1000, "{summary:?}");
    fake.clone().destroy(dom).unwrap();

    let again = restore(&fake, &stream).unwrap();
    let (new, shared) = fake.frames(again.0);
    assert_ne!(new[5], mfns[5]);
    let old = |mfn: u64| mfns[new.iter().position(|it| *it == mfn).expect("the guest's")];
    let root = fake.0.borrow().domains[&again.0].pinned.unwrap();
    let now = fake.0.borrow().domains[&again.0].context.unwrap();
    assert_eq!((now.ctrlreg[3] >> 12, old(root)), (root, context.ctrlreg[3] >> 12));
    assert_eq!((now.user_regs.rip, old(now.user_regs.rdx)), (context.user_regs.rip, context.user_regs.rdx));
    let start = new.iter().position(|mfn| *mfn == now.user_regs.rdx).unwrap();
    let list = (word(&fake, new[start], offset_of!(StartInfo, mfn_list)) - fake::BASE) as usize / PAGE;
    for (pfn, bytes) in before.iter().enumerate().filter(|(pfn, _)| *pfn != start) {
        let now = fake.frame(new[pfn]);
        if (list..list + PAGES / 512).contains(&pfn) {
            let part = (pfn - list) * 512;
            assert!(words(&now).eq(new[part..part + 512].iter().copied()), "list at {pfn:#x}");
        } else if kinds.contains_key(&mfns[pfn]) {
            let back = |entry: u64| {
                if entry & 1 == 0 { entry } else { entry & !FRAME | old((entry & FRAME) >> 12) << 12 }
            };
            assert!(words(&now).map(back).eq(words(bytes)), "table {pfn:#x}");
        } else {
            assert!(now == *bytes, "page {pfn:#x}");
        }
    }
    let console = word(&fake, new[start], offset_of!(StartInfo, console));
    assert!(
        new.contains(&console) && new.contains(&word(&fake, new[start], offset_of!(StartInfo, store_mfn)))
    );
    assert_eq!(word(&fake, new[start], offset_of!(StartInfo, shared_info)) >> 12, shared);
    assert_eq!(word(&fake, shared, offset_of!(SharedInfo, evtchn_pending)), 0);
    assert_eq!(word(&fake, shared, offset_of!(SharedInfo, evtchn_mask)), u64::MAX);
    assert_eq!(fake.0.borrow().mapped, 0);
}

#[test]
fn what_a_guest_claims_is_checked() {
    let lists = |fake: &Fake, dom: DomId| LISTS.map(|pfn| fake.frames(dom.0).0[pfn]);
    let shared = |fake: &Fake, dom: DomId, field: usize, value: u64| {
        put(fake, fake.frames(dom.0).1, offset_of!(SharedInfo, arch) + field, value);
    };
    type Change<'c> = &'c dyn Fn(&Fake, DomId);
    let changes: [(Change<'_>, &str); 6] = [
        (&|f, d| shared(f, d, offset_of!(ArchSharedInfo, max_pfn), 0), "does not tell"),
        (&|f, d| shared(f, d, offset_of!(ArchSharedInfo, max_pfn), u64::MAX), "at most"),
        (&|f, d| shared(f, d, offset_of!(ArchSharedInfo, pfn_to_mfn_frame_list_list), 3), "EPERM"),
        (&|f, d| put(f, lists(f, d)[1], 8, word(f, lists(f, d)[1], 0)), "twice"),
        (&|f, d| put(f, lists(f, d)[0], 0, 0xdead), "frame 0xdead"),
        (&|f, d| f.0.borrow_mut().domains.get_mut(&d.0).unwrap().context = None, "ENODATA"),
    ];
    for (change, message) in changes {
        let (fake, dom) = suspended();
        change(&fake, dom);
        let error = take(&fake, dom).map(|_| ()).unwrap_err();
        assert!(error.contains(message), "{message}: {error}");
    }
}

#[test]
fn a_table_that_maps_others_frames_is_refused() {
    let (fake, dom) = suspended();
    let (mfns, _) = fake.frames(dom.0);
    put(&fake, mfns[2000], 8 * 300, 0xdead_b000 | 1);
    fake.0.borrow_mut().domains.get_mut(&dom.0).unwrap().kinds.insert(mfns[2000], 1 << 28);
    let error = take(&fake, dom).map(|_| ()).unwrap_err();
    assert_eq!(
        error,
        "entry 300 of the page table at 0x7d0 (level 1) maps frame 0xdeadb, which is not the guest's"
    );
}

/// A stream of chosen records, without its end.
fn stream(records: &dyn Fn(&mut Writer<'_, Vec<u8>>) -> Result) -> Vec<u8> {
    let mut bytes = Vec::new();
    records(&mut Writer::new(&mut bytes, (4, 17)).unwrap()).unwrap();
    bytes
}

fn refused(bytes: &[u8], message: &str) {
    let error = Plan::read(&mut &bytes[..], PAGES as u64).map(|_| ()).unwrap_err();
    assert!(error.contains(message), "{message}: {error}");
}

#[test]
fn streams_that_make_no_sense_are_refused() {
    let pages = |list: &[(u64, u8)]| Pages { list: list.to_vec(), data: vec![0; PAGE * list.len()] };
    refused(b"something of forty bytes or more, that is no stream", "no migration stream");
    refused(&[], "ends in the midst");
    refused(&stream(&|w| w.shared_info(&[0; PAGE])), "before X86_PV_INFO");
    refused(&stream(&|w| w.pv_info().and_then(|()| w.pv_info())), "twice");
    refused(&stream(&|w| w.pv_info().and_then(|()| w.p2m_frames(0, 1 << 20, &[1]))), "settings allow");
    refused(&stream(&|w| w.pv_info().and_then(|()| w.p2m_frames(0, 700, &[1]))), "pages of frame numbers");
    refused(&stream(&|w| w.pv_info().and_then(|()| w.pages(&pages(&[(1, page::NOTAB)])))), "page 0x1 of");
    let twice = |w: &mut Writer<'_, Vec<u8>>| {
        w.pv_info()?;
        w.p2m_frames(0, 511, &[1])?;
        w.pages(&pages(&[(1, page::NOTAB), (1, page::NOTAB)]))
    };
    refused(&stream(&twice), "comes twice");
    let mut unknown = stream(&|w| w.pv_info());
    unknown.extend([0x77, 0, 0, 0, 0, 0, 0, 0]);
    refused(&unknown, "0x77 is not known");
    let mut long = stream(&|w| w.pv_info());
    long.extend([kind::PAGE_DATA as u8, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
    refused(&long, "at most");
    let mut end = stream(&|w| w.pv_info());
    end.extend([0; 8]);
    refused(&end, "no SHARED_INFO");
}

/// The stream of a suspended guest; made once.
fn sample() -> &'static [u8] {
    static STREAM: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    STREAM.get_or_init(|| {
        let (fake, dom) = suspended();
        take(&fake, dom).unwrap().0
    })
}

/// Places of a stream's numbers: heads of records, lists of pages, and then anything.
fn places(stream: &[u8]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..40).collect();
    let mut at = 40;
    while at + 8 <= stream.len() {
        let length = u32::from_le_bytes(stream[at + 4..at + 8].try_into().unwrap()) as usize;
        places.extend(at..at + 8 + length.min(600));
        at += 8 + length.next_multiple_of(8);
    }
    places
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(96))]
    #[test]
    fn no_stream_leaves_anything_behind(
        changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..), 0..6),
        cut in proptest::option::weighted(0.2, proptest::prelude::any::<proptest::sample::Index>()),
    ) {
        let mut stream = sample().to_vec();
        let places = places(&stream);
        for (place, value) in changes {
            stream[places[place.index(places.len())]] = value;
        }
        if let Some(cut) = cut {
            stream.truncate(cut.index(stream.len()));
        }
        let fake = Fake::new(20_000);
        if let Ok(dom) = restore(&fake, &stream) {
            fake.clone().destroy(dom).unwrap();
        }
        let world = fake.0.borrow();
        assert_eq!((world.free, world.mapped, world.domains.len()), (20_000, 0, 0));
    }
}
