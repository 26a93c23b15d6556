//! A guest's memory and registers as a core file: an ELF file in the format of Xen's public `dump-core-format.txt`, version 1.
//!
//! | section | what is in it |
//! |---|---|
//! | `.note.Xen` | notes: that this is such a file, how many CPUs and pages, the hypervisor's version, the format's version |
//! | `.xen_prstatus` | registers, one `vcpu_guest_context` for each CPU |
//! | `.xen_shared_info` | the shared info page |
//! | `.xen_p2m` | pairs of a page's number in the guest and in the machine |
//! | `.xen_pages` | the pages, in the order of the pairs |
//!
//! Dom0 has no file system, so the file begins at sector 0 of a disk of the machine, or of a named one in memory, that no guest uses.
//! Where a guest's pages are is known from the list it publishes (`pfn_to_mfn_frame_list_list`); what it says is checked by the
//! hypervisor when the pages are mapped, and a page that cannot be mapped is left out.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use abi::elfnote::{
    XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, XEN_ELFNOTE_DUMPCORE_HEADER, XEN_ELFNOTE_DUMPCORE_NONE,
    XEN_ELFNOTE_DUMPCORE_XEN_VERSION,
};
use abi::xen::SharedInfo;
use zerocopy::{FromBytes, IntoBytes};

use super::Control;
use crate::DomId;
use crate::block::storage::{SECTOR, Shared};
use crate::hypervisor::{HostInfo, Hypervisor, Window, explain};

/// The machine's first disk: where a core goes if nobody says where.
const USUAL_DISK: &str = "vda";
const PAGE: usize = 4096;
/// Pages copied at a time.
const BATCH: usize = 64;
/// Pages that a guest may claim to have: 64 GiB.
const PAGES_MAX: u64 = 1 << 24;
/// `XEN_DUMPCORE_MAGIC` of the format for PV guests.
const MAGIC: u64 = 0xf00f_ebed;
/// Numbers in a page.
const PER_PAGE: u64 = 512;

/// Where the file header has the number of sections.
const SECTION_COUNT: usize = 60;
const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_NOTE: u32 = 7;

/// A section but its place: name, type, bytes of an entry, contents.
struct Section {
    name: &'static str,
    kind: u32,
    entry: u64,
    data: Vec<u8>,
}

impl<H: Hypervisor> Control<'_, H> {
    /// Writes a guest's memory to a disk. The guest stands still meanwhile.
    pub fn dump_core(&mut self, dom: DomId, disk: &str) -> Result<String, String> {
        self.pause(dom)?;
        let written = self.write_core(dom, disk);
        self.unpause(dom)?;
        written
    }

    /// The same for a domain that ended.
    pub(super) fn core_after_end(&mut self, dom: DomId) -> Result<String, String> {
        self.write_core(dom, USUAL_DISK)
    }

    fn write_core(&mut self, dom: DomId, disk: &str) -> Result<String, String> {
        let storage = self.blocks.unused(disk)?;
        let info = self.hv.domain(dom).map_err(|e| explain("getdomaininfo", e))?;
        let mut shared_info = vec![0; PAGE];
        self.read_frame(dom, info.shared_info, &mut shared_info)?;
        let frames = self.frames_of(dom, &shared_info, info.max_pages)?;
        let mut contexts = Vec::new();
        for vcpu in 0..=info.max_vcpu {
            if let Ok(context) = self.hv.vcpu_context(dom, vcpu) {
                contexts.extend_from_slice(context.as_bytes());
            }
        }
        let host = self.hv.host_info().map_err(|e| explain("physinfo", e))?;
        let cpus = (contexts.len() / size_of::<abi::xen::VcpuGuestContext>()) as u64;
        let p2m =
            frames.iter().flat_map(|(pfn, mfn)| [pfn.to_le_bytes(), mfn.to_le_bytes()].concat()).collect();
        let section = |name, kind, entry, data| Section { name, kind, entry, data };
        let sections = [
            section(".note.Xen", SHT_NOTE, 0, notes(cpus, frames.len() as u64, &host)),
            section(".xen_prstatus", SHT_PROGBITS, size_of::<abi::xen::VcpuGuestContext>() as u64, contexts),
            section(".xen_shared_info", SHT_PROGBITS, PAGE as u64, shared_info),
            section(".xen_p2m", SHT_PROGBITS, 16, p2m),
        ];
        let head = head(&sections, frames.len() as u64 * PAGE as u64);
        let total = head.len() as u64 + frames.len() as u64 * PAGE as u64;
        let room = storage.borrow().sectors() * SECTOR;
        if total > room {
            return Err(format!("the core has {} MiB, {disk} only {}", total.div_ceil(1 << 20), room >> 20));
        }
        may_be_written(&storage).map_err(|why| format!("{disk}: {why}"))?;
        self.put_core(dom, &storage, &head, &frames).map_err(|why| format!("{disk}: {why}"))?;
        Ok(format!(
            "core file of {} pages and {cpus} CPU(s), {total} bytes, at the start of {disk}",
            frames.len()
        ))
    }

    fn put_core(
        &mut self,
        dom: DomId,
        storage: &Shared<'_>,
        head: &[u8],
        frames: &[(u64, u64)],
    ) -> Result<(), String> {
        let failed = |fault| format!("writing failed: {fault:?}");
        let mut disk = storage.borrow_mut();
        disk.write(0, head).map_err(failed)?;
        let mut sector = head.len() as u64 / SECTOR;
        let mut buffer = vec![0; BATCH * PAGE];
        for batch in frames.chunks(BATCH) {
            let mfns: Vec<u64> = batch.iter().map(|(_, mfn)| *mfn).collect();
            let bytes = &mut buffer[..batch.len() * PAGE];
            let window =
                self.hv.map_foreign_read_only(dom, &mfns).map_err(|e| explain("mapping of its pages", e))?;
            window.read(0, bytes);
            disk.write(sector, bytes).map_err(failed)?;
            sector += bytes.len() as u64 / SECTOR;
        }
        disk.flush().map_err(failed)
    }

    fn read_frame(&mut self, dom: DomId, mfn: u64, into: &mut [u8]) -> Result<(), String> {
        let window = self
            .hv
            .map_foreign_read_only(dom, &[mfn])
            .map_err(|e| explain(&format!("mapping of frame {mfn:#x}"), e))?;
        window.read(0, into);
        Ok(())
    }

    /// Which machine frames the guest says are its pages, as far as they can be mapped.
    fn frames_of(
        &mut self,
        dom: DomId,
        shared_info: &[u8],
        max_pages: u64,
    ) -> Result<Vec<(u64, u64)>, String> {
        let (info, _) = SharedInfo::read_from_prefix(shared_info).map_err(|_| "short page".to_string())?;
        let (top, count) = (info.arch.pfn_to_mfn_frame_list_list, info.arch.max_pfn);
        if top == 0 || top == u64::MAX || count == 0 {
            return Err("the guest does not publish which pages it has".to_string());
        }
        // Holes may be listed, too; but the list must not cost more than the guest's memory warrants.
        let most = PAGES_MAX.min(max_pages.saturating_mul(2));
        if count > most {
            return Err(format!("the guest says that it has {count:#x} pages; at most {most:#x} are read"));
        }
        let mut frames = Vec::new();
        let (mut middle, mut leaf) = (vec![0; PAGE], vec![0; PAGE]);
        let mut root = vec![0; PAGE];
        self.read_frame(dom, top, &mut root)?;
        for first in (0..count).step_by(PER_PAGE as usize) {
            let (page, slot) = (first / PER_PAGE / PER_PAGE, first / PER_PAGE % PER_PAGE);
            if slot == 0 {
                self.read_frame(dom, number(&root, page), &mut middle)?;
            }
            self.read_frame(dom, number(&middle, slot), &mut leaf)?;
            let listed = (0..PER_PAGE.min(count - first)).map(|i| (first + i, number(&leaf, i)));
            // The two upper bits mark what is not there or belongs to somebody else.
            frames.extend(listed.filter(|(_, mfn)| mfn >> 62 == 0));
        }
        self.mappable(dom, &mut frames);
        Ok(frames)
    }

    /// Drops what cannot be mapped. Usually all can, so they are tried by the batch.
    fn mappable(&mut self, dom: DomId, frames: &mut Vec<(u64, u64)>) {
        let mut good = Vec::with_capacity(frames.len());
        for batch in frames.chunks(BATCH) {
            let mfns: Vec<u64> = batch.iter().map(|(_, mfn)| *mfn).collect();
            if self.hv.map_foreign_read_only(dom, &mfns).is_ok() {
                good.extend_from_slice(batch);
                continue;
            }
            let single = |(_, mfn): &&(u64, u64)| self.hv.map_foreign_read_only(dom, &[*mfn]).is_ok();
            good.extend(batch.iter().filter(single));
        }
        *frames = good;
    }
}

fn number(page: &[u8], index: u64) -> u64 {
    let at = index as usize * 8;
    page.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn note(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = [4, data.len() as u32, kind].iter().flat_map(|word| word.to_le_bytes()).collect();
    out.extend_from_slice(b"Xen\0");
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn notes(cpus: u64, pages: u64, host: &HostInfo) -> Vec<u8> {
    let numbers = |list: &[u64]| list.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let padded = |text: &str, len: usize| {
        let mut bytes = text.as_bytes().to_vec();
        // The last byte is the end.
        bytes.truncate(len - 1);
        bytes.resize(len, 0);
        bytes
    };
    let (major, minor) = host.version;
    let mut version = numbers(&[major.into(), minor.into()]);
    version.extend(padded(&host.extra_version, 16));
    // Compiler, user, domain and date of the hypervisor's build: not asked for.
    version.extend([0; 64 + 16 + 32 + 32]);
    version.extend(padded(&host.capabilities, 1024));
    // The change set, and where the hypervisor begins.
    version.extend([0; 64]);
    version.extend(numbers(&[0, PAGE as u64]));
    [
        note(XEN_ELFNOTE_DUMPCORE_NONE, &[]),
        note(XEN_ELFNOTE_DUMPCORE_HEADER, &numbers(&[MAGIC, cpus, pages, PAGE as u64])),
        note(XEN_ELFNOTE_DUMPCORE_XEN_VERSION, &version),
        note(XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, &numbers(&[1])),
    ]
    .concat()
}

/// Everything before the pages, in whole pages: file header, section headers, names, the sections that are small.
fn head(sections: &[Section], pages: u64) -> Vec<u8> {
    const HEADER: usize = 64;
    // One that is empty, the pages, and the names.
    let count = sections.len() + 3;
    let mut names = vec![0];
    let mut name = |text: &str| {
        let at = names.len() as u32;
        names.extend_from_slice(text.as_bytes());
        names.push(0);
        at
    };
    let named: Vec<u32> = sections.iter().map(|section| name(section.name)).collect();
    let (pages_name, names_name) = (name(".xen_pages"), name(".shstrtab"));
    let mut body = vec![0; HEADER * (1 + count)];
    let mut table = vec![0; HEADER];
    let mut header = |name: u32, kind: u32, at: usize, size: u64, entry: u64| {
        table.extend_from_slice(&name.to_le_bytes());
        table.extend_from_slice(&kind.to_le_bytes());
        // Flags and address; then place and size; link and info; alignment and entry size.
        let words = [0, 0, at as u64, size, 0, 1, entry];
        table.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
    };
    for (section, name) in sections.iter().zip(named) {
        body.resize(body.len().next_multiple_of(8), 0);
        header(name, section.kind, body.len(), section.data.len() as u64, section.entry);
        body.extend_from_slice(&section.data);
    }
    let (names_at, names_len) = (body.len(), names.len() as u64);
    body.extend_from_slice(&names);
    body.resize(body.len().next_multiple_of(PAGE), 0);
    header(pages_name, SHT_PROGBITS, body.len(), pages, PAGE as u64);
    header(names_name, SHT_STRTAB, names_at, names_len, 0);
    body[..HEADER].copy_from_slice(&file_header(count as u16));
    body[HEADER..HEADER * (1 + count)].copy_from_slice(&table);
    body
}

/// Refuses a disk that holds something: a core goes to one that begins with zeros, or with an older core.
fn may_be_written(storage: &Shared<'_>) -> Result<(), String> {
    let mut start = vec![0; 2 * PAGE];
    let read = storage.borrow_mut().read(0, &mut start);
    read.map_err(|fault| format!("it cannot be read: {fault:?}"))?;
    let blank = start.iter().all(|byte| *byte == 0);
    let (core, at) = (file_header(0), SECTION_COUNT);
    if blank || start[..at] == core[..at] {
        return Ok(());
    }
    Err("it holds something else, and a core is written over an older core or a blank disk only".to_string())
}

/// The file header: a core file for x86-64, whose section headers follow it and whose names come last.
fn file_header(count: u16) -> [u8; 64] {
    let mut out = [0; 64];
    out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    out[16..18].copy_from_slice(&4u16.to_le_bytes());
    out[18..20].copy_from_slice(&62u16.to_le_bytes());
    out[20..24].copy_from_slice(&1u32.to_le_bytes());
    out[40..48].copy_from_slice(&64u64.to_le_bytes());
    out[52..54].copy_from_slice(&64u16.to_le_bytes());
    for (at, value) in [(58, 64), (SECTION_COUNT, count), (62, count.saturating_sub(1))] {
        out[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::storage::{Ram, share};
    use crate::fake::{self, Fake};
    use crate::files::Files;
    use elf::ElfBytes;
    use elf::endian::LittleEndian;

    /// Writes numbers to a frame of the guest.
    fn set(fake: &Fake, mfn: u64, at: usize, numbers: &[u64]) {
        fake.poke(mfn, at, &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>());
    }

    #[test]
    fn a_core_file_has_all_pages() {
        let kernel = fake::kernel(b"the kernel's text");
        let archive = fake::archive(&[("guests/g.cfg", b"kernel = 'k'\nmemory = 8"), ("guests/k", &kernel)]);
        let (files, _) = Files::read(&archive);
        let fake = Fake::new(100_000);
        let mut control = Control::new(fake.clone(), files);
        let dom = control.create("g", false).unwrap().dom;
        assert!(control.dump_core(dom, "vda").unwrap_err().contains("there is no disk vda"));
        let disk = share(Ram::new(16 << 20).unwrap());
        control.blocks.add_machine_disk("vda", fake::Same(disk.clone()));
        assert!(control.dump_core(dom, "vda").unwrap_err().contains("does not publish"));

        // The guest publishes its list: three levels, and a page that it has not, one that is not its own.
        let mfns = fake.frames_of(dom.0);
        let (top, middle) = (mfns[10], mfns[11]);
        let leaves = &mfns[20..24];
        set(&fake, top, 0, &[middle]);
        set(&fake, middle, 0, leaves);
        for (leaf, list) in leaves.iter().zip(mfns.chunks(512)) {
            set(&fake, *leaf, 0, list);
        }
        set(&fake, leaves[0], 5 * 8, &[u64::MAX, 7]);
        let shared = core::mem::offset_of!(SharedInfo, arch);
        set(&fake, fake.shared_info(dom.0), shared, &[2048, top]);

        disk.borrow_mut().write(8, &[1; 512]).unwrap();
        assert!(control.dump_core(dom, "vda").unwrap_err().contains("vda: it holds something else"));
        disk.borrow_mut().write(8, &[0; 512]).unwrap();

        // The second one replaces the first.
        control.dump_core(dom, "vda").unwrap();
        set(&fake, fake.shared_info(dom.0), shared, &[1 << 24, top]);
        assert!(control.dump_core(dom, "vda").unwrap_err().contains("it has 0x1000000 pages"));
        set(&fake, fake.shared_info(dom.0), shared, &[2048, top]);
        let said = control.dump_core(dom, "vda").unwrap();
        assert!(said.starts_with("core file of 2046 pages and 1 CPU(s), "), "{said}");
        let mut bytes = vec![0; 16 << 20];
        disk.borrow_mut().read(0, &mut bytes).unwrap();
        let elf = ElfBytes::<LittleEndian>::minimal_parse(&bytes).unwrap();
        let section = |name| elf.section_header_by_name(name).unwrap().unwrap();
        let p2m = elf.section_data(&section(".xen_p2m")).unwrap().0;
        let pages = elf.section_data(&section(".xen_pages")).unwrap().0;
        let text = mfns[0x100];
        let at = p2m.chunks(16).position(|pair| number(pair, 1) == text).unwrap();
        assert_eq!(number(&p2m[at * 16..], 0), 0x100);
        assert!(pages[at * PAGE..].starts_with(b"the kernel's text"));
        let notes: Vec<_> = elf.section_data_as_notes(&section(".note.Xen")).unwrap().collect();
        assert_eq!(notes.len(), 4);
        assert_eq!(section(".xen_prstatus").sh_size, size_of::<abi::xen::VcpuGuestContext>() as u64);
        assert_eq!((fake.0.borrow().mapped, fake.is_paused(dom.0)), (2, false));
    }
}
