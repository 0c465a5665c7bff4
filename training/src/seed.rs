//! Random numbers of a run: a seed of its own for each use, so that no generator's state has to be kept.
//!
//! What a step draws follows from the run's seed, from words that name the use, and from a number, mostly the step's. So
//! a run that goes on after a kill draws what it would have drawn without it.

/// The seed of one use of random numbers: the first 64 bits of BLAKE3 over the parts.
pub fn of(seed: u64, words: &[&str], number: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for word in words {
        // With their lengths, so that "ab", "c" is another use than "a", "bc".
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    hasher.update(&number.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::of;

    #[test]
    fn each_part_makes_another_seed_and_the_same_parts_the_same() {
        let seeds = [
            of(1, &["grpo", "rollout"], 7),
            of(2, &["grpo", "rollout"], 7),
            of(1, &["grpo", "rollout"], 8),
            of(1, &["grporoll", "out"], 7),
            of(1, &["grpo"], 7),
            of(1, &["grpo", "rollout", ""], 7),
            of(1, &[], 7),
        ];
        assert_eq!(seeds.iter().collect::<BTreeSet<_>>().len(), seeds.len());
        assert_eq!(seeds[0], of(1, &["grpo", "rollout"], 7));
    }
}
