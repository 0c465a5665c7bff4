//! Cases, questions and answers for tests.

use std::sync::Arc;

use reinpath_model::event::{Finished, Stamp};
use reinpath_model::stage::AnswerStage;

use super::{SlideId, Store};
use crate::case::{Answer, Case, Id, Purpose, Question, Token};
use crate::review::verdict::{Action, Decision, Draft, Target, Verdict};

/// A case of a slide, which began and was last changed at this time.
pub(crate) fn case(id: &str, slide: &str, at: i64) -> Case {
    Case {
        id: Id(id.to_owned()),
        slide: SlideId { hash: slide.to_owned(), name: format!("{slide}.svs") },
        path: Some(format!("/slides/{slide}.svs").into()),
        title: format!("Title of {id}"),
        created: at,
        changed: at,
    }
}

/// A question of a case.
pub(crate) fn question(id: &str, case: &Case, text: &str) -> Question {
    Question {
        id: Id(id.to_owned()),
        case: case.id.clone(),
        text: text.to_owned(),
        choices: vec!["tubules".to_owned(), "solid sheets".to_owned()],
        words: "Slide 1, patch 1".to_owned(),
        asked: case.created,
        ..Question::default()
    }
}

/// A finished answer: an observation of this text, an analysis and a conclusion of one sentence each.
pub(crate) fn answer(id: &str, question: &Question, observation: &str) -> Answer {
    let stages = [
        (AnswerStage::Observation, observation),
        (AnswerStage::Analysis, "This fits a pattern."),
        (AnswerStage::Conclusion, "A) tubules"),
    ];
    let token = |(stage, text): (AnswerStage, &str)| Token {
        stage: Some(stage),
        text: text.to_owned(),
        logprob: -0.25,
    };
    let mut answer = Answer::begun(question.id.clone(), Purpose::Answer);
    answer.id = Id(id.to_owned());
    (answer.began, answer.ended) = (question.asked, Some(question.asked + 1000));
    answer.tokens = stages.into_iter().map(token).collect();
    let stamp = Stamp { package: "demo".to_owned(), question: question.text.clone(), ..Stamp::default() };
    answer.stamp = Some(Box::new(stamp));
    answer.finished = Some(Finished {
        answer: answer.text(),
        choice: Some("A".to_owned()),
        ..Finished::cancelled_before_it_began()
    });
    answer
}

/// A decision about a sentence of an answer's stage.
pub(crate) fn draft(answer: &str, stage: AnswerStage, sentence: usize, decision: Decision) -> Draft {
    let target = Target::Sentence(stage, sentence);
    let verdict = Verdict { target, decision, reason: None, comment: String::new() };
    Draft { answer: Id(answer.to_owned()), reviewer: "R".to_owned(), action: Action::Decide(verdict) }
}

/// Takes back an entry.
pub(crate) fn undo(answer: &str, number: u64) -> Draft {
    Draft { answer: Id(answer.to_owned()), reviewer: String::new(), action: Action::Undo(number) }
}

/// A store with one case (`c`) of the slide `s`, one question (`q`) and one answer (`a`) of two observed sentences.
pub(crate) fn store_with_an_answer() -> (Store, Arc<Answer>) {
    let mut store = Store::open_in_memory().unwrap();
    let case = case("c", "s", 1000);
    let question = question("q", &case, "What is it?");
    let answer = Arc::new(answer("a", &question, "Glands are seen. Necrosis is absent."));
    store.keep_case(&case).unwrap();
    store.keep_question(&question).unwrap();
    store.keep_answer(&case.id, &answer).unwrap();
    (store, answer)
}
