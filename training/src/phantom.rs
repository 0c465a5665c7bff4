//! Phantom tissue: procedural H&E-like fields whose truth is known, with captions, questions and staged answers.
//!
//! The demo model is made from these fields alone, so that the program works with nothing downloaded and so that
//! every sentence of an answer can be checked against what was drawn. A phantom is a drawing, not tissue.

mod truth;

pub use truth::{
    Amount, Cellularity, Mitoses, NuclearSize, Pattern, Pleomorphism, Presence, Quality, Stroma, Truth,
};
