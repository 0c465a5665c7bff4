//! ReinPath Desktop as a library: what the program does, so that tests can drive it without the program.

pub mod cli;
pub mod slide;
pub mod window;
