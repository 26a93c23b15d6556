//! `io/xs_wire.h`: messages to xenstore and the page they travel through.
//!
//! A message is an [`XsdSockmsg`] followed by `len` bytes. Requests go into `req`, replies and watch events
//! come back in `rsp`.
//!
//! The numbers and short comments follow that header (MIT licence), whose longer comments are the reference.

#![expect(missing_docs, reason = "fields and numbers answer to the public header named above")]

pub const XS_CONTROL: u32 = 0;
pub const XS_DIRECTORY: u32 = 1;
pub const XS_READ: u32 = 2;
pub const XS_GET_PERMS: u32 = 3;
pub const XS_WATCH: u32 = 4;
pub const XS_UNWATCH: u32 = 5;
pub const XS_TRANSACTION_START: u32 = 6;
pub const XS_TRANSACTION_END: u32 = 7;
pub const XS_INTRODUCE: u32 = 8;
pub const XS_RELEASE: u32 = 9;
pub const XS_GET_DOMAIN_PATH: u32 = 10;
pub const XS_WRITE: u32 = 11;
pub const XS_MKDIR: u32 = 12;
pub const XS_RM: u32 = 13;
pub const XS_SET_PERMS: u32 = 14;
pub const XS_WATCH_EVENT: u32 = 15;
pub const XS_ERROR: u32 = 16;
pub const XS_IS_DOMAIN_INTRODUCED: u32 = 17;
pub const XS_RESUME: u32 = 18;
pub const XS_SET_TARGET: u32 = 19;
/// `XS_RESTRICT` has been removed.
pub const XS_RESET_WATCHES: u32 = 21;
pub const XS_DIRECTORY_PART: u32 = 22;
/// Number of valid types.
pub const XS_TYPE_COUNT: u32 = 23;
pub const XS_INVALID: u32 = 65535;
pub const XS_WRITE_NONE: &str = "NONE";
pub const XS_WRITE_CREATE: &str = "CREATE";
pub const XS_WRITE_CREATE_EXCL: &str = "CREATE|EXCL";

structs! {
    /// `struct xsd_sockmsg`: The header of every message.
    pub struct XsdSockmsg {
        /// Takes `XS_*` values.
        type_: u32,
        /// Request identifier, echoed in daemon's response.
        req_id: u32,
        /// Transaction id (0 if not related to a transaction).
        tx_id: u32,
        /// Length of data following this.
        len: u32,
    }
}

pub const XS_WATCH_PATH: u32 = 0;
pub const XS_WATCH_TOKEN: u32 = 1;
/// Inter-domain shared memory communications.
pub const XENSTORE_RING_SIZE: usize = 1024;

structs! {
    /// `struct xenstore_domain_interface`: The page a domain shares with xenstore.
    pub struct XenstoreDomainInterface {
        /// Requests to xenstore daemon.
        req: [u8; 1024],
        /// Replies and async watch events.
        rsp: [u8; 1024],
        req_cons: u32,
        req_prod: u32,
        rsp_cons: u32,
        rsp_prod: u32,
        /// Bitmap of features supported by the server.
        server_features: u32,
        connection: u32,
        error: u32,
    }
}

/// Violating this is very bad. See docs/misc/xenstore.txt.
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// Violating these just gets you an error back.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
pub const XENSTORE_REL_PATH_MAX: usize = 2048;
/// The ability to reconnect a ring.
pub const XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1;
/// The presence of the "error" field in the ring page.
pub const XENSTORE_SERVER_FEATURE_ERROR: u32 = 2;
/// The steady-state.
pub const XENSTORE_CONNECTED: u32 = 0;
/// Reconnect in progress.
pub const XENSTORE_RECONNECT: u32 = 1;
/// No error.
pub const XENSTORE_ERROR_NONE: u32 = 0;
/// Communication problem.
pub const XENSTORE_ERROR_COMM: u32 = 1;
/// Invalid ring index.
pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
/// Protocol violation (payload too long).
pub const XENSTORE_ERROR_PROTO: u32 = 3;
