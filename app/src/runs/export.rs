//! Figures of a run as CSV.
