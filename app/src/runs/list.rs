//! Finds the runs of this machine: the folders below the runs folder, and those that the user opened elsewhere.
