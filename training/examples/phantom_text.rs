//! Prints random phantom questions with their answers, captions and plain texts, to be read critically.
//!
//! `cargo run -p reinpath-training --no-default-features --example phantom_text -- [SEED] [COUNT]`

use std::io::Write as _;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_training::phantom::{balanced_set, caption, describe};

fn main() -> std::io::Result<()> {
    let number = |n: usize| std::env::args().nth(n).and_then(|a| a.parse().ok());
    let seed = number(1).unwrap_or(1);
    let count = number(2).unwrap_or(20);
    let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
    let mut out = std::io::stdout().lock();
    for (truth, item) in balanced_set(&mut rng, count) {
        writeln!(out, "--- {truth:?}")?;
        if let Some(context) = &item.context {
            writeln!(out, "({context})")?;
        }
        writeln!(out, "{}: {}", item.subtask, item.question)?;
        for (letter, choice) in ('A'..).zip(&item.choices) {
            writeln!(out, "{letter}) {choice}")?;
        }
        let answer = &item.answer;
        writeln!(
            out,
            "[Observation]\n{}\n[Analysis]\n{}\n[Conclusion]\n{}",
            answer.observation, answer.analysis, answer.conclusion
        )?;
        writeln!(out, "caption: {}", caption(&truth, &mut rng))?;
        writeln!(out, "text: {}\n", describe(&truth, &mut rng).text.replace('\n', " / "))?;
    }
    Ok(())
}
