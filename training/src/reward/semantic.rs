//! The semantic reward (paper, equation 2): how near an observation is in meaning to the reference observation, as the
//! cosine of their vectors from a frozen text encoder.
//!
//! Cosines of sentence vectors lie in a narrow, high band. Rescaled, in the manner of BERTScore (Zhang et al. 2020), 0 is
//! the mean over observations of different questions, and 1 stays 1.
//!
//! A vector is made of its text alone for the references, so that a run that was stopped and goes on has the same ones
//! whichever of them it needs first; the observations of a batch are read together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use reinpath_model::sentence::{Error as EncoderError, SentenceEncoder};

use super::Error;

/// Observations that the mean between questions is taken of.
const USUAL: usize = 256;
/// A mean this near 1 leaves nothing to rescale.
const NARROWEST: f64 = 1e-3;
/// The lowest that a rescaled cosine counts.
const LOWEST: f64 = -1.0;

/// A text encoder with the reference observations it has read.
#[derive(Debug)]
pub(super) struct Semantic {
    encoder: SentenceEncoder,
    references: BTreeMap<String, Vec<f32>>,
    is_rescaled: bool,
    /// The mean cosine between observations of different questions.
    usual: Option<f64>,
}

impl Semantic {
    pub(super) fn new(encoder: SentenceEncoder, is_rescaled: bool) -> Self {
        Self { encoder, references: BTreeMap::new(), is_rescaled, usual: None }
    }

    /// Reads reference observations, at most [`USUAL`] of them, evenly spread, and learns what their cosines usually are.
    pub(super) fn learn_usual(&mut self, observations: &[&str]) -> Result<f64, Error> {
        let every = observations.len().div_ceil(USUAL).max(1);
        let mut sum: Vec<f64> = Vec::new();
        let (mut count, mut own) = (0.0, 0.0);
        for observation in observations.iter().step_by(every) {
            let vector = self.reference(observation)?;
            sum.resize(vector.len(), 0.0);
            for (sum, &value) in sum.iter_mut().zip(vector) {
                *sum += f64::from(value);
            }
            own += cosine(vector, vector);
            count += 1.0;
        }
        // The square of the sum holds every pair twice, and every vector with itself once.
        let all: f64 = sum.iter().map(|value| value * value).sum();
        let usual = (all - own) / (count * (count - 1.0));
        if count < 2.0 || usual > 1.0 - NARROWEST {
            return Err(Error::NoUsual);
        }
        self.usual = Some(usual);
        Ok(usual)
    }

    /// A score for each observation of each question; `None` where the reference has no observation. An observation that
    /// is missing has the cosine 0, so that rescaled it earns less than any that was written.
    pub(super) fn score(
        &mut self,
        references: &[&str],
        observations: &[Vec<&str>],
    ) -> Result<Vec<Vec<Option<f64>>>, Error> {
        let usual = match (self.is_rescaled, self.usual) {
            (false, _) => 0.0,
            (true, Some(usual)) => usual,
            (true, None) => return Err(Error::NoUsual),
        };
        let written = self.written(references, observations)?;
        let mut scores = Vec::with_capacity(references.len());
        for (reference, observations) in references.iter().zip(observations) {
            if reference.is_empty() {
                scores.push(vec![None; observations.len()]);
                continue;
            }
            let reference = self.reference(reference)?;
            let score = |observation: &&str| {
                let cosine = written.get(*observation).map_or(0.0, |vector| cosine(reference, vector));
                Some(((cosine - usual) / (1.0 - usual)).max(LOWEST))
            };
            scores.push(observations.iter().map(score).collect());
        }
        Ok(scores)
    }

    /// The vector of a reference observation, made once.
    fn reference(&mut self, text: &str) -> Result<&[f32], Error> {
        match self.references.entry(text.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut().as_slice()),
            Entry::Vacant(free) => {
                let vector = vectors(&self.encoder, &[text.to_owned()])?.pop().unwrap_or_default();
                Ok(free.insert(vector).as_slice())
            }
        }
    }

    /// The vectors of all observations that were written and have a reference, each text once.
    fn written<'a>(
        &self,
        references: &[&str],
        observations: &[Vec<&'a str>],
    ) -> Result<BTreeMap<&'a str, Vec<f32>>, Error> {
        let has_reference =
            references.iter().zip(observations).filter(|(reference, _)| !reference.is_empty());
        let mut texts: Vec<&str> = has_reference
            .flat_map(|(_, texts)| texts.iter().copied())
            .filter(|text| !text.is_empty())
            .collect();
        // Texts of a length together: the encoder fills the shorter ones of a batch up.
        texts.sort_unstable_by_key(|text| (text.len(), *text));
        texts.dedup();
        let owned: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let vectors = vectors(&self.encoder, &owned)?;
        Ok(texts.into_iter().zip(vectors).collect())
    }
}

fn vectors(encoder: &SentenceEncoder, texts: &[String]) -> Result<Vec<Vec<f32>>, EncoderError> {
    Ok(encoder.embed(texts)?.to_vec2::<f32>()?)
}

/// Of unit vectors.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::encoder;
    use super::*;

    /// Texts of `tests/golden/bert/texts.json`.
    const TEXTS: [&str; 3] = [
        "Glands are lined by tall columnar cells.",
        "Necrosis.",
        "The stroma is dense; mitoses are few, nuclei are small and round, and lymphocytes lie between the nests.",
    ];

    #[test]
    fn equal_texts_score_one_and_missing_ones_nothing() {
        let mut semantic = Semantic::new(encoder(), false);
        let observations = vec![vec![TEXTS[0], TEXTS[1], ""], vec![TEXTS[0]], vec![TEXTS[2], TEXTS[2]]];
        let scores = semantic.score(&[TEXTS[0], "", TEXTS[2]], &observations).unwrap();
        let [first, second, third] = scores.as_slice() else { panic!("{scores:?}") };
        assert!((first[0].unwrap() - 1.0).abs() < 1e-5);
        assert!(first[1].unwrap() < 1.0 - 1e-5, "another text: {first:?}");
        assert_eq!(first[2], Some(0.0), "a missing observation");
        assert_eq!(second, &[None], "no reference");
        assert_eq!(third[0], third[1]);
    }

    #[test]
    fn the_usual_cosine_is_the_mean_over_different_pairs() {
        let mut semantic = Semantic::new(encoder(), true);
        let usual = semantic.learn_usual(&TEXTS).unwrap();
        let mut sum = 0.0;
        for (at, a) in TEXTS.into_iter().enumerate() {
            let a = semantic.reference(a).unwrap().to_vec();
            for b in &TEXTS[..at] {
                sum += cosine(&a, semantic.reference(b).unwrap());
            }
        }
        assert!((usual - sum / 3.0).abs() < 1e-9, "{usual} against {}", sum / 3.0);
        // From the vectors that sentence-transformers makes of the same texts.
        assert!((usual - (0.9287 + 0.7972 + 0.7932) / 3.0).abs() < 1e-3, "{usual}");
        // Rescaled, the same text stays 1 and the mean over the others is 0.
        let mut others = 0.0;
        for (at, reference) in TEXTS.into_iter().enumerate() {
            let scores = semantic.score(&[reference], &[TEXTS.to_vec()]).unwrap();
            for (other, score) in scores[0].iter().enumerate() {
                let score = score.unwrap();
                if other == at {
                    assert!((score - 1.0).abs() < 1e-4, "{score}");
                } else {
                    others += score;
                }
            }
        }
        assert_eq!(semantic.score(&[TEXTS[0]], &[vec![""]]).unwrap(), [[Some(-1.0)]], "nothing was written");
        assert!((others / 6.0).abs() < 1e-3, "{}", others / 6.0);
    }

    #[test]
    fn what_cannot_be_rescaled_is_refused() {
        let mut semantic = Semantic::new(encoder(), true);
        assert!(matches!(semantic.score(&[TEXTS[0]], &[vec![TEXTS[0]]]), Err(Error::NoUsual)));
        for texts in [&[][..], &TEXTS[..1], &[TEXTS[0], TEXTS[0]][..]] {
            assert!(matches!(semantic.learn_usual(texts), Err(Error::NoUsual)), "{texts:?}");
        }
    }
}
