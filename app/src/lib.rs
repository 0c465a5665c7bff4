//! ReinPath Desktop as a library: what the program does, so that tests can drive it without the program.

mod allocator;
pub mod annotation;
pub mod ask;
pub mod case;
pub mod chain;
pub mod child;
pub mod cli;
pub mod demo_slide;
pub mod hub;
pub mod maps;
pub mod models;
pub mod places;
mod priority;
pub mod review;
pub mod runs;
pub mod self_test;
pub mod slide;
pub mod store;
pub mod tissue;
pub mod viewer;
pub mod window;
pub mod worker;
