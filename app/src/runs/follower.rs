//! Follows runs in one named thread: reads what they write, and hands over what is known of each as it changes.
