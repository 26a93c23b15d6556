//! The log.
/// The log.
#[derive(Debug, Default)]
pub struct Log {}
