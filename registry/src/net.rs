//! The thread that drives all connections, and how other threads wait for it.
//!
//! Whoever needs an answer blocks on a [`Waiter`], which looks now and then whether the answer is
//! still wanted: nothing in this crate waits in another way, so all of it can be ended.

use std::pin::pin;
use std::time::Duration;

use store::{Cancel, Cancelled};
use tokio::runtime::{Handle, Runtime};
use tokio::time::{Instant, timeout};

/// The thread that drives all connections.
#[derive(Debug)]
pub(crate) struct Net {
    handle: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Net {
    pub(crate) fn start() -> std::io::Result<Self> {
        // Fails only if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("registry".into()).spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Waits for it as long as nobody asks for an end.
    pub(crate) fn waiter<'a>(&'a self, cancel: &'a Cancel) -> Waiter<'a> {
        Waiter { net: self, cancel }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How often a thread that waits looks whether somebody asked for an end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A thread's way to wait for the one that drives connections.
#[derive(Clone, Copy)]
pub(crate) struct Waiter<'a> {
    net: &'a Net,
    cancel: &'a Cancel,
}

impl Waiter<'_> {
    /// Blocks this thread until the future is done.
    pub(crate) fn wait<T, E: From<Cancelled>>(&self, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        // The timer is made inside: outside of the runtime there is none.
        self.net.handle.block_on(async {
            let mut future = pin!(future);
            loop {
                self.cancel.check()?;
                if let Ok(done) = timeout(LOOK_AGAIN, &mut future).await {
                    return done;
                }
            }
        })
    }

    /// Blocks this thread until the future is done; `None` if the time is up before.
    pub(crate) fn wait_within<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<Option<T>, Cancelled> {
        self.net.handle.block_on(async {
            let (mut future, end) = (pin!(future), Instant::now() + limit);
            loop {
                self.cancel.check()?;
                let left = end.saturating_duration_since(Instant::now());
                match timeout(LOOK_AGAIN.min(left), &mut future).await {
                    Ok(done) => return Ok(Some(done)),
                    Err(_) if left <= LOOK_AGAIN => return Ok(None),
                    Err(_) => {}
                }
            }
        })
    }

    /// Blocks this thread for so long.
    pub(crate) fn sleep(&self, time: Duration) -> Result<(), Cancelled> {
        self.wait_within(time, std::future::pending::<()>()).map(drop)
    }

    /// Lets the driving thread work on something by itself.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.net.handle.spawn(future)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn nobody_waits_for_what_is_not_wanted_any_more() {
        let net = Net::start().unwrap();
        let forever = std::future::pending::<Result<Infallible, Cancelled>>;
        let hour = Duration::from_secs(3600);
        assert_eq!(net.waiter(&Cancel::after_looks(3)).wait(forever()).err(), Some(Cancelled));
        assert_eq!(net.waiter(&Cancel::after_looks(3)).wait_within(hour, forever()).err(), Some(Cancelled));
        assert_eq!(net.waiter(&Cancel::after_looks(3)).sleep(hour), Err(Cancelled));
    }

    #[test]
    fn what_is_wanted_is_waited_for() {
        let (net, cancel) = (Net::start().unwrap(), Cancel::default());
        let slow = async || {
            tokio::time::sleep(LOOK_AGAIN * 2).await;
            Ok::<_, Cancelled>(7)
        };
        let waiter = net.waiter(&cancel);
        assert_eq!(waiter.wait(slow()), Ok(7));
        assert_eq!(waiter.wait_within(Duration::from_secs(3600), slow()), Ok(Some(Ok(7))));
        assert_eq!(waiter.wait_within(LOOK_AGAIN, std::future::pending::<()>()), Ok(None));
    }
}
