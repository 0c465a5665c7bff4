//! ReinPath Desktop as a library: what the program does, so that tests can drive it without the program.

pub mod ask;
pub mod child;
pub mod cli;
pub mod demo_slide;
pub mod hub;
pub mod maps;
pub mod models;
pub mod places;
pub mod runs;
pub mod slide;
pub mod viewer;
pub mod window;
pub mod worker;
