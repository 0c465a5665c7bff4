//! The ReinPath model.
