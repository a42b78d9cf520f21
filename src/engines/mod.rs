//! Embedded machines. They know nothing of Run402: no feature, no socket, no project.

pub mod blobs;
pub mod chain;
pub mod postgres;
pub mod queue;
pub mod sandbox;
