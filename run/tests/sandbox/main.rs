//! Real commands in real boxes, in a root filesystem made of one static busybox.
//!
//! Needs root and `/bin/busybox` (Debian's busybox-static); without them every test says so and passes.

mod basics;
mod isolation;
mod lifetime;
mod limits;
mod mounts;
mod network;
mod rootless;
mod world;
