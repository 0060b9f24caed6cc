//! From text to image: Dockerfile, graph, solved graph, image.
