//! What must hold for every input. libFuzzer looks for inputs for which it does not; the corpora are
//! replayed by an ordinary test (`tests/corpora.rs`), which compiles these very files.
//!
//! A claim takes any bytes and panics if it is broken. Time is a claim, too: libFuzzer stops at an
//! input that takes too long.

pub mod documents;
pub mod language;
pub mod layers;
pub mod text;

/// A claim, and what it is called here, in `fuzz_targets` and in `corpus`.
pub type Claim = (&'static str, fn(&[u8]));

/// All of them.
pub const CLAIMS: &[Claim] = &[
    ("accounts", text::accounts),
    ("documents", documents::documents),
    ("expand", language::expand),
    ("headers", layers::headers),
    ("ignore", language::ignore),
    ("layers", layers::layers),
    ("parse", language::parse),
    ("print", language::print),
    ("references", text::references),
    ("tar", layers::tar),
    ("terminal", text::terminal),
    ("whiteouts", layers::whiteouts),
];
