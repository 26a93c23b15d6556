//! Error numbers, `errno.h`.
//!
//! A hypercall that fails returns the number negated. `EINTR` and `ERESTART` are the hypervisor's own and
//! never reach a guest: they say that an operation was interrupted and is to be continued.

use core::fmt;

/// Why a hypercall was refused.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Errno {
    /// Operation not permitted.
    EPERM = 1,
    /// No such file or directory.
    ENOENT = 2,
    /// No such process.
    ESRCH = 3,
    /// Interrupted system call.
    EINTR = 4,
    /// I/O error.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// Arg list too long.
    E2BIG = 7,
    /// Exec format error.
    ENOEXEC = 8,
    /// Bad file number.
    EBADF = 9,
    /// No child processes.
    ECHILD = 10,
    /// Try again.
    EAGAIN = 11,
    /// Out of memory.
    ENOMEM = 12,
    /// Permission denied.
    EACCES = 13,
    /// Bad address.
    EFAULT = 14,
    /// Device or resource busy.
    EBUSY = 16,
    /// File exists.
    EEXIST = 17,
    /// Cross-device link.
    EXDEV = 18,
    /// No such device.
    ENODEV = 19,
    /// Not a directory.
    ENOTDIR = 20,
    /// Is a directory.
    EISDIR = 21,
    /// Invalid argument.
    EINVAL = 22,
    /// File table overflow.
    ENFILE = 23,
    /// Too many open files.
    EMFILE = 24,
    /// No space left on device.
    ENOSPC = 28,
    /// Read-only file system.
    EROFS = 30,
    /// Too many links.
    EMLINK = 31,
    /// Math argument out of domain of func.
    EDOM = 33,
    /// Math result not representable.
    ERANGE = 34,
    /// Resource deadlock would occur.
    EDEADLK = 35,
    /// File name too long.
    ENAMETOOLONG = 36,
    /// No record locks available.
    ENOLCK = 37,
    /// Function not implemented.
    ENOSYS = 38,
    /// Directory not empty.
    ENOTEMPTY = 39,
    /// No data available.
    ENODATA = 61,
    /// Timer expired.
    ETIME = 62,
    /// Not a data message.
    EBADMSG = 74,
    /// Value too large for defined data type.
    EOVERFLOW = 75,
    /// Illegal byte sequence.
    EILSEQ = 84,
    /// Interrupted system call should be restarted.
    ERESTART = 85,
    /// Socket operation on non-socket.
    ENOTSOCK = 88,
    /// Message too large.
    EMSGSIZE = 90,
    /// Operation not supported on transport endpoint.
    EOPNOTSUPP = 95,
    /// Address already in use.
    EADDRINUSE = 98,
    /// Cannot assign requested address.
    EADDRNOTAVAIL = 99,
    /// No buffer space available.
    ENOBUFS = 105,
    /// Transport endpoint is already connected.
    EISCONN = 106,
    /// Transport endpoint is not connected.
    ENOTCONN = 107,
    /// Connection timed out.
    ETIMEDOUT = 110,
    /// Connection refused.
    ECONNREFUSED = 111,
}

impl Errno {
    /// Another name of `EAGAIN`.
    pub const EWOULDBLOCK: Self = Self::EAGAIN;
    /// Another name of `EDEADLK`.
    pub const EDEADLOCK: Self = Self::EDEADLK;

    /// Every error, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::EPERM,
        Self::ENOENT,
        Self::ESRCH,
        Self::EINTR,
        Self::EIO,
        Self::ENXIO,
        Self::E2BIG,
        Self::ENOEXEC,
        Self::EBADF,
        Self::ECHILD,
        Self::EAGAIN,
        Self::ENOMEM,
        Self::EACCES,
        Self::EFAULT,
        Self::EBUSY,
        Self::EEXIST,
        Self::EXDEV,
        Self::ENODEV,
        Self::ENOTDIR,
        Self::EISDIR,
        Self::EINVAL,
        Self::ENFILE,
        Self::EMFILE,
        Self::ENOSPC,
        Self::EROFS,
        Self::EMLINK,
        Self::EDOM,
        Self::ERANGE,
        Self::EDEADLK,
        Self::ENAMETOOLONG,
        Self::ENOLCK,
        Self::ENOSYS,
        Self::ENOTEMPTY,
        Self::ENODATA,
        Self::ETIME,
        Self::EBADMSG,
        Self::EOVERFLOW,
        Self::EILSEQ,
        Self::ERESTART,
        Self::ENOTSOCK,
        Self::EMSGSIZE,
        Self::EOPNOTSUPP,
        Self::EADDRINUSE,
        Self::EADDRNOTAVAIL,
        Self::ENOBUFS,
        Self::EISCONN,
        Self::ENOTCONN,
        Self::ETIMEDOUT,
        Self::ECONNREFUSED,
    ];

    /// The value a failed hypercall returns: the number, negated.
    pub const fn as_ret(self) -> i64 {
        -(self as i64)
    }

    /// The error of a hypercall's return value `ret`; `None` where that is no known error.
    pub fn from_ret(ret: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|errno| errno.as_ret() == ret)
    }

    /// `Ok` with the value of a call that succeeded. An unknown negative value becomes `EINVAL`.
    pub fn check(ret: i64) -> Result<u64, Self> {
        u64::try_from(ret).map_err(|_| Self::from_ret(ret).unwrap_or(Self::EINVAL))
    }

    /// What went wrong, in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::EPERM => "operation not permitted",
            Self::ENOENT => "no such file or directory",
            Self::ESRCH => "no such process",
            Self::EINTR => "interrupted system call",
            Self::EIO => "I/O error",
            Self::ENXIO => "no such device or address",
            Self::E2BIG => "arg list too long",
            Self::ENOEXEC => "exec format error",
            Self::EBADF => "bad file number",
            Self::ECHILD => "no child processes",
            Self::EAGAIN => "try again",
            Self::ENOMEM => "out of memory",
            Self::EACCES => "permission denied",
            Self::EFAULT => "bad address",
            Self::EBUSY => "device or resource busy",
            Self::EEXIST => "file exists",
            Self::EXDEV => "cross-device link",
            Self::ENODEV => "no such device",
            Self::ENOTDIR => "not a directory",
            Self::EISDIR => "is a directory",
            Self::EINVAL => "invalid argument",
            Self::ENFILE => "file table overflow",
            Self::EMFILE => "too many open files",
            Self::ENOSPC => "no space left on device",
            Self::EROFS => "read-only file system",
            Self::EMLINK => "too many links",
            Self::EDOM => "math argument out of domain of func",
            Self::ERANGE => "math result not representable",
            Self::EDEADLK => "resource deadlock would occur",
            Self::ENAMETOOLONG => "file name too long",
            Self::ENOLCK => "no record locks available",
            Self::ENOSYS => "function not implemented",
            Self::ENOTEMPTY => "directory not empty",
            Self::ENODATA => "no data available",
            Self::ETIME => "timer expired",
            Self::EBADMSG => "not a data message",
            Self::EOVERFLOW => "value too large for defined data type",
            Self::EILSEQ => "illegal byte sequence",
            Self::ERESTART => "interrupted system call should be restarted",
            Self::ENOTSOCK => "socket operation on non-socket",
            Self::EMSGSIZE => "message too large",
            Self::EOPNOTSUPP => "operation not supported on transport endpoint",
            Self::EADDRINUSE => "address already in use",
            Self::EADDRNOTAVAIL => "cannot assign requested address",
            Self::ENOBUFS => "no buffer space available",
            Self::EISCONN => "transport endpoint is already connected",
            Self::ENOTCONN => "transport endpoint is not connected",
            Self::ETIMEDOUT => "connection timed out",
            Self::ECONNREFUSED => "connection refused",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.text())
    }
}

impl core::error::Error for Errno {}
