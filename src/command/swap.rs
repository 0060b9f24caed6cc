//! `--memory-swap`, which is the same for the steps of a build and for containers.
//!
//! It is a total of memory and swap, so it says nothing without `--memory` and cannot be less. This
//! knows nothing of how either is enforced.

use crate::report::{Failure, UsageError};

/// Refuses a total of memory and swap that does not go with the limit of memory.
pub(crate) fn check(memory_bytes: Option<u64>, total_bytes: Option<u64>) -> Result<(), Failure> {
    let wrong = |what: &str| Err(UsageError::wrong(format!("{what}: it limits memory and swap together")));
    match (memory_bytes, total_bytes) {
        (None, Some(_)) => wrong("--memory-swap needs --memory"),
        (Some(memory), Some(total)) if total < memory => wrong("--memory-swap is less than --memory"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_needs_memory_and_is_no_less() {
        assert!(check(None, Some(1)).is_err());
        assert!(check(Some(2), Some(1)).is_err());
        for (memory, total) in [(None, None), (Some(2), None), (Some(2), Some(2)), (Some(2), Some(3))] {
            assert!(check(memory, total).is_ok(), "{memory:?} {total:?}");
        }
    }
}
