//! An answer as it is shown: what has been written in each stage, which cards are open, and how it ended.
//!
//! Reads the one event stream of `reinpath_model::event`. What was written stays, whatever happens afterwards.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reinpath_model::event::{AskEvent, Finished, Stamp, Stop};
use reinpath_model::stage::{AnswerStage, StagedAnswer};

use crate::case::{self, Purpose, Token};
use crate::slide::Region;

/// Words that the user asked, without the patches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionText {
    pub question: String,
    /// Options of a choice; empty for an open question.
    pub choices: Vec<String>,
    /// Clinical context.
    pub context: String,
}

/// What was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The slide's file: a slide that was closed and opened again is the same.
    pub slide: PathBuf,
    pub regions: Vec<Region>,
    /// The slide's name and the numbers of its patches when they were asked about.
    pub words: String,
}

/// How far an answer is.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Patches are read, the model loads: no event yet.
    Preparing,
    /// The model has the question.
    Started,
    Writing,
    /// Stop was pressed and not confirmed yet.
    Stopping,
    Finished(Finished),
    /// Ended without `Finished`: the sentence says why.
    Failed(String),
}

/// One answer.
#[derive(Clone, Debug)]
pub struct AnswerView {
    /// The request that events must carry.
    pub id: u64,
    pub question: QuestionText,
    pub subject: Subject,
    pub phase: Phase,
    pub text: StagedAnswer,
    /// What was written before the first heading.
    pub preamble: String,
    /// The stage being written.
    pub stage: Option<AnswerStage>,
    /// What the user decided about each card; `None`: as the writing goes.
    opened: [Option<bool>; 3],
    pub tokens: usize,
    asked_at: Instant,
    first_token_at: Option<Instant>,
    last_token_at: Option<Instant>,
    pub stamp: Option<Box<Stamp>>,
    /// Sentences about this answer, from its stamp.
    pub warnings: Vec<String>,
    /// The same as it is kept: grows with every event.
    pub record: case::Answer,
}

impl AnswerView {
    pub fn new(id: u64, question: QuestionText, subject: Subject) -> Self {
        Self {
            id,
            question,
            subject,
            phase: Phase::Preparing,
            text: StagedAnswer::default(),
            preamble: String::new(),
            stage: None,
            opened: [None; 3],
            tokens: 0,
            asked_at: Instant::now(),
            first_token_at: None,
            last_token_at: None,
            stamp: None,
            warnings: Vec::new(),
            record: case::Answer::begun(case::Id::default(), Purpose::Answer),
        }
    }

    /// Takes the next event of its stream.
    pub fn receive(&mut self, event: AskEvent) {
        if !self.is_running() {
            return;
        }
        match event {
            AskEvent::Started { stamp } => {
                self.warnings.clone_from(&stamp.warnings);
                self.record.stamp = Some(stamp.clone());
                self.stamp = Some(stamp);
                self.advance(Phase::Started);
            }
            AskEvent::Stage { stage } => {
                self.stage = Some(stage);
                self.advance(Phase::Writing);
            }
            AskEvent::Token { stage, text, logprob, .. } => {
                let now = Instant::now();
                self.record.tokens.push(Token { stage, text: text.clone(), logprob });
                self.first_token_at.get_or_insert(now);
                self.last_token_at = Some(now);
                self.tokens += 1;
                match stage {
                    Some(stage) => self.text.stage_mut(stage).push_str(&text),
                    None => self.preamble.push_str(&text),
                }
                self.advance(Phase::Writing);
            }
            AskEvent::Finished(finished) => {
                (self.record.finished, self.record.ended) = (Some(finished.clone()), Some(case::now()));
                self.phase = Phase::Finished(finished);
            }
            AskEvent::Failed { error } => {
                (self.record.failed, self.record.ended) = (Some(error.clone()), Some(case::now()));
                self.phase = Phase::Failed(error);
            }
        }
    }

    fn advance(&mut self, phase: Phase) {
        if self.phase != Phase::Stopping {
            self.phase = phase;
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Preparing | Phase::Started | Phase::Writing | Phase::Stopping)
    }

    /// Whether anything was written.
    pub fn has_text(&self) -> bool {
        !self.preamble.trim().is_empty()
            || AnswerStage::ALL.iter().any(|stage| !self.text.stage(*stage).is_empty())
    }

    /// Whether a stage's card shows all of its text: the one being written, or as the user decided.
    pub fn is_open(&self, stage: AnswerStage) -> bool {
        self.opened[stage as usize].unwrap_or_else(|| self.stage == Some(stage))
    }

    pub fn toggle(&mut self, stage: AnswerStage) {
        self.opened[stage as usize] = Some(!self.is_open(stage));
    }

    /// Time from asking to the first words.
    pub fn time_to_first_words(&self) -> Option<Duration> {
        self.first_token_at.map(|first| first - self.asked_at)
    }

    pub fn waiting_for(&self) -> Duration {
        self.asked_at.elapsed()
    }

    /// Tokens a second of what was written so far.
    pub fn tokens_per_second(&self) -> Option<f64> {
        if let Phase::Finished(finished) = &self.phase
            && finished.decode_secs > 0.0
        {
            return Some(finished.tokens as f64 / finished.decode_secs);
        }
        let span = self.last_token_at?.duration_since(self.first_token_at?).as_secs_f64();
        (self.tokens > 1 && span > 0.05).then(|| (self.tokens - 1) as f64 / span)
    }

    /// How it ended, when that needs to be said.
    pub fn ending(&self) -> Option<String> {
        ending_of(&self.record)
    }

    /// The stamp in one line: model, precision, device, sampling.
    pub fn stamp_line(&self) -> Option<String> {
        self.stamp.as_deref().map(stamp_line_of)
    }
}

/// How an answer ended, when that needs to be said.
pub fn ending_of(answer: &case::Answer) -> Option<String> {
    if let Some(finished) = &answer.finished {
        return match finished {
            Finished { stop: Stop::Cancelled, .. } => Some("Stopped. What was written is kept.".to_owned()),
            Finished { stop: Stop::MaxTokens, .. } => {
                Some("The answer reached its longest length and was cut off.".to_owned())
            }
            Finished { format_ok: false, .. } => Some("The model did not keep to its stages.".to_owned()),
            Finished { .. } => None,
        };
    }
    let sentence = with_full_stop(answer.failed.as_ref()?);
    let has_text = answer.tokens.iter().any(|token| !token.text.trim().is_empty());
    Some(if has_text { format!("{sentence} What was written is kept; you can ask again.") } else { sentence })
}

/// A question with an answer to it as text for the clipboard.
pub fn text_of(question: &case::Question, answer: &case::Answer) -> String {
    let mut lines = vec![format!("Question: {}", question.text)];
    // Options may have been given in another order than the question's own.
    let stamp = answer.stamp.as_deref();
    let asked = stamp.map(|stamp| &stamp.choices).filter(|choices| !choices.is_empty());
    let choices = ('A'..).zip(asked.unwrap_or(&question.choices));
    lines.extend(choices.map(|(letter, choice)| format!("{letter}) {choice}")));
    if !question.context.is_empty() {
        lines.push(format!("Context: {}", question.context));
    }
    lines.push(format!("About: {}", question.words));
    let before_headings = answer.tokens.iter().filter(|token| token.stage.is_none());
    let preamble: String = before_headings.map(|token| token.text.as_str()).collect();
    if !preamble.trim().is_empty() {
        lines.push(format!("\n{}", preamble.trim()));
    }
    let text = answer.text();
    for stage in AnswerStage::ALL {
        let written = text.stage(stage).trim();
        if !written.is_empty() {
            lines.push(format!("\n{}\n{written}", stage.name()));
        }
    }
    let warnings = stamp.into_iter().flat_map(|stamp| stamp.warnings.iter().cloned());
    let terms = stamp.and_then(|stamp| stamp.terms.as_deref()).map(with_full_stop);
    let remarks = warnings.chain(ending_of(answer)).chain(terms).chain(stamp.map(stamp_line_of));
    lines.extend(remarks.map(|line| format!("\n{line}")));
    lines.push("\nFor research use only.\n".to_owned());
    lines.join("\n")
}

/// A stamp in one line: model, precision, device, sampling.
pub fn stamp_line_of(stamp: &Stamp) -> String {
    let short = |hash: &str| hash.chars().take(8).collect::<String>();
    let sampling = if stamp.sampling.temperature > 0.0 {
        format!("temperature {}, seed {}", stamp.sampling.temperature, stamp.sampling.seed)
    } else {
        "greedy".to_owned()
    };
    format!(
        "{} {} · {} on {} · {sampling} · version {}",
        stamp.package,
        short(&stamp.package_hash),
        stamp.precision,
        stamp.device,
        stamp.version
    )
}

/// A sentence, ended as one where it is not.
pub(super) fn with_full_stop(sentence: &str) -> String {
    let sentence = sentence.trim();
    if sentence.ends_with(['.', '!', '?']) { sentence.to_owned() } else { format!("{sentence}.") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn token(stage: AnswerStage, text: &str) -> AskEvent {
        AskEvent::Token { index: 0, stage: Some(stage), text: text.to_owned(), logprob: 0.0 }
    }

    pub(crate) fn finished(stop: Stop) -> AskEvent {
        AskEvent::Finished(Finished {
            answer: StagedAnswer::default(),
            choice: None,
            format_ok: stop == Stop::End,
            tokens: 9,
            prefill_secs: 0.1,
            decode_secs: 0.5,
            stop,
            raw: String::new(),
            options: Vec::new(),
        })
    }

    fn view() -> AnswerView {
        let question = QuestionText { question: "What is seen?".to_owned(), ..QuestionText::default() };
        AnswerView::new(1, question, Subject { words: "a.svs, patch 1".to_owned(), ..Subject::default() })
    }

    #[test]
    fn words_go_to_their_stage_and_the_card_being_written_is_open() {
        let mut view = view();
        let warnings = vec!["The scale of the patch is unknown.".to_owned()];
        view.receive(AskEvent::Started { stamp: Box::new(Stamp { warnings, ..Stamp::default() }) });
        assert_eq!(view.warnings, ["The scale of the patch is unknown."]);
        view.receive(AskEvent::Stage { stage: AnswerStage::Observation });
        view.receive(token(AnswerStage::Observation, "Glands"));
        view.receive(token(AnswerStage::Observation, " are seen."));
        assert!(view.is_open(AnswerStage::Observation) && !view.is_open(AnswerStage::Analysis));
        view.receive(AskEvent::Stage { stage: AnswerStage::Analysis });
        assert_eq!(view.text.observation, "Glands are seen.");
        assert!(!view.is_open(AnswerStage::Observation), "a finished card folds");
        view.toggle(AnswerStage::Observation);
        view.receive(AskEvent::Stage { stage: AnswerStage::Conclusion });
        assert!(view.is_open(AnswerStage::Observation), "a card the user opened stays open");
        view.receive(finished(Stop::End));
        assert!(view.is_open(AnswerStage::Conclusion) && !view.is_running());
        assert_eq!((view.ending(), view.tokens_per_second()), (None, Some(18.0)));
        let question = case::Question { words: "a.svs, patch 1".to_owned(), ..case::Question::default() };
        let text = text_of(&question, &view.record);
        assert!(text.contains("Observation\nGlands are seen.") && text.contains("About: a.svs, patch 1"));
    }

    #[test]
    fn what_was_written_stays_after_stop_and_after_a_failure() {
        for (event, words) in [
            (finished(Stop::Cancelled), "Stopped"),
            (
                AskEvent::Failed { error: "the worker ended".to_owned() },
                "the worker ended. What was written is kept",
            ),
        ] {
            let mut view = view();
            view.receive(AskEvent::Stage { stage: AnswerStage::Observation });
            view.receive(token(AnswerStage::Observation, "Glands"));
            view.receive(event);
            assert!(view.ending().is_some_and(|ending| ending.contains(words)), "{:?}", view.ending());
            view.receive(token(AnswerStage::Observation, " late"));
            assert_eq!(view.text.observation, "Glands");
        }
    }
}
