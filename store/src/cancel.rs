//! Ending work early: one flag, looked at between pieces.
//!
//! A [`Cancel`] is set by whoever wants an end: a signal handler, or the first step that fails. It
//! travels in what long work needs anyway: a [`Store`](crate::Store) carries one
//! ([`Store::ending_with`](crate::Store::ending_with)), so whatever is read from or written to a
//! store in pieces ends with it, and [`ScanOptions`](crate::ScanOptions) and
//! [`Export`](crate::export::Export) cannot be made without one. A look costs a read of memory.
//!
//! Work that was ended fails with an error that has [`Cancelled`] among its causes, whatever is
//! around it, and leaves as little as after any other failure. Short writes do not look: a record of
//! what was cancelled can still be kept.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A flag that ends work. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    flag: Arc<Flag>,
}

#[derive(Debug, Default)]
struct Flag {
    is_set: AtomicBool,
    parent: Option<Cancel>,
    /// How many more looks it takes.
    looks_left: Option<AtomicU64>,
}

impl Cancel {
    /// A flag that is set when this one is, and can be set alone.
    pub fn branch(&self) -> Self {
        Self { flag: Arc::new(Flag { parent: Some(self.clone()), ..Flag::default() }) }
    }

    /// A flag that sets itself once it has been looked at so often: work can be ended in its middle
    /// without a clock.
    pub fn after_looks(count: u64) -> Self {
        Self { flag: Arc::new(Flag { looks_left: Some(AtomicU64::new(count)), ..Flag::default() }) }
    }

    /// Asks everything that looks at it to end. Safe to call any number of times.
    pub fn cancel(&self) {
        self.flag.is_set.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        if let Some(left) = &self.flag.looks_left {
            count_down(left, &self.flag.is_set);
        }
        self.flag.is_set.load(Ordering::Relaxed) || self.flag.parent.as_ref().is_some_and(Self::is_cancelled)
    }

    /// The same as a result: what stands at the top of a loop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// [`io::copy`] that fails once somebody asked. Between two looks the kernel copies by itself, where it can.
    pub fn copy<R: Read, W: Write>(&self, from: &mut R, to: &mut W) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            self.check()?;
            match io::copy(&mut from.by_ref().take(COPIED_BYTES), to)? {
                0 => return Ok(copied),
                count => copied += count,
            }
        }
    }

    /// A reader that fails once somebody asked.
    pub fn reader<R: Read>(&self, inner: R) -> Reader<R> {
        Reader { inner, cancel: self.clone() }
    }
}

/// What is copied between two looks.
const COPIED_BYTES: u64 = 8 << 20;

/// Somebody asked for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

impl Cancelled {
    /// Whether work failed because somebody asked for its end.
    pub fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| (*error).source()).any(|error| error.is::<Self>())
    }
}

/// [`Cancelled`] as the inside of an [`io::Error`], whose own causes start behind what it holds.
#[derive(Debug, thiserror::Error)]
#[error("cancelled")]
struct Within(#[source] Cancelled);

impl From<Cancelled> for io::Error {
    /// Not of the kind `Interrupted`: everybody tries that again.
    fn from(cancelled: Cancelled) -> Self {
        Self::other(Within(cancelled))
    }
}

/// See [`Cancel::reader`].
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    cancel: Cancel,
}

impl<R> Reader<R> {
    /// What it reads from.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.inner.read(out)
    }
}

fn count_down(left: &AtomicU64, is_set: &AtomicBool) {
    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if before.is_err() {
        is_set.store(true, Ordering::Relaxed);
    }
}
