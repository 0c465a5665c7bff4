//! All parts of the reward together, for the answers to a batch of questions.

use std::collections::BTreeMap;

use reinpath_model::sentence::SentenceEncoder;
use reinpath_model::stage::StagedAnswer;

use super::semantic::Semantic;
use super::{
    Candidate, Error, External, Question, Scored, Verdict, is_formatted, is_right, is_supported, overlong,
    part, repeated_share,
};
use crate::config::RewardConfig;

/// Scores answers as a configuration says.
///
/// A part whose weight is 0 is not computed, except format and accuracy, which cost nothing and are worth watching.
#[derive(Debug)]
pub struct Judge {
    config: RewardConfig,
    /// The longest answer allowed, in tokens.
    max_tokens: usize,
    semantic: Option<Semantic>,
    external: Option<External>,
}

impl Judge {
    /// Checks the settings and starts the external program, if there is one. `encoder` is needed where the semantic part
    /// has a weight.
    ///
    /// With `rescale`, [`Self::learn_usual`] comes next.
    pub fn new(
        config: &RewardConfig,
        max_tokens: usize,
        encoder: Option<SentenceEncoder>,
    ) -> Result<Self, Error> {
        check(config)?;
        let semantic = match (config.semantic == 0.0, encoder) {
            (true, _) => None,
            (false, Some(encoder)) => Some(Semantic::new(encoder, config.rescale)),
            (false, None) => return Err(Error::NoEncoder),
        };
        let external = match &config.external {
            Some(command) if config.external_weight != 0.0 => {
                Some(External::start(command, config.external_timeout)?)
            }
            _ => None,
        };
        Ok(Self { config: config.clone(), max_tokens, semantic, external })
    }

    /// Whether [`Self::learn_usual`] is needed before answers can be scored.
    pub fn is_rescaled(&self) -> bool {
        self.semantic.is_some() && self.config.rescale
    }

    /// Learns from questions what cosines observations of different questions usually have; returns their mean. All
    /// questions that are trained on, in the same order each time: the rewards depend on it.
    pub fn learn_usual(&mut self, questions: &[Question]) -> Result<Option<f64>, Error> {
        let Some(semantic) = self.semantic.as_mut().filter(|_| self.config.rescale) else { return Ok(None) };
        let observations: Vec<&str> =
            questions.iter().map(reference_observation).filter(|text| !text.is_empty()).collect();
        semantic.learn_usual(&observations).map(Some)
    }

    /// Scores the answers to each question.
    pub fn score(
        &mut self,
        questions: &[Question],
        candidates: &[Vec<Candidate>],
    ) -> Result<Vec<Vec<Scored>>, Error> {
        let answers: Vec<Vec<StagedAnswer>> = candidates
            .iter()
            .map(|group| group.iter().map(|candidate| StagedAnswer::parse(&candidate.text).0).collect())
            .collect();
        let mut semantic = self.semantic_scores(questions, &answers)?.into_iter();
        let mut scored = Vec::with_capacity(questions.len());
        for ((question, candidates), answers) in questions.iter().zip(candidates).zip(&answers) {
            let semantic = semantic.next().unwrap_or_default();
            let mut group = Vec::with_capacity(candidates.len());
            for (at, (candidate, answer)) in candidates.iter().zip(answers).enumerate() {
                let mut one = self.by_rule(question, candidate, answer);
                if let Some(score) = semantic.get(at).copied().flatten() {
                    one.parts.insert(part::SEMANTIC.to_owned(), score);
                }
                if let Some(external) = &mut self.external {
                    match external.score(question, candidate, answer)? {
                        Verdict::Score(score) => {
                            one.parts.insert(part::EXTERNAL.to_owned(), score);
                        }
                        Verdict::Unscored(reason) => one.unscored = Some(reason),
                    }
                }
                group.push(one);
            }
            self.add_up(&mut group);
            scored.push(group);
        }
        Ok(scored)
    }

    fn semantic_scores(
        &mut self,
        questions: &[Question],
        answers: &[Vec<StagedAnswer>],
    ) -> Result<Vec<Vec<Option<f64>>>, Error> {
        let Some(semantic) = &mut self.semantic else { return Ok(Vec::new()) };
        let references: Vec<&str> = questions.iter().map(reference_observation).collect();
        let observations: Vec<Vec<&str>> = answers
            .iter()
            .map(|group| group.iter().map(|answer| answer.observation.trim()).collect())
            .collect();
        semantic.score(&references, &observations)
    }

    /// The parts that need no model and no other program; the sum is not made yet.
    fn by_rule(&self, question: &Question, candidate: &Candidate, answer: &StagedAnswer) -> Scored {
        let gaming = &self.config.gaming;
        let mut parts = BTreeMap::new();
        let mut add = |name: &str, value: f64| {
            parts.insert(name.to_owned(), value);
        };
        let is_formatted = is_formatted(&candidate.text, gaming.minimum_words);
        add(part::FORMAT, f64::from(u8::from(is_formatted)));
        let is_right = is_right(question, &answer.conclusion);
        if let Some(is_right) = is_right {
            let earns = is_right
                && (!gaming.supported || is_supported(question, &answer.analysis, &answer.conclusion));
            add(part::ACCURACY, f64::from(u8::from(earns)));
        }
        if gaming.repetition != 0.0 {
            let text = candidate.text.to_lowercase();
            let words: Vec<&str> = text.split_whitespace().collect();
            add(part::REPETITION, 0.0 - repeated_share(&words, gaming.repetition_words));
        }
        if let Some(setting) = &self.config.overlong {
            add(part::OVERLONG, overlong(candidate.tokens, self.max_tokens, setting.cache));
        }
        Scored { parts, reward: 0.0, is_right: is_right.unwrap_or(false), unscored: None }
    }

    /// Sums over the parts that all answers of a group have.
    fn add_up(&self, group: &mut [Scored]) {
        let is_complete = group.iter().all(|scored| scored.unscored.is_none());
        for scored in group {
            let counts = |name: &str| name != part::EXTERNAL || is_complete;
            scored.reward = scored
                .parts
                .iter()
                .filter(|(name, _)| counts(name))
                .map(|(name, value)| self.weight(name) * value)
                .sum();
        }
    }

    fn weight(&self, name: &str) -> f64 {
        let config = &self.config;
        match name {
            part::FORMAT => config.format,
            part::ACCURACY => config.accuracy,
            part::SEMANTIC => config.semantic,
            part::EXTERNAL => config.external_weight,
            part::REPETITION => config.gaming.repetition,
            part::OVERLONG => config.overlong.as_ref().map_or(0.0, |setting| setting.weight),
            _ => 0.0,
        }
    }
}

/// Empty where there is none.
fn reference_observation(question: &Question) -> &str {
    question.reference.as_ref().map_or("", |answer| answer.observation.trim())
}

/// Settings that no answer could be scored by.
fn check(config: &RewardConfig) -> Result<(), Error> {
    let overlong = config.overlong.as_ref().map_or(0.0, |setting| setting.weight);
    for (name, weight) in [
        ("format", config.format),
        ("accuracy", config.accuracy),
        ("semantic", config.semantic),
        ("external_weight", config.external_weight),
        ("overlong.weight", overlong),
        ("gaming.repetition", config.gaming.repetition),
    ] {
        if !weight.is_finite() {
            return Err(Error::Setting(format!("reward.{name} must be a number, not {weight}")));
        }
    }
    for (name, cost) in [("overlong.weight", overlong), ("gaming.repetition", config.gaming.repetition)] {
        if cost < 0.0 {
            return Err(Error::Setting(format!("reward.{name} is what is taken away and cannot be {cost}")));
        }
    }
    if config.gaming.repetition != 0.0 && config.gaming.repetition_words == 0 {
        return Err(Error::Setting("reward.gaming.repetition_words must be at least 1".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
