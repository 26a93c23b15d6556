//! In the making.
/// State.
#[derive(Debug, Default)]
pub struct Grants {}
