//! Real containers with real monitors, of an image that is one static busybox.
//!
//! Needs root and `/bin/busybox` (Debian's busybox-static); without them every test says so and passes.

mod life;
mod loss;
mod streams;
mod world;
