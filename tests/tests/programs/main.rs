//! The programs as a person runs them, each test in a folder of its own.
//!
//! One program for all of them: each further one would link the whole workspace once more. Tests that watch their own
//! process (its memory, its sockets, its end) are programs of their own beside this folder.

mod annotation_commands;
mod ask;
mod dataset;
mod demo_training;
mod evaluate;
mod kill;
mod lung;
mod open_models;
mod pointing;
mod queue;
mod replay;
mod review_log;
#[cfg(unix)]
mod rows;
mod slide_writer;
mod terms;
mod trouble;
mod worker_life;
