//! In the making.
/// State.
#[derive(Debug, Default)]
pub struct Events {}
/// State.
#[derive(Debug, Default)]
pub struct VcpuEvents {}
