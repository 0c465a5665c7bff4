//! How the next token is drawn from logits: greedy, or by temperature, top-k and top-p with a seeded generator.
//!
//! One sequence at a time, on the CPU. The same seed draws the same tokens on every machine.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::request::Sampling;

/// Draws tokens for one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    /// 0 is greedy.
    temperature: f64,
    /// `usize::MAX` is all.
    top_k: usize,
    top_p: f64,
    repetition_penalty: f32,
    rng: ChaCha8Rng,
    /// The tokens that were drawn, each once; empty where repeating costs nothing.
    written: Vec<u32>,
    /// Logits with the penalty, kept as `ranked` is.
    penalised: Vec<f32>,
    /// (token, probability), kept between draws so that nothing is allocated per token.
    ranked: Vec<(u32, f64)>,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    pub id: u32,
    /// Natural logarithm of its probability under the model itself, before the penalty, temperature, top-k and top-p.
    pub logprob: f32,
    /// The same at the temperature that it was drawn at (greedy: at 1), before the penalty, top-k and top-p.
    pub tempered: f32,
}

/// What is wrong with a sampling, in a sentence; `None` when nothing is.
pub fn fault(sampling: &Sampling) -> Option<String> {
    if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
        return Some("the temperature must be 0 or more".to_owned());
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return Some("top-p must be more than 0 and at most 1".to_owned());
    }
    if !(0.01..=100.0).contains(&sampling.repetition_penalty) {
        return Some("the repetition penalty must be between 0.01 and 100".to_owned());
    }
    (sampling.max_tokens == 0).then(|| "at least one token must be allowed".to_owned())
}

impl Sampler {
    /// A sampler that begins at the seed.
    pub fn new(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: if sampling.top_k == 0 { usize::MAX } else { sampling.top_k },
            top_p: sampling.top_p,
            repetition_penalty: sampling.repetition_penalty as f32,
            rng: ChaCha8Rng::seed_from_u64(sampling.seed),
            written: Vec::new(),
            penalised: Vec::new(),
            ranked: Vec::new(),
        }
    }

    /// Draws from logits over the vocabulary; `None` when they are not numbers.
    pub fn draw(&mut self, logits: &[f32]) -> Option<Drawn> {
        let best = best(logits)?;
        let max = logits[best];
        if !max.is_finite() || logits.iter().any(|x| x.is_nan()) {
            return None;
        }
        let id = if self.repetition_penalty == 1.0 {
            self.choose(logits, best)
        } else {
            let mut penalised = std::mem::take(&mut self.penalised);
            self.penalise(logits, &mut penalised);
            let id = self.choose(&penalised, self::best(&penalised)?);
            self.penalised = penalised;
            if !self.written.contains(&id) {
                self.written.push(id);
            }
            id
        };
        let at = |temperature: f64| {
            let sum: f64 = logits.iter().map(|&x| (f64::from(x - max) / temperature).exp()).sum();
            (f64::from(logits[id as usize] - max) / temperature - sum.ln()) as f32
        };
        let logprob = at(1.0);
        let is_other = self.temperature > 0.0 && self.temperature != 1.0;
        let tempered = if is_other { at(self.temperature) } else { logprob };
        Some(Drawn { id, logprob, tempered })
    }

    /// The logits, with those of the tokens that were drawn already made smaller.
    fn penalise(&self, logits: &[f32], penalised: &mut Vec<f32>) {
        penalised.clear();
        penalised.extend_from_slice(logits);
        for &id in &self.written {
            // Of another vocabulary than the first draw's: then there is nothing to make smaller.
            let Some(x) = penalised.get_mut(id as usize) else { continue };
            *x = if *x > 0.0 { *x / self.repetition_penalty } else { *x * self.repetition_penalty };
        }
    }

    fn choose(&mut self, logits: &[f32], best: usize) -> u32 {
        if self.temperature > 0.0 { self.sample(logits, logits[best]) } else { best as u32 }
    }

    fn sample(&mut self, logits: &[f32], max: f32) -> u32 {
        let weight = |x: f32| (f64::from(x - max) / self.temperature).exp();
        self.ranked.clear();
        self.ranked.extend((0..).zip(logits.iter().map(|&x| weight(x))));
        // Equal tokens rank in the order of their ids.
        let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k < self.ranked.len() {
            self.ranked.select_nth_unstable_by(self.top_k, order);
            self.ranked.truncate(self.top_k);
            self.ranked.sort_unstable_by_key(|(id, _)| *id);
        }
        let mut total: f64 = self.ranked.iter().map(|(_, p)| p).sum();
        if self.top_p < 1.0 {
            self.ranked.sort_unstable_by(order);
            let wanted = self.top_p * total;
            let mut kept = 0.0;
            let enough = |&(_, p): &(u32, f64)| {
                kept += p;
                kept >= wanted
            };
            let last = self.ranked.iter().position(enough).unwrap_or(self.ranked.len() - 1);
            self.ranked.truncate(last + 1);
            total = self.ranked.iter().map(|(_, p)| p).sum();
        }
        let mut left = self.rng.random::<f64>() * total;
        for &(id, p) in &self.ranked {
            left -= p;
            if left < 0.0 {
                return id;
            }
        }
        // Rounding can leave a crumb after the last one.
        self.ranked.iter().rev().find(|(_, p)| *p > 0.0).map_or(0, |(id, _)| *id)
    }
}

/// The first of the largest.
fn best(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f64, top_p: f64, seed: u64) -> Sampler {
        Sampler::new(&Sampling { temperature, top_p, seed, max_tokens: 1, ..Sampling::default() })
    }

    #[test]
    fn greedy_takes_the_first_best_and_tells_its_probability() {
        let drawn = sampler(0.0, 1.0, 1).draw(&[0.0, 1.0, 1.0, -1.0]).unwrap();
        assert_eq!(drawn.id, 1);
        let sum = 1.0 + 2.0 * 1f32.exp() + (-1f32).exp();
        assert!((drawn.logprob - (1.0 - sum.ln())).abs() < 1e-6);
    }

    #[test]
    fn a_draw_tells_its_probability_at_its_temperature() {
        let logits = [0.0, 1.0, 3.0];
        let drawn = sampler(2.0, 0.5, 1).draw(&logits).unwrap();
        let of = |temperature: f32| {
            let sum: f32 = logits.iter().map(|x| (x / temperature).exp()).sum();
            logits[drawn.id as usize] / temperature - sum.ln()
        };
        assert!((drawn.logprob - of(1.0)).abs() < 1e-6 && (drawn.tempered - of(2.0)).abs() < 1e-6);
        let greedy = sampler(0.0, 1.0, 1).draw(&logits).unwrap();
        assert_eq!(greedy.logprob, greedy.tempered);
    }

    #[test]
    fn temperature_draws_as_often_as_the_probabilities_say() {
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        let mut cold = sampler(0.5, 1.0, 7);
        let hits = (0..4000).filter(|_| cold.draw(&logits).unwrap().id == 1).count();
        // At temperature 0.5 the odds are 9 to 1.
        assert!((3520..3680).contains(&hits), "{hits}");
    }

    #[test]
    fn top_p_keeps_the_smallest_sufficient_set() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut narrow = sampler(1.0, 0.6, 3);
        let drawn: Vec<u32> = (0..2000).map(|_| narrow.draw(&logits).unwrap().id).collect();
        assert!(!drawn.contains(&2) && drawn.contains(&0) && drawn.contains(&1));
    }

    #[test]
    fn top_k_keeps_that_many_and_the_first_of_equals() {
        let logits = [1.0, 3.0, 2.0, 2.0];
        let drawn = |top_k| {
            let sampling = Sampling { temperature: 1.0, top_k, seed: 3, ..Sampling::default() };
            let mut sampler = Sampler::new(&sampling);
            let drawn: std::collections::BTreeSet<u32> =
                (0..500).map(|_| sampler.draw(&logits).unwrap().id).collect();
            drawn.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), [1]);
        assert_eq!(drawn(2), [1, 2]);
        assert_eq!(drawn(0), [0, 1, 2, 3]);
        assert_eq!(drawn(9), [0, 1, 2, 3]);
    }

    #[test]
    fn what_was_written_becomes_less_likely_on_both_sides_of_zero() {
        let mut sampler = Sampler::new(&Sampling { repetition_penalty: 2.0, ..Sampling::default() });
        let mut draw = |logits: &[f32]| sampler.draw(logits).unwrap();
        assert_eq!(draw(&[4.0, 3.0, -1.0]).id, 0);
        // 4 became 2.
        let second = draw(&[4.0, 3.0, -1.0]);
        assert_eq!(second.id, 1);
        let sum = 4f32.exp() + 3f32.exp() + (-1f32).exp();
        assert!((second.logprob - (3.0 - sum.ln())).abs() < 1e-6, "the probability is the model's own");
        // -1 and -1 became -2 and -2.
        assert_eq!(draw(&[-1.0, -1.0, -1.5]).id, 2);
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |seed| {
            let mut s = sampler(1.0, 0.9, seed);
            (0..30).map(|_| s.draw(&logits).unwrap().id).collect::<Vec<_>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }

    #[test]
    fn what_is_no_number_is_drawn_from_no_more() {
        assert!(sampler(0.0, 1.0, 1).draw(&[0.0, f32::NAN]).is_none());
        assert!(sampler(1.0, 1.0, 1).draw(&[f32::NEG_INFINITY]).is_none());
        assert!(sampler(1.0, 1.0, 1).draw(&[]).is_none());
    }

    #[test]
    fn senseless_settings_are_named() {
        let good = Sampling::default();
        assert_eq!(fault(&good), None);
        for bad in [
            Sampling { temperature: -1.0, ..good.clone() },
            Sampling { temperature: f64::NAN, ..good.clone() },
            Sampling { top_p: 0.0, ..good.clone() },
            Sampling { top_p: 1.1, ..good.clone() },
            Sampling { repetition_penalty: 0.0, ..good.clone() },
            Sampling { repetition_penalty: f64::INFINITY, ..good.clone() },
            Sampling { max_tokens: 0, ..good },
        ] {
            assert!(fault(&bad).is_some());
        }
    }
}
