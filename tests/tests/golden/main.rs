//! What this program computes against what the reference implementations computed, in files that scripts wrote from them.
//!
//! One program for all of them, as in `programs`: each further one would link the whole workspace once more.

mod model;
mod published;
mod qwen;
mod tokenizers;
mod training;
mod trajectory;
