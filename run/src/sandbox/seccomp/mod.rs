//! The system call filter.

use super::capabilities::CapabilitySet;
use crate::sys::BpfInstruction;

/// The filter for a process with `capabilities`; none without a table for this architecture.
pub(super) fn filter(_capabilities: CapabilitySet) -> Option<Vec<BpfInstruction>> {
    None
}
