//! Something that is made of what is shown, and kept from frame to frame until that changes.

/// What was made last, and of what.
pub(super) struct Kept<K, V> {
    made: Option<(K, V)>,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { made: None }
    }
}

impl<K: PartialEq, V> Kept<K, V> {
    /// Makes it anew where the key is another one.
    pub(super) fn get(&mut self, key: K, make: impl FnOnce() -> V) -> &V {
        if self.made.as_ref().is_some_and(|(of, _)| *of != key) {
            self.made = None;
        }
        let (_, value) = self.made.get_or_insert_with(|| (key, make()));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn what_is_kept_is_made_again_only_for_another_key() {
        let mut kept = Kept::default();
        assert_eq!(*kept.get(1, || "one"), "one");
        assert_eq!(*kept.get(1, || panic!("it is kept")), "one");
        assert_eq!(*kept.get(2, || "two"), "two");
        assert_eq!(*kept.get(1, || "again"), "again");
    }
}
