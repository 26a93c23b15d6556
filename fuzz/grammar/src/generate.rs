//! Makes calls from rows.

use abi::xen::hypercall::MULTICALL;

use crate::source::Source;
use crate::table::{Arg, Field, Row, rows};

/// Bytes of the scratch page, where structures go.
pub const SCRATCH: usize = 4096;

/// Lists that structures point to: frame numbers to read, and room for answers.
const LISTS: usize = 2048;
const ROOM: usize = 3072;
/// Entries of a multicall, and the bytes of each one's own structures.
const ENTRY: usize = 64;
const PART: usize = 256;
const PARTS: usize = 512;
/// Most entries of one multicall.
const ENTRIES: u64 = 5;

/// What exists, from which arguments are taken.
#[derive(Clone, Copy, Debug)]
pub struct Pools<'a> {
    /// Frames that may be named, its own and others'.
    pub frames: &'a [u64],
    /// Frames of page tables.
    pub tables: &'a [u64],
    /// Addresses of pages whose mappings may be changed.
    pub pages: &'a [u64],
    /// Domains.
    pub domains: &'a [u16],
    /// Address of the scratch page.
    pub scratch: u64,
    /// Number of the machine's frames.
    pub end: u64,
    /// Event ports and grants below this are in use by others and not touched.
    pub reserved: u32,
}

/// What must not be asked for.
pub trait Permit {
    /// Whether entries of this table, or contents of this frame, may be changed: `slot` is the number of the entry, if it is one.
    fn frame(&self, mfn: u64, slot: Option<u64>) -> bool;
    /// Whether the mapping of this address may be changed.
    fn page(&self, va: u64) -> bool;
    /// Whether the command may be given (`None` for a hypercall without commands), inside a multicall or outside.
    fn command(&self, number: u64, command: Option<u32>, in_multicall: bool) -> bool;
}

/// A call that is ready to be made; its structures are in the scratch page.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Number of the row in the table.
    pub row: usize,
    /// RAX.
    pub number: u64,
    /// RDI, RSI, RDX, R10, R8.
    pub args: [u64; 5],
}

struct Maker<'a, S, W> {
    source: &'a mut S,
    permit: &'a W,
    pools: &'a Pools<'a>,
    page: &'a mut [u8],
    number: u64,
    in_multicall: bool,
}

/// Makes a call from a row that the source chooses.
pub fn generate(
    source: &mut impl Source,
    permit: &impl Permit,
    pools: &Pools<'_>,
    page: &mut [u8; SCRATCH],
) -> Request {
    let mut maker = Maker { source, permit, pools, page: &mut page[..], number: 0, in_multicall: false };
    maker.lists();
    let row = maker.choose(false);
    if rows()[row].number == MULTICALL { maker.multicall(row) } else { maker.call(row, 0, LISTS) }
}

impl<S: Source, W: Permit> Maker<'_, S, W> {
    /// Fills the lists with frames.
    fn lists(&mut self) {
        for at in (LISTS..LISTS + 64).step_by(8) {
            let frame = self.frame();
            self.put(at, 8, frame);
        }
    }

    fn choose(&mut self, in_multicall: bool) -> usize {
        // A few tries; the first row is harmless.
        let all = rows();
        let found = (0..8).find_map(|_| {
            let row = self.source.below(all.len() as u64) as usize;
            let fit = !(in_multicall && all[row].number == MULTICALL);
            (fit && self.permits(&all[row], in_multicall)).then_some(row)
        });
        found.unwrap_or(0)
    }

    fn permits(&self, row: &Row, in_multicall: bool) -> bool {
        match row.commands {
            [] => self.permit.command(row.number, None, in_multicall),
            list => list.iter().any(|&command| self.permit.command(row.number, Some(command), in_multicall)),
        }
    }

    /// One of the commands, which is permitted if any is.
    fn command(&mut self, list: &[u32]) -> u32 {
        let start = self.source.below(list.len() as u64) as usize;
        let from_there = list[start..].iter().chain(&list[..start]);
        let good = |command: &&u32| self.permit.command(self.number, Some(**command), self.in_multicall);
        from_there.copied().find(|command| good(&command)).unwrap_or(list[start])
    }

    fn multicall(&mut self, row: usize) -> Request {
        let count = 1 + self.source.below(ENTRIES);
        self.in_multicall = true;
        for n in 0..count as usize {
            let inner = self.choose(true);
            let part = PARTS + n * PART;
            let request = self.call(inner, part, part + PART);
            self.put(n * ENTRY, 8, request.number);
            for (at, arg) in request.args.iter().enumerate() {
                self.put(n * ENTRY + 16 + at * 8, 8, *arg);
            }
        }
        Request { row, number: MULTICALL, args: [self.pools.scratch, count, 0, 0, 0] }
    }

    /// One call whose structures are in `from..to` of the scratch page.
    fn call(&mut self, row: usize, from: usize, to: usize) -> Request {
        let shape = &rows()[row];
        self.number = shape.number;
        let size: usize = shape.data.iter().map(|field| field.size()).sum();
        let most = ((to - from) / size.max(1)).clamp(1, 4) as u64;
        let count = if shape.args.contains(&Arg::Count) { 1 + self.source.below(most) } else { 1 };
        let mut at = from;
        for _ in 0..count {
            for field in shape.data {
                let value = self.field(*field);
                if at + field.size() <= to {
                    self.put(at, field.size().min(8), value);
                }
                at += field.size();
            }
        }
        let mut args = [0; 5];
        for (slot, arg) in args.iter_mut().zip(shape.args) {
            *slot = match arg {
                Arg::Is(value) => *value,
                Arg::Data => self.pointer(from),
                Arg::Count => self.broken_count(count),
                Arg::Of(field) => self.field(*field),
            };
        }
        Request { row, number: shape.number, args }
    }

    /// A pointer into the scratch page; sometimes one that goes astray.
    fn pointer(&mut self, at: usize) -> u64 {
        let good = self.pools.scratch + at as u64;
        match self.source.below(32) {
            29 => good + 1 + self.source.below(8),
            30 => self.pools.scratch + SCRATCH as u64 - 1 - self.source.below(16),
            31 => self.astray(),
            _ => good,
        }
    }

    fn broken_count(&mut self, count: u64) -> u64 {
        match self.source.below(32) {
            29 => 0,
            30 => [u64::MAX, 1 << 31, 1 << 32, 0x8000_0001][self.source.below(4) as usize] | count,
            31 => count + self.source.below(64),
            _ => count,
        }
    }

    /// An address at which nobody has memory.
    fn astray(&mut self) -> u64 {
        let places = [
            0,
            0x7fff_ffff_fff8,
            0x8000_0000_0000,
            0xffff_7fff_ffff_fff8,
            0xffff_8000_0000_0000,
            0xffff_82d0_4020_0000,
            0xffff_87ff_ffff_fffc,
            u64::MAX,
        ];
        places[self.source.below(places.len() as u64) as usize]
    }

    fn put(&mut self, at: usize, size: usize, value: u64) {
        if let Some(place) = self.page.get_mut(at..at + size) {
            place.copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }

    /// A frame that may be named; once in a while one that does not exist, or is somebody else's.
    fn frame(&mut self) -> u64 {
        let frame = match self.source.below(24) {
            20 => self.pick_table(),
            21 => self.source.below(self.pools.end + 16),
            22 => {
                [0, u64::MAX, self.pools.end, 1 << 40, 1 << 28, u64::MAX >> 12][self.source.below(6) as usize]
            }
            _ => self.pick(self.pools.frames),
        };
        if self.permit.frame(frame, None) { frame } else { self.pick(self.pools.frames) }
    }

    fn pick(&mut self, pool: &[u64]) -> u64 {
        pool[self.source.below(pool.len() as u64) as usize]
    }

    fn pick_table(&mut self) -> u64 {
        self.pick(self.pools.tables)
    }

    fn page(&mut self) -> u64 {
        let page = self.pick(self.pools.pages);
        let strange = match self.source.below(24) {
            21 => page + self.source.below(4096),
            22 => self.astray(),
            23 => self.source.word(),
            _ => page,
        };
        if self.permit.page(strange) { strange } else { page }
    }

    /// A page-table entry: a frame with flags of all sorts.
    fn entry(&mut self) -> u64 {
        const FLAGS: [u64; 20] = [
            0x67,
            0x67,
            0x67,
            0x65,
            0x63,
            0x27,
            0x25,
            0x07,
            0x05,
            0x03,
            0x01,
            0x00,
            0xe7,
            0x77,
            0x6f,
            0x167,
            0xe67,
            0x8000_0000_0000_0065,
            0x7ff0_0000_0000_0067,
            0x0050_0000_0000_0067,
        ];
        let frame = if self.source.once_in(4) { self.pick_table() } else { self.frame() };
        let flags = FLAGS[self.source.below(FLAGS.len() as u64) as usize];
        (frame << 12 & 0x000f_ffff_ffff_f000) | flags
    }

    /// The machine address of an entry, with the kind of update in its low bits.
    fn slot(&mut self) -> u64 {
        let table = if self.source.once_in(8) { self.frame() } else { self.pick_table() };
        let index = match self.source.below(4) {
            0 => [0, 1, 255, 256, 271, 272, 511, 510][self.source.below(8) as usize],
            _ => self.source.below(512),
        };
        let kind = if self.source.once_in(4) { self.source.below(8) } else { 0 };
        if self.permit.frame(table, Some(index)) {
            table << 12 | index << 3 | kind
        } else {
            self.pick(self.pools.frames) << 12 | index << 3 | kind
        }
    }

    fn small(&mut self, end: u32) -> u64 {
        match self.source.below(16) {
            14 => u64::from(end) + self.source.below(3),
            15 => [u64::MAX, 0x7fff_ffff, 0x8000_0000, 0xffff, 1 << 20, u64::MAX << 32]
                [self.source.below(6) as usize],
            _ => self.source.below(u64::from(end.max(1))),
        }
    }

    fn field(&mut self, field: Field) -> u64 {
        match field {
            Field::Is8(value) => u64::from(value),
            Field::Is16(value) => u64::from(value),
            Field::Is32(value) => u64::from(value),
            Field::Is64(value) => value,
            Field::OneOf(list) => u64::from(self.command(list)),
            Field::Zero(_) => 0,
            Field::Small8(end) | Field::Small16(end) | Field::Small32(end) | Field::Small64(end) => {
                self.small(end)
            }
            Field::Domain | Field::Domain32 | Field::Domain64 => {
                if self.source.once_in(24) {
                    self.source.below(0x1_0000)
                } else {
                    u64::from(self.pools.domains[self.source.below(self.pools.domains.len() as u64) as usize])
                }
            }
            Field::Own => 0x7ff0,
            Field::Port | Field::Grant => {
                let number = self.small(48);
                // What others use is left alone.
                if number < u64::from(self.pools.reserved) {
                    number + u64::from(self.pools.reserved)
                } else {
                    number
                }
            }
            Field::Frame => self.frame(),
            Field::Frame32 => self.frame() & 0xffff_ffff,
            Field::Root => {
                let table = self.pick_table();
                if self.permit.frame(table, None) { table } else { self.pick(self.pools.frames) }
            }
            Field::Page => self.page(),
            Field::Entry => self.entry(),
            Field::Slot => self.slot(),
            Field::MapTarget => {
                if self.source.once_in(2) {
                    self.page()
                } else {
                    self.slot()
                }
            }
            Field::FrameList => self.pointer(LISTS),
            Field::Room => {
                let part = self.source.below(8) as usize;
                self.pointer(ROOM + 64 * part)
            }
            Field::RoomOrNone => {
                if self.source.once_in(4) {
                    self.pointer(ROOM)
                } else {
                    0
                }
            }
            Field::Random8 => u64::from(self.source.byte()),
            Field::Random32 => self.source.word() & 0xffff_ffff,
            Field::Random64 => self.source.word(),
            Field::Address => {
                if self.source.once_in(2) {
                    self.astray()
                } else {
                    self.page()
                }
            }
            Field::Soon => [0, 1, 1 << 20, 1 << 40, u64::MAX, 1 << 63][self.source.below(6) as usize],
        }
    }
}
