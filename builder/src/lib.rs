//! From text to image: Dockerfile, graph, solved graph, image.

pub mod diagnostic;
pub mod dockerfile;
pub mod lint;
pub mod suggest;
