//! How results look on standard output: tables, Go templates, sizes and times for people.
//!
//! Knows nothing of builds or containers: rows come in as JSON objects with Docker's field names.

pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod units;
