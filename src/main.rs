//! kiln: a daemonless, Nix-style builder of container images.
mod format;
fn main() {}
