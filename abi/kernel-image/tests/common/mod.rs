//! Builds small kernels in memory.
#![allow(dead_code, reason = "each test crate uses its own part")]

/// An ELF to be: program headers, notes and optional `__xen_guest` text.
pub struct Builder {
    pub bits: u8,
    pub machine: u16,
    pub e_type: u16,
    pub entry: u64,
    /// paddr, file size, memory size.
    pub loads: Vec<(u64, u64, u64)>,
    /// type, value.
    pub notes: Vec<(u32, Vec<u8>)>,
    pub guest_section: Option<&'static str>,
    /// Put the notes in a section instead of a segment.
    pub notes_in_section: bool,
}

pub fn num(value: u64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

pub fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), b"\0"].concat()
}

pub const BASE: u64 = 0xffff_ffff_8000_0000;

impl Builder {
    /// A kernel like Linux: 16 MiB above its base, three pages of memory.
    pub fn linux() -> Self {
        Self {
            bits: 64,
            machine: 62,
            e_type: 2,
            entry: 0x100_0000,
            loads: vec![(0x100_0000, 0x1800, 0x2000), (0x100_2000, 0x10, 0x1000)],
            notes: vec![
                (1, num(BASE + 0x100_0000)),
                (2, num(BASE + 0x100_1000)),
                (3, num(BASE)),
                (5, text("xen-3.0")),
                (6, text("linux")),
                (8, text("generic")),
                (10, text("!writable_page_tables|pae_pgdir_above_4gb")),
            ],
            guest_section: None,
            notes_in_section: false,
        }
    }

    pub fn note(mut self, kind: u32, value: Vec<u8>) -> Self {
        self.notes.retain(|(other, _)| *other != kind);
        self.notes.push((kind, value));
        self
    }

    pub fn without_notes(mut self) -> Self {
        self.notes.clear();
        self
    }

    fn note_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, value) in &self.notes {
            for word in [4, value.len() as u32, *kind] {
                out.extend(word.to_le_bytes());
            }
            out.extend(b"Xen\0");
            out.extend(value);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    pub fn build(&self) -> Vec<u8> {
        let wide = self.bits == 64;
        let (header_size, ph_size, sh_size) = if wide { (64u64, 56u64, 64u64) } else { (52, 32, 40) };
        let notes = self.note_bytes();
        let in_segment = !self.notes_in_section && !notes.is_empty();
        let headers = self.loads.len() as u64 + u64::from(in_segment);
        let mut body = Vec::new();
        let start = header_size + headers * ph_size;
        let mut program = Vec::new();
        let put = |out: &mut Vec<u8>, fields: &[(u64, bool)]| {
            for (value, is_word) in fields {
                match wide && *is_word {
                    true => out.extend(value.to_le_bytes()),
                    false => out.extend((*value as u32).to_le_bytes()),
                }
            }
        };
        let mut ph = |kind, offset, paddr, file, mem| {
            let mut fields = vec![(kind, false)];
            if wide {
                fields.push((7, false));
            }
            fields.extend([(offset, true), (paddr, true), (paddr, true), (file, true), (mem, true)]);
            if !wide {
                fields.push((7, false));
            }
            fields.push((4, true));
            put(&mut program, &fields);
        };
        for (paddr, file, mem) in &self.loads {
            ph(1, start + body.len() as u64, *paddr, *file, *mem);
            body.extend((0..*file).map(|i| i as u8));
        }
        let notes_at = start + body.len() as u64;
        if in_segment {
            ph(4, notes_at, 0, notes.len() as u64, 0);
        }
        body.extend(&notes);
        let names = b"\0.shstrtab\0__xen_guest\0.note.Xen\0";
        let names_at = start + body.len() as u64;
        body.extend(names);
        let guest_at = start + body.len() as u64;
        let guest = self.guest_section.unwrap_or("").as_bytes();
        body.extend(guest);
        let sections_at = start + body.len() as u64;
        let mut sections = vec![
            [0u64; 4],
            [1, 3, names_at, names.len() as u64],
            [11, 1, guest_at, guest.len() as u64],
            [23, 7, notes_at, notes.len() as u64],
        ];
        if self.guest_section.is_none() {
            sections[2][0] = 0;
        }
        if !self.notes_in_section {
            sections[3][1] = 1;
        }
        for [name, kind, offset, size] in &sections {
            put(
                &mut body,
                &[
                    (*name, false),
                    (*kind, false),
                    (0, true),
                    (0, true),
                    (*offset, true),
                    (*size, true),
                    (0, false),
                    (0, false),
                    (4, true),
                    (0, true),
                ],
            );
        }
        let mut out = b"\x7fELF".to_vec();
        out.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(self.e_type.to_le_bytes());
        out.extend(self.machine.to_le_bytes());
        put(
            &mut out,
            &[(1, false), (self.entry, true), (header_size, true), (sections_at, true), (0, false)],
        );
        for half in [header_size, ph_size, headers, sh_size, sections.len() as u64, 1] {
            out.extend((half as u16).to_le_bytes());
        }
        out.extend(program);
        out.extend(body);
        out
    }
}

/// A bzImage of protocol `version` around `payload`.
pub fn bzimage(version: u16, payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 5 * 512 + 0x40];
    file[0x1f1] = 4;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&version.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&0x40u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend(payload);
    file
}
