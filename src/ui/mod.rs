//! What the user sees while something happens: a live view on a terminal, lines in a pipe, JSON, or nothing.

pub(crate) mod sanitize;
