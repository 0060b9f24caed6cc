//! The checks that need nothing but the file.

use crate::diagnostic::Diagnostic;
use crate::dockerfile::Dockerfile;

/// What the checks find, in no order.
pub(super) fn check(_dockerfile: &Dockerfile) -> Vec<Diagnostic> {
    Vec::new()
}
