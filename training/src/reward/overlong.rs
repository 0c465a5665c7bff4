//! DAPO's soft punishment of answers that are nearly too long (arXiv 2503.14476, equation 13; TRL's
//! `get_soft_overlong_punishment`).

/// 0 up to `longest − cache` tokens, then falling to −1 at `longest`, and −1 beyond.
pub fn overlong(tokens: usize, longest: usize, cache: usize) -> f64 {
    let begins = longest as f64 - cache as f64;
    let tokens = tokens as f64;
    if tokens <= begins {
        0.0
    } else if tokens <= longest as f64 {
        (begins - tokens) / cache as f64
    } else {
        -1.0
    }
}

#[cfg(test)]
mod tests {
    use super::overlong;

    /// TRL's own values.
    #[test]
    fn the_penalty_grows_over_the_last_tokens() {
        for (tokens, want) in [(50, 0.0), (80, 0.0), (90, -0.5), (100, -1.0), (110, -1.0)] {
            assert!((overlong(tokens, 100, 20) - want).abs() < 1e-12, "{tokens} tokens");
        }
        assert_eq!((overlong(100, 100, 0), overlong(101, 100, 0)), (0.0, -1.0));
    }
}
