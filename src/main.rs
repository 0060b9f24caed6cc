//! kiln: a daemonless, Nix-style builder of container images.
fn main() {}
