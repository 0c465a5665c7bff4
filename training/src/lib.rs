//! Training of ReinPath models.
