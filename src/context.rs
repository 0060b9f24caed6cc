//! What every verb needs: where the store is, where output goes, and whom to ask.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use run::identity::Standing;
use store::{Cancel, Store};

use crate::cli::Global;
use crate::report::{Failure, UsageError};

/// The arguments that hold for every verb, resolved.
#[derive(Debug)]
pub(crate) struct Context {
    root: PathBuf,
    /// Set by Ctrl-C, for verbs that look at it.
    cancel: Cancel,
}

impl Context {
    /// Decides where the store is.
    pub(crate) fn new(global: &Global) -> Self {
        let named = std::env::var_os("KILN_ROOT").filter(|root| !root.is_empty()).map(PathBuf::from);
        let root = global.root.clone().or(named).unwrap_or_else(default_root);
        Self { root, cancel: Cancel::default() }
    }

    /// Opens the store, which makes it if there is none. An ordinary user's kiln moves into its user
    /// namespace here, so this comes before the first thread.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        run::identity::enter()?;
        if let Some(parent) = self.root.parent() {
            std::fs::create_dir_all(parent).map_err(store::StoreError::io("make the directory", parent))?;
        }
        Ok(Store::open(&self.root)?)
    }

    /// Lets an ordinary user's kiln move to where the containers were started whose namespaces are to be shared.
    /// Comes before [`Context::store`].
    pub(crate) fn move_beside(&self, home: impl FnOnce(&Path) -> Option<OwnedFd>) -> Result<(), Failure> {
        if Standing::of_this_process() == Standing::Unprivileged
            && let Some(namespace) = home(&self.root)
        {
            run::identity::enter_other(namespace.as_fd())?;
        }
        Ok(())
    }

    /// The store, for a verb that takes long: from here on Ctrl-C ends what works with the store, and so the verb.
    pub(crate) fn store_until_interrupted(&self) -> Result<Store, Failure> {
        run::identity::enter()?;
        crate::interrupt::cancel_on_signals(&self.cancel)?;
        Ok(self.store()?.ending_with(&self.cancel))
    }

    /// Whether Ctrl-C has ended the verb.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Writes one line of data to standard output.
    pub(crate) fn print(&self, line: impl std::fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(stdout(), "{}", shown(line.to_string()))?)
    }
}

/// What is written of data that others may have chosen (labels, names): to a terminal only what cannot drive it;
/// to a program, as it is.
pub(crate) fn shown(data: String) -> String {
    if io::stdout().is_terminal() { crate::ui::sanitize::text(&data) } else { data }
}

/// Standard output, for data alone.
pub(crate) fn stdout() -> io::StdoutLock<'static> {
    io::stdout().lock()
}

/// Whether standard error can show colours and a moving view.
pub(crate) fn fancy_stderr() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says something to the user that is not the command's result.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{}", crate::ui::sanitize::text(&text.to_string()));
}

/// Asks whether to go on. Only a yes is one; where nobody can answer, that is an error and not a no.
pub(crate) fn agreed(warning: &str) -> Result<bool, Failure> {
    note(format!("WARNING! {warning}\nAre you sure you want to continue? [y/N]"));
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 && !io::stdin().is_terminal() {
        return Err(UsageError::wrong("there is nobody to answer: say --force"));
    }
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn default_root() -> PathBuf {
    if Standing::of_this_process() == Standing::Root {
        return PathBuf::from("/var/lib/kiln");
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
    data.unwrap_or_else(|| home().join(".local/share")).join("kiln")
}
