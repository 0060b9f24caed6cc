//! Several blobs at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Work that several threads share; the first failure stops it.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    stop: AtomicBool,
}

impl Crew {
    /// Whether somebody has failed, so that what is still being done is in vain.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Does something with every item, a few at a time, in their order. Gives the first failure.
    pub(crate) fn each<T: Send, E: Send>(
        &self,
        items: Vec<T>,
        threads: usize,
        work: impl Fn(T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let threads = threads.clamp(1, items.len().max(1));
        let queue = Mutex::new(items.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next().filter(|_| !self.is_stopped());
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(item) = next() {
                        if let Err(error) = work(item) {
                            // Told before the others stop, whose failures are then only consequences.
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            self.stop.store(true, Ordering::Release);
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_or_the_first_failure_is_told() {
        let done = Mutex::new(Vec::new());
        let keep = |item| {
            done.lock().unwrap().push(item);
            Ok::<(), ()>(())
        };
        Crew::default().each((0..100).collect(), 4, keep).unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, (0..100).collect::<Vec<_>>());

        let crew = Crew::default();
        let fail = |item| if item < 3 { Ok(()) } else { Err(item) };
        assert_eq!(crew.each((0..100).collect(), 1, fail), Err(3));
        assert!(crew.is_stopped());
    }
}
