//! Every error that a command can end with: how it reads, what would help, and the exit status.
//!
//! The libraries say what was being done and to what; this file alone decides the rest.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use registry::{BringError, LoginError, PullError, PushError, RequestError, ResolveError};
use run::identity::IdentityError;
use run::probe::Tier;

use crate::format::table::ListingError;
use crate::ui::sanitize;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong: shown with its causes and, where there is one, a hint.
    Error(Box<dyn Error + Send + Sync>),
    /// Everything has been said already; only the status is left.
    Status(u8),
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error))
    }
}

/// What the command line says cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{0}")]
    Wrong(String),
    #[error("{0} is not supported yet")]
    Unsupported(String),
}

impl UsageError {
    /// A value that makes no sense, as a failure.
    pub(crate) fn wrong(text: impl Into<String>) -> Failure {
        Self::Wrong(text.into()).into()
    }
}

/// How the statuses of a verb are shared out: `run` leaves 0 to 124 to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statuses {
    /// Every failure is 1.
    Plain,
    /// kiln's own failures are 125, as with `docker run`.
    Container,
}

/// Says of a command that Ctrl-C has ended that this is so, whatever came of what it was doing.
pub(crate) fn interrupted() -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "cancelled");
    ExitCode::from(crate::interrupt::INTERRUPTED)
}

/// Tells the user and decides the exit status.
pub(crate) fn report(failure: &Failure, statuses: Statuses) -> ExitCode {
    let error = match failure {
        Failure::Status(status) => return ExitCode::from(*status),
        Failure::Error(error) => error.as_ref(),
    };
    if is_closed_pipe(error) {
        return ExitCode::from(141);
    }
    let mut text = format!("error: {}", with_causes(error));
    if let Some(hint) = hint(error) {
        let _ = write!(text, "\nhint: {hint}");
    }
    let _ = writeln!(io::stderr().lock(), "{}", sanitize::text(&text));
    ExitCode::from(match statuses {
        Statuses::Plain => 1,
        Statuses::Container => 125,
    })
}

/// `doing this: because of that: because of that`.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let is_it = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    chain(error).any(|error| match error.downcast_ref::<ListingError>() {
        Some(ListingError::Io(error)) => is_it(error),
        Some(ListingError::Template(_)) => false,
        None => error.downcast_ref::<io::Error>().is_some_and(is_it),
    })
}

/// What may have failed a program if files can belong to one user only, as for an ordinary user to whom
/// the system gave no ids.
pub(crate) fn hint_at_ids() -> Option<&'static str> {
    let is_alone = Tier::of_this_process().uids.count() == 1;
    is_alone.then_some("there is one user id here, so `chown` to others fails: `kiln info` tells what would help")
}

/// What the user can do about it.
pub(crate) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    chain(error).find_map(|error| match request(error) {
        Some(request) => request.advice().map(str::to_owned),
        None if matches!(error.downcast_ref(), Some(IdentityError::Refused { .. })) => {
            Some("run kiln as root, or have an administrator allow user namespaces".to_owned())
        }
        None => error.downcast_ref().and_then(of_system).map(str::to_owned),
    })
}

/// What went wrong between here and a registry. The errors around it stand for it, so it is in no chain.
fn request<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a RequestError> {
    let pull = || error.downcast_ref::<PullError>().and_then(PullError::request);
    let push = || error.downcast_ref::<PushError>().and_then(PushError::request);
    let login = || error.downcast_ref::<LoginError>().and_then(LoginError::request);
    let bring = || error.downcast_ref::<BringError>().and_then(BringError::request);
    error
        .downcast_ref::<ResolveError>()
        .and_then(ResolveError::request)
        .or_else(pull)
        .or_else(push)
        .or_else(login)
        .or_else(bring)
}

fn of_system(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("`kiln store gc` makes room; `kiln store du` tells what takes it")
        }
        _ => None,
    }
}
