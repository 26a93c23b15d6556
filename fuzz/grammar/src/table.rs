//! The rows: one for each hypercall and sub-operation whose structure matters, and one for all others of a hypercall.

use abi::xen::hypercall as number;

/// What belongs into a field of a structure, or into an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the numbers are widths in bits")]
pub enum Field {
    /// A constant.
    Is8(u8),
    Is16(u16),
    Is32(u32),
    Is64(u64),
    /// One of these commands, as 32 bits.
    OneOf(&'static [u32]),
    /// So many bytes of padding.
    Zero(usize),
    /// A number below this, as a rule.
    Small8(u32),
    Small16(u32),
    Small32(u32),
    Small64(u32),
    /// A domain's number.
    Domain,
    Domain32,
    Domain64,
    /// `DOMID_SELF`, 16 bits.
    Own,
    /// An event port or a grant, 32 bits.
    Port,
    Grant,
    /// A machine frame.
    Frame,
    Frame32,
    /// A frame that is a page table, most likely.
    Root,
    /// The address of a page.
    Page,
    /// A page-table entry.
    Entry,
    /// The machine address of a page-table entry.
    Slot,
    /// Where a grant is mapped: a page, or the machine address of an entry.
    MapTarget,
    /// A pointer to a list of frames.
    FrameList,
    /// A pointer to room for an answer.
    Room,
    RoomOrNone,
    /// Anything.
    Random8,
    Random32,
    Random64,
    /// An address that may be nonsense.
    Address,
    /// A time.
    Soon,
}

impl Field {
    /// Bytes.
    pub const fn size(self) -> usize {
        match self {
            Field::Zero(bytes) => bytes,
            Field::Is8(_) | Field::Small8(_) | Field::Random8 => 1,
            Field::Is16(_) | Field::Small16(_) | Field::Domain | Field::Own => 2,
            Field::Is32(_)
            | Field::OneOf(_)
            | Field::Small32(_)
            | Field::Domain32
            | Field::Port
            | Field::Grant
            | Field::Frame32
            | Field::Random32 => 4,
            _ => 8,
        }
    }
}

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A constant.
    Is(u64),
    /// The address of the structure.
    Data,
    /// The number of structures.
    Count,
    /// A value of this sort.
    Of(Field),
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number of the hypercall.
    pub number: u64,
    /// Commands that this row makes; none for a hypercall that does a single thing.
    pub commands: &'static [u32],
    /// The arguments.
    pub args: &'static [Arg],
    /// The fields of the structure behind the pointer, in order.
    pub data: &'static [Field],
}

use Arg::{Count, Data, Is, Of};
use Field::*;

const fn row(number: u64, args: &'static [Arg], data: &'static [Field]) -> Row {
    Row { number, commands: &[], args, data }
}

/// A row for one command, which is in the arguments or in the structure.
const fn sub(number: u64, commands: &'static [u32], args: &'static [Arg], data: &'static [Field]) -> Row {
    Row { number, commands, args, data }
}

macro_rules! plain {
    ($number:ident, $command:expr, [$($field:expr),* $(,)?]) => {
        sub(number::$number, &[$command], &[Is($command), Data], &[$($field),*])
    };
}

macro_rules! vcpu {
    ($command:expr, [$($field:expr),* $(,)?]) => {
        sub(number::VCPU_OP, &[$command], &[Is($command), Of(Small64(3)), Data], &[$($field),*])
    };
}

macro_rules! grant {
    ($command:expr, [$($field:expr),* $(,)?]) => {
        sub(number::GRANT_TABLE_OP, &[$command], &[Is($command), Data, Count], &[$($field),*])
    };
}

macro_rules! domctl {
    ($commands:expr, [$($field:expr),* $(,)?]) => {
        sub(
            number::DOMCTL,
            $commands,
            &[Data],
            &[OneOf($commands), Is32(abi::domctl::XEN_DOMCTL_INTERFACE_VERSION), Domain, Zero(6), $($field),*],
        )
    };
}

macro_rules! sysctl {
    ($commands:expr, [$($field:expr),* $(,)?]) => {
        sub(
            number::SYSCTL,
            $commands,
            &[Data],
            &[OneOf($commands), Is32(abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION), $($field),*],
        )
    };
}

/// Operations of `mmuext_op` on a frame.
const MMUEXT_FRAMES: &[u32] = &[0, 1, 2, 3, 4, 5, 15, 16, 17];
/// Operations of `mmuext_op` on the address space, or on nothing.
const MMUEXT_OTHERS: &[u32] = &[6, 7, 8, 9, 10, 11, 12, 13, 18, 19, 20];
/// Operations of `memory_op` that take no structure, or that PV guests have no use for.
const MEMORY_OTHERS: &[u32] = &[2, 3, 4, 14, 16, 17, 18, 19, 20, 21, 22, 26, 27];
const VERSIONS: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const PHYSDEV_OTHERS: &[u32] =
    &[4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31];
const ASSISTS: &[u32] = &[0, 1, 2, 3, 4, 5, 32];
const DOMCTL_SIMPLE: &[u32] = &[2, 3, 4, 5, 22, 24, 27, 68, 69];
const DOMCTL_OTHERS: &[u32] = &[
    10, 16, 17, 18, 19, 20, 21, 23, 26, 28, 29, 33, 34, 35, 36, 37, 38, 39, 40, 42, 43, 44, 45, 46, 47, 48,
    50, 54, 55, 56, 57, 59, 60, 62, 63, 64, 65, 66, 67, 71, 72, 73, 74, 75, 77, 78, 79, 81, 82, 83, 84, 85,
    86, 1000, 1001, 1002, 1003,
];
const SYSCTL_OTHERS: &[u32] =
    &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 29];
const PLATFORM: &[u32] =
    &[17, 31, 32, 33, 35, 39, 48, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63];
/// What all else may find behind a pointer.
const MIXED: &[Field] = &[
    Random32,
    Small32(4),
    FrameList,
    Small64(64),
    Room,
    Domain,
    Zero(2),
    Small32(8),
    Random64,
    RoomOrNone,
    Small32(16),
    Port,
    FrameList,
    Random64,
    Small64(512),
    Address,
];

/// All rows. The first one is harmless everywhere.
pub const fn rows() -> &'static [Row] {
    ROWS
}

static ROWS: &[Row] = &[
    sub(number::XEN_VERSION, VERSIONS, &[Of(OneOf(VERSIONS)), Data], MIXED),
    row(number::SET_TRAP_TABLE, &[Data], &[Random8, Small8(8), Is16(0xe033), Zero(4), Address, Zero(16)]),
    sub(number::MMU_UPDATE, &[0, 1, 2, 3], &[Data, Count, Of(RoomOrNone), Of(Domain64)], &[Slot, Entry]),
    sub(number::MMU_UPDATE, &[0, 1, 2, 3], &[Data, Count, Of(RoomOrNone), Is(0x7ff0)], &[Slot, Entry]),
    row(number::SET_GDT, &[Of(FrameList), Of(Small64(1024))], &[]),
    row(number::STACK_SWITCH, &[Of(Small64(0x1_0000)), Of(Address)], &[]),
    row(number::SET_CALLBACKS, &[Of(Address), Of(Address), Of(Address)], &[]),
    row(number::FPU_TASKSWITCH, &[Of(Small64(2))], &[]),
    row(number::SET_DEBUGREG, &[Of(Small64(8)), Of(Address)], &[]),
    row(number::SET_DEBUGREG, &[Is(7), Of(Random64)], &[]),
    row(number::GET_DEBUGREG, &[Of(Small64(8))], &[]),
    row(number::UPDATE_DESCRIPTOR, &[Of(Slot), Of(Random64)], &[]),
    row(number::UPDATE_DESCRIPTOR, &[Of(Slot), Is(0x00af_fb00_0000_ffff)], &[]),
    // memory_op
    sub(
        number::MEMORY_OP,
        &[0, 1, 6],
        &[Of(OneOf(&[0, 1, 6])), Data],
        &[FrameList, Small64(9), Small32(2), Is32(0), Own, Zero(6)],
    ),
    sub(
        number::MEMORY_OP,
        &[0, 1, 6],
        &[Of(OneOf(&[0, 1, 6])), Data],
        &[FrameList, Small64(9), Small32(20), Random32, Domain, Zero(6)],
    ),
    plain!(
        MEMORY_OP,
        11,
        [
            FrameList,
            Small64(3),
            Small32(2),
            Is32(0),
            Own,
            Zero(6),
            Room,
            Small64(3),
            Small32(2),
            Is32(0),
            Own,
            Zero(6),
            Small64(2),
        ]
    ),
    plain!(MEMORY_OP, 5, [Small32(4), Zero(4), Room, Small32(4), Zero(4)]),
    plain!(MEMORY_OP, 25, [Small32(4), Zero(4), Room, Small32(4), Zero(4)]),
    plain!(MEMORY_OP, 7, [Domain, Small16(8), Small32(5), Small64(64), Frame]),
    plain!(MEMORY_OP, 9, [Small32(8), Zero(4), Room]),
    plain!(MEMORY_OP, 10, [Small32(8), Zero(4), Room]),
    plain!(MEMORY_OP, 12, [Zero(24)]),
    plain!(MEMORY_OP, 13, [Domain, Zero(6), Small32(8), Zero(4), FrameList]),
    plain!(MEMORY_OP, 15, [Domain, Zero(6), Frame]),
    plain!(MEMORY_OP, 23, [Domain, Small16(5), Small16(4), Domain, FrameList, FrameList, Room]),
    plain!(MEMORY_OP, 24, [Small64(64), Zero(12), Domain, Zero(2)]),
    plain!(MEMORY_OP, 28, [Domain, Small16(3), Small32(4), Small32(4), Zero(4), Small64(4), RoomOrNone]),
    sub(number::MEMORY_OP, MEMORY_OTHERS, &[Of(OneOf(MEMORY_OTHERS)), Data], &[Domain, Zero(6), Random64]),
    row(number::MULTICALL, &[Data, Count], &[]),
    row(number::UPDATE_VA_MAPPING, &[Of(Page), Of(Entry), Of(Small64(4))], &[]),
    row(number::UPDATE_VA_MAPPING, &[Of(Page), Of(Entry), Of(Room)], &[]),
    row(number::UPDATE_VA_MAPPING_OTHERDOMAIN, &[Of(Page), Of(Entry), Of(Small64(4)), Of(Domain64)], &[]),
    row(number::SET_TIMER_OP, &[Of(Soon)], &[]),
    row(
        number::EVENT_CHANNEL_OP_COMPAT,
        &[Data],
        &[OneOf(&[0, 1, 2, 4, 5, 6, 7, 8, 9]), Domain, Zero(2), Port, Port],
    ),
    sub(number::CONSOLE_IO, &[0, 1], &[Of(Small64(2)), Of(Small64(16)), Of(Room)], &[]),
    row(number::PHYSDEV_OP_COMPAT, &[Data], &[OneOf(PHYSDEV_OTHERS), Random32, Random32, Random32]),
    // grant_table_op
    grant!(0, [MapTarget, Small32(64), Grant, Domain, Zero(2), Zero(4), Zero(8)]),
    grant!(1, [MapTarget, Zero(8), Small32(16), Zero(4)]),
    grant!(1, [MapTarget, Frame, Small32(16), Zero(4)]),
    grant!(2, [Domain, Zero(2), Small32(4), Zero(8), Room]),
    grant!(3, [Domain, Zero(6)]),
    grant!(4, [Frame, Domain, Zero(2), Grant, Zero(8)]),
    grant!(
        5,
        [
            Grant,
            Zero(4),
            Domain,
            Small16(4096),
            Zero(4),
            Frame,
            Own,
            Small16(4096),
            Zero(4),
            Small16(4096),
            Small16(4),
            Zero(4)
        ]
    ),
    grant!(
        5,
        [
            Frame,
            Own,
            Small16(4096),
            Zero(4),
            Grant,
            Zero(4),
            Domain,
            Small16(4096),
            Zero(4),
            Small16(4096),
            Small16(4),
            Zero(4)
        ]
    ),
    grant!(
        5,
        [
            Grant,
            Zero(4),
            Domain,
            Small16(4096),
            Zero(4),
            Grant,
            Zero(4),
            Domain,
            Small16(4096),
            Zero(4),
            Small16(128),
            Is16(3),
            Zero(4)
        ]
    ),
    grant!(6, [Domain, Zero(2), Zero(12)]),
    grant!(7, [Page, Page, Small32(16), Zero(4)]),
    grant!(8, [Small32(3)]),
    grant!(9, [Small32(4), Domain, Zero(2), Room]),
    grant!(10, [Domain, Zero(2), Zero(4)]),
    grant!(11, [Grant, Grant, Zero(4)]),
    grant!(12, [Frame, Small16(4096), Small16(4096), Small32(4)]),
    sub(number::VM_ASSIST, ASSISTS, &[Of(Small64(2)), Of(OneOf(ASSISTS))], &[]),
    row(number::IRET, &[], &[]),
    // vcpu_op
    vcpu!(0, [Random64, Random64, Random64, Random64, Random64, Random64, Random64, Random64]),
    sub(number::VCPU_OP, &[1, 2, 3], &[Of(OneOf(&[1, 2, 3])), Of(Small64(3)), Data], &[]),
    vcpu!(4, [Zero(48)]),
    vcpu!(5, [Room]),
    vcpu!(6, [Soon]),
    sub(number::VCPU_OP, &[7, 9], &[Of(OneOf(&[7, 9])), Of(Small64(3)), Data], &[]),
    vcpu!(8, [Soon, Small32(2), Zero(4)]),
    vcpu!(10, [Frame, Small32(4096), Zero(4)]),
    vcpu!(11, []),
    vcpu!(12, [Zero(8)]),
    vcpu!(13, [Room]),
    sub(number::SET_SEGMENT_BASE, &[0, 1, 2, 3], &[Of(Small64(4)), Of(Address)], &[]),
    sub(number::SET_SEGMENT_BASE, &[3], &[Is(3), Of(Small64(0x1_0000))], &[]),
    // mmuext_op
    sub(
        number::MMUEXT_OP,
        MMUEXT_FRAMES,
        &[Data, Count, Of(RoomOrNone), Is(0x7ff0)],
        &[OneOf(MMUEXT_FRAMES), Zero(4), Frame, Frame],
    ),
    sub(
        number::MMUEXT_OP,
        &[0, 1, 2, 3, 4, 5, 15],
        &[Data, Count, Of(RoomOrNone), Is(0x7ff0)],
        &[OneOf(&[0, 1, 2, 3, 4, 5, 15]), Zero(4), Root, Zero(8)],
    ),
    sub(
        number::MMUEXT_OP,
        MMUEXT_OTHERS,
        &[Data, Count, Of(RoomOrNone), Of(Domain64)],
        &[OneOf(MMUEXT_OTHERS), Zero(4), Page, Room],
    ),
    sub(
        number::MMUEXT_OP,
        &[13],
        &[Data, Is(1), Is(0), Is(0x7ff0)],
        &[Is32(13), Zero(4), Page, Small64(513)],
    ),
    // sched_op
    sub(number::SCHED_OP, &[0], &[Of(OneOf(&[0])), Data], &[Small32(6)]),
    plain!(SCHED_OP, 1, []),
    plain!(SCHED_OP, 2, [Small32(6)]),
    plain!(SCHED_OP, 3, [Room, Small32(4), Zero(4), Is64(1)]),
    plain!(SCHED_OP, 4, [Domain, Zero(2), Small32(6)]),
    plain!(SCHED_OP, 5, [Small32(6)]),
    plain!(SCHED_OP, 6, [Small32(3), Small32(3)]),
    plain!(SCHED_OP, 7, [Small32(3)]),
    row(number::SCHED_OP_COMPAT, &[Of(Small64(3)), Of(Small64(4))], &[]),
    plain!(CALLBACK_OP, 0, [Small16(8), Small16(2), Zero(4), Address]),
    plain!(CALLBACK_OP, 1, [Small16(8), Zero(2)]),
    // event_channel_op
    plain!(EVENT_CHANNEL_OP, 0, [Domain, Zero(2), Port, Zero(4)]),
    plain!(EVENT_CHANNEL_OP, 1, [Small32(24), Small32(2), Zero(4)]),
    plain!(EVENT_CHANNEL_OP, 2, [Small32(16), Small32(2), Zero(4)]),
    plain!(EVENT_CHANNEL_OP, 3, [Port]),
    plain!(EVENT_CHANNEL_OP, 4, [Port]),
    plain!(EVENT_CHANNEL_OP, 5, [Domain, Zero(2), Port, Zero(16)]),
    plain!(EVENT_CHANNEL_OP, 6, [Domain, Domain, Zero(4)]),
    plain!(EVENT_CHANNEL_OP, 6, [Own, Domain, Zero(4)]),
    plain!(EVENT_CHANNEL_OP, 7, [Small32(2), Zero(4)]),
    plain!(EVENT_CHANNEL_OP, 8, [Port, Small32(2)]),
    plain!(EVENT_CHANNEL_OP, 9, [Port]),
    plain!(EVENT_CHANNEL_OP, 10, [Domain, Zero(2)]),
    plain!(EVENT_CHANNEL_OP, 11, [Frame, Small32(64), Small32(2), Zero(8)]),
    plain!(EVENT_CHANNEL_OP, 12, [Frame]),
    plain!(EVENT_CHANNEL_OP, 13, [Port, Small32(16)]),
    plain!(EVENT_CHANNEL_OP, 14, [Domain, Zero(2)]),
    // physdev_op
    plain!(PHYSDEV_OP, 6, [Small32(4)]),
    plain!(PHYSDEV_OP, 7, [Address, Small32(65536), Zero(4)]),
    sub(number::PHYSDEV_OP, PHYSDEV_OTHERS, &[Of(OneOf(PHYSDEV_OTHERS)), Data], MIXED),
    // What a control domain asks.
    domctl!(DOMCTL_SIMPLE, [Random64, Random64]),
    domctl!(
        &[1],
        [
            Zero(4),
            Random64,
            Random64,
            Is32(0),
            Is32(0),
            Small32(3),
            Small32(64),
            Small32(8),
            Small32(8),
            Is32(1),
            Zero(8),
            Is32(0),
            Is32(0),
        ]
    ),
    domctl!(
        &[1],
        [
            Random32,
            Random64,
            Random64,
            Small32(256),
            Small32(2),
            Random32,
            Random32,
            Random32,
            Random32,
            Small32(4),
            Random32,
            Random32,
            Random32,
            Random32,
        ]
    ),
    domctl!(&[9, 25], [Small32(2), Small32(4), Room, Small32(64), Zero(4), Room, Small32(64), Zero(4)]),
    domctl!(&[11], [Small64(4096)]),
    domctl!(&[12, 13], [Small32(2), Zero(4), Room]),
    domctl!(&[14], [Small32(2), Zero(20)]),
    domctl!(&[15], [Small32(3)]),
    domctl!(&[17], [Random64, Random64]),
    domctl!(&[61], [Small64(8), FrameList]),
    domctl!(
        DOMCTL_OTHERS,
        [
            Small32(4),
            Small32(8),
            Room,
            Small64(64),
            Random64,
            Room,
            Small32(64),
            Random32,
            FrameList,
            Random64,
            Random64,
            Address,
            Random64,
        ]
    ),
    domctl!(DOMCTL_OTHERS, [Random64, Random64, Random64, Random64, Random64, Random64, Random64, Random64]),
    sysctl!(
        SYSCTL_OTHERS,
        [
            Small8(2),
            Small8(2),
            Zero(2),
            Small32(64),
            Room,
            Small32(64),
            Zero(4),
            Room,
            Random64,
            Room,
            Random64,
        ]
    ),
    sysctl!(&[6], [Domain, Zero(2), Small32(4), Room, Zero(4)]),
    sysctl!(SYSCTL_OTHERS, [Small32(8), Zero(4), Room, Small32(8), Zero(4), Room, Random64, Random64]),
    sysctl!(SYSCTL_OTHERS, [Random64, Random64, Random64, Random64, Random64, Random64, Random64]),
    sub(
        number::PLATFORM_OP,
        PLATFORM,
        &[Data],
        &[
            OneOf(PLATFORM),
            Is32(abi::platform::XENPF_INTERFACE_VERSION),
            Small32(8),
            Small32(8),
            Room,
            Random64,
            Room,
            Random64,
            Random64,
        ],
    ),
    // The power goes off: for hosts only.
    sub(
        number::PLATFORM_OP,
        &[51],
        &[Data],
        &[
            Is32(51),
            Is32(abi::platform::XENPF_INTERFACE_VERSION),
            Small16(64),
            Small16(64),
            Small32(6),
            Small32(2),
        ],
    ),
    // Hypercalls that are not there: numbers, and what callers would pass.
    row(number::XSM_OP, &[Data, Of(Random64)], MIXED),
    row(number::NMI_OP, &[Of(Small64(2)), Data], MIXED),
    row(number::XENOPROF_OP, &[Of(Small64(18)), Data], MIXED),
    row(number::HVM_OP, &[Of(Small64(26)), Data], MIXED),
    row(number::KEXEC_OP, &[Of(Small64(7)), Data], MIXED),
    row(number::TMEM_OP, &[Data], MIXED),
    row(number::ARGO_OP, &[Of(Small64(5)), Data, Of(Random64), Of(Random64)], MIXED),
    row(number::XENPMU_OP, &[Of(Small64(8)), Data], MIXED),
    row(number::DM_OP, &[Of(Domain64), Of(Small64(4)), Data], MIXED),
    row(number::HYPFS_OP, &[Of(Small64(3)), Data, Of(Small64(64)), Of(Room), Of(Small64(64))], MIXED),
    row(number::ARCH_0, &[Data], MIXED),
    row(number::ARCH_7, &[Data], MIXED),
    row(11, &[Data], MIXED),
    row(63, &[Data], MIXED),
    row(64, &[Data], MIXED),
    row(u64::MAX, &[Data], MIXED),
];
