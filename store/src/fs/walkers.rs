//! The threads on which directories are walked.
//!
//! A walk goes down by recursion, and a tree may be [`MOST_COMPONENTS`](crate::tree::MOST_COMPONENTS)
//! deep. Rayon's own threads have stacks of 2 MiB, which somebody who nests directories for the
//! purpose can overflow; these have more than any tree needs. Only what is touched of it is memory.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Does work, and what it deals out, on threads with room for a deep walk.
pub(crate) fn on_walkers<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let build =
        || ThreadPoolBuilder::new().stack_size(STACK_BYTES).thread_name(|index| format!("walk-{index}")).build();
    match POOL.get_or_init(|| build().ok()) {
        Some(pool) => pool.install(work),
        // No more threads to be had: the caller's own has to do.
        None => work(),
    }
}

const STACK_BYTES: usize = 128 << 20;
