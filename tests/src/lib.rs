//! Tests that cross crates live in `tests/`; this library only holds what they share.
