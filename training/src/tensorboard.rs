//! A run's events as a TensorBoard event file, for those who use it.
