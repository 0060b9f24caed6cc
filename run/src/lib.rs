//! A command in a box: the sandbox, and containers on top of it.

pub mod container;
