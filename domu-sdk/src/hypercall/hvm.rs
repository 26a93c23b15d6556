//! `hvm_op`: parameters of domains with hardware assistance, set by their builder.

use super::{Result, input, op, output};
use crate::types::DomId;
use abi::{
    hvm_op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam},
    xen::hypercall::HVM_OP,
};

/// Sets parameter `index` (`HVM_PARAM_*`) of a domain.
pub fn set_param(domain: DomId, index: u32, value: u64) -> Result {
    let argument = HvmParam { domid: domain.0, index, value, ..HvmParam::default() };
    op(HVM_OP, HVMOP_SET_PARAM, input(&argument)).map(|_| ())
}

/// Reads parameter `index` (`HVM_PARAM_*`) of a domain.
pub fn param(domain: DomId, index: u32) -> Result<u64> {
    let mut argument = HvmParam { domid: domain.0, index, ..HvmParam::default() };
    op(HVM_OP, HVMOP_GET_PARAM, output(&mut argument))?;
    Ok(argument.value)
}
