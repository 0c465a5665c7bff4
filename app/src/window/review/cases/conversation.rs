//! The tree of a case: what came before a question, which answers stand beside each other, and what came after.

use std::sync::Arc;

use reinpath_model::request::Exchange;
use reinpath_model::stage::{AnswerStage, StagedAnswer};

use crate::case::{Answer, Id, OpenCase, Purpose, Question, now};

/// Exchanges that a model is given at most, the newest: an answer must fit behind them.
pub(super) const MOST_HISTORY: usize = 8;

/// Whether an answer is one that a conversation goes through: those of stability and replay are looked at beside it.
fn is_of_conversation(answer: &Answer) -> bool {
    matches!(answer.purpose, Purpose::Answer | Purpose::Sample)
}

/// What came before a question, the oldest first: each earlier question with the answer that was followed up.
pub(super) fn earlier<'a>(
    open: &'a OpenCase,
    question: &Question,
) -> Vec<(&'a Arc<Question>, &'a Arc<Answer>)> {
    let mut before = Vec::new();
    let mut follows = question.follows.as_ref();
    // A damaged case may go in circles: nobody asks more often than there are questions.
    while let Some(answer) = follows.and_then(|id| open.answers.get(id))
        && let Some(question) = open.questions.get(&answer.question)
        && before.len() < open.questions.len()
    {
        before.push((question, answer));
        follows = question.follows.as_ref();
    }
    before.reverse();
    before
}

/// What a question has in common with those it was edited from and with those it was asked together with.
fn family<'a>(open: &'a OpenCase, question: &'a Question) -> &'a Id {
    let mut first = question;
    for _ in 0..open.questions.len() {
        match first.edited_from.as_ref().and_then(|id| open.questions.get(id)) {
            Some(before) => first = before,
            None => break,
        }
    }
    first.group.as_ref().unwrap_or(&first.id)
}

/// The answers to a question, to what it was edited from or into, and to those it was asked together with, in the order in which they were
/// asked for; `shown` is always among them, also while it is written.
pub(super) fn branches(open: &OpenCase, question: &Question, shown: &Id) -> Vec<Id> {
    let wanted = family(open, question);
    let mut answers: Vec<(i64, &Id, i64, &Id)> = Vec::new();
    for answer in open.answers.values() {
        let Some(of) = open.questions.get(&answer.question) else { continue };
        if (is_of_conversation(answer) || answer.id == *shown) && family(open, of) == wanted {
            answers.push((of.asked, &of.id, answer.began, &answer.id));
        }
    }
    answers.sort_unstable();
    let mut ids: Vec<Id> = answers.into_iter().map(|(.., id)| id.clone()).collect();
    if !ids.contains(shown) {
        ids.push(shown.clone());
    }
    ids
}

/// Whether answers to two questions stand beside each other.
pub(super) fn are_beside(open: &OpenCase, one: &Question, other: &Question) -> bool {
    family(open, one) == family(open, other)
}

/// The answer that the conversation goes on with after one: the last to the last question that follows it up.
pub(super) fn next(open: &OpenCase, answer: &Id) -> Option<Id> {
    let questions = open.questions_after(Some(answer));
    questions.into_iter().rev().find_map(|question| last_answer(open, &question.id))
}

fn last_answer(open: &OpenCase, question: &Id) -> Option<Id> {
    let answers = open.answers_to(question);
    answers.into_iter().rev().find(|answer| is_of_conversation(answer)).map(|answer| answer.id.clone())
}

/// The answer at the end of the conversation that goes through one.
pub(super) fn end(open: &OpenCase, answer: &Id) -> Id {
    let mut end = answer.clone();
    for _ in 0..open.answers.len() {
        match next(open, &end) {
            Some(after) => end = after,
            None => break,
        }
    }
    end
}

/// The answer of a case that was asked for last.
pub(super) fn newest(open: &OpenCase) -> Option<Id> {
    let answers = open.answers.values().filter(|answer| is_of_conversation(answer));
    let last = answers.max_by(|a, b| (a.began, &a.id).cmp(&(b.began, &b.id)));
    last.map(|answer| answer.id.clone())
}

/// An answer as it was generated, headings or tags included.
pub(super) fn as_generated(answer: &Answer) -> String {
    answer.raw().map_or_else(|| with_headings(&answer.text()), str::to_owned)
}

/// The same of one that was kept before that was: the stages that it has under their headings.
fn with_headings(text: &StagedAnswer) -> String {
    let has_text = |stage: &AnswerStage| !text.stage(*stage).trim().is_empty();
    let part = |stage: AnswerStage| format!("[{}]\n{}", stage.name(), text.stage(stage));
    let parts: Vec<String> = AnswerStage::ALL.into_iter().filter(has_text).map(part).collect();
    parts.join("\n")
}

/// What a model is given of a conversation: its newest exchanges, the oldest of them first.
pub(super) fn history(before: &[(&Arc<Question>, &Arc<Answer>)]) -> Vec<Exchange> {
    let newest = &before[before.len().saturating_sub(MOST_HISTORY)..];
    let exchange = |(question, answer): &(&Arc<Question>, &Arc<Answer>)| Exchange {
        question: question.text.clone(),
        choices: question.choices.clone(),
        answer: as_generated(answer),
    };
    newest.iter().map(exchange).collect()
}

/// Now, but after all that a case has: what is asked within a millisecond has its order too.
pub(super) fn later(open: Option<&OpenCase>) -> i64 {
    let asked = open.iter().flat_map(|open| open.questions.values()).map(|question| question.asked);
    let began = open.iter().flat_map(|open| open.answers.values()).map(|answer| answer.began);
    asked.chain(began).max().map_or(i64::MIN, |last| last.saturating_add(1)).max(now())
}

/// A seed that no answer to a question was drawn with; 0 is that of the first.
pub(super) fn next_seed(open: &OpenCase, question: &Id) -> u64 {
    let answers = open.answers_to(question);
    let used = answers.iter().filter_map(|answer| Some(answer.stamp.as_ref()?.sampling.seed));
    used.max().map_or(0, |seed| seed.saturating_add(1)).max(answers.len().max(1) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reinpath_model::event::Finished;

    use super::*;
    use crate::case::{Case, Token, Variation};
    use crate::store::SlideId;

    fn id(name: &str) -> Id {
        Id(name.to_owned())
    }

    fn question(name: &str, asked: i64, follows: Option<&str>) -> Question {
        Question {
            id: id(name),
            follows: follows.map(id),
            text: format!("{name}?"),
            asked,
            ..Question::default()
        }
    }

    fn answer(name: &str, of: &str, began: i64) -> Answer {
        let token =
            Token { stage: Some(AnswerStage::Observation), text: format!("{name} is seen."), logprob: -0.1 };
        Answer { id: id(name), question: id(of), tokens: vec![token], began, ..Answer::default() }
    }

    /// q1 → a1 → q2 → a2, a2b → q3 (after a2) → a3; q1 was edited into q1b → b1.
    fn case() -> OpenCase {
        let edited = Question { edited_from: Some(id("q1")), ..question("q1b", 9, None) };
        let questions =
            [question("q1", 1, None), question("q2", 3, Some("a1")), question("q3", 6, Some("a2")), edited];
        let turned = Purpose::Stability(Variation::Turned { degrees: 5.0 });
        let answers = [
            answer("a1", "q1", 2),
            answer("a2", "q2", 4),
            answer("a2b", "q2", 5),
            answer("a3", "q3", 7),
            Answer { purpose: turned, ..answer("s", "q2", 8) },
            answer("b1", "q1b", 10),
        ];
        let slide = SlideId { hash: "h".to_owned(), name: String::new() };
        let case = Case { id: id("c"), slide, path: None, title: "q1?".to_owned(), created: 1, changed: 10 };
        OpenCase {
            case,
            questions: questions.into_iter().map(|of| (of.id.clone(), Arc::new(of))).collect(),
            answers: answers.into_iter().map(|of| (of.id.clone(), Arc::new(of))).collect(),
        }
    }

    fn names(ids: &[Id]) -> Vec<&str> {
        ids.iter().map(|id| id.0.as_str()).collect()
    }

    #[test]
    fn what_came_before_a_question_is_told_from_the_beginning() {
        let open = case();
        let before = earlier(&open, &open.questions[&id("q3")]);
        let told: Vec<_> =
            before.iter().map(|(of, answer)| (of.text.as_str(), answer.id.0.as_str())).collect();
        assert_eq!(told, [("q1?", "a1"), ("q2?", "a2")]);
        assert_eq!(
            history(&before),
            [("q1?", "a1 is seen."), ("q2?", "a2 is seen.")].map(|(question, text)| Exchange {
                question: question.to_owned(),
                choices: Vec::new(),
                answer: format!("[Observation]\n{text}"),
            })
        );
        assert!(earlier(&open, &open.questions[&id("q1")]).is_empty());
    }

    #[test]
    fn a_case_that_goes_in_circles_ends() {
        let mut open = case();
        let circle = question("q1", 1, Some("a3"));
        open.questions.insert(id("q1"), Arc::new(circle));
        assert_eq!(earlier(&open, &open.questions[&id("q3")]).len(), open.questions.len());
        assert!(open.answers.contains_key(&end(&open, &id("a1"))));
    }

    #[test]
    fn answers_to_a_question_and_to_what_it_was_edited_into_are_branches() {
        let open = case();
        let of = |question: &str, shown: &str| branches(&open, &open.questions[&id(question)], &id(shown));
        assert_eq!(names(&of("q1", "a1")), ["a1", "b1"]);
        assert_eq!(names(&of("q1b", "b1")), ["a1", "b1"]);
        assert_eq!(names(&of("q2", "a2")), ["a2", "a2b"], "stability is none");
        assert_eq!(names(&of("q2", "s")), ["a2", "a2b", "s"], "unless it is in view");
        assert_eq!(names(&of("q2", "live")), ["a2", "a2b", "live"]);
    }

    #[test]
    fn questions_that_were_asked_together_are_branches_of_each_other() {
        let mut open = case();
        let together =
            |name: &str, asked| Question { group: Some(id("g")), ..question(name, asked, Some("a1")) };
        for (name, asked) in [("p1", 20), ("p2", 21)] {
            open.questions.insert(id(name), Arc::new(together(name, asked)));
            let of = answer(&format!("{name}a"), name, asked);
            open.answers.insert(of.id.clone(), Arc::new(of));
        }
        assert_eq!(names(&branches(&open, &open.questions[&id("p1")], &id("p1a"))), ["p1a", "p2a"]);
    }

    #[test]
    fn a_conversation_goes_on_with_the_last_answer_to_the_last_question() {
        let open = case();
        assert_eq!(next(&open, &id("a1")), Some(id("a2b")));
        assert_eq!(next(&open, &id("a2")), Some(id("a3")));
        assert_eq!(next(&open, &id("a3")), None);
        assert_eq!(end(&open, &id("a1")), id("a2b"));
        assert_eq!(newest(&open), Some(id("b1")));
        let empty = OpenCase { questions: BTreeMap::new(), answers: BTreeMap::new(), ..open };
        assert_eq!(newest(&empty), None);
    }

    #[test]
    fn what_comes_later_is_later_than_all_that_there_is() {
        let mut open = case();
        assert!(later(Some(&open)) >= now() - 60_000 && later(None) > 0);
        open.answers.insert(id("far"), Arc::new(answer("far", "q1", i64::MAX - 5)));
        assert_eq!(later(Some(&open)), i64::MAX - 4);
    }

    #[test]
    fn seeds_are_used_once() {
        let mut open = case();
        assert_eq!(next_seed(&open, &id("q1")), 1);
        assert_eq!(next_seed(&open, &id("q2")), 3);
        let mut drawn = answer("drawn", "q1", 11);
        let mut stamp = reinpath_model::event::Stamp::default();
        stamp.sampling.seed = 6;
        drawn.stamp = Some(Box::new(stamp));
        open.answers.insert(drawn.id.clone(), Arc::new(drawn));
        assert_eq!(next_seed(&open, &id("q1")), 7);
    }

    #[test]
    fn stages_that_an_answer_lacks_have_no_heading() {
        let text = StagedAnswer { observation: "Glands.".to_owned(), ..StagedAnswer::default() };
        assert_eq!(with_headings(&text), "[Observation]\nGlands.");
        let whole = StagedAnswer { analysis: "So.".to_owned(), conclusion: "A".to_owned(), ..text };
        assert_eq!(with_headings(&whole), whole.to_text());
    }

    #[test]
    fn an_answer_that_says_what_was_generated_is_given_on_as_it_was() {
        let mut open = case();
        let mut thought = answer("a1", "q1", 2);
        let raw = "<think>a1 is seen.</think><answer>Yes.</answer>";
        let finished = Finished { raw: raw.to_owned(), ..Finished::cancelled_before_it_began() };
        thought.finished = Some(finished);
        open.answers.insert(thought.id.clone(), Arc::new(thought));
        let before = earlier(&open, &open.questions[&id("q3")]);
        let told: Vec<String> = history(&before).into_iter().map(|exchange| exchange.answer).collect();
        assert_eq!(told, [raw, "[Observation]\na2 is seen."]);
    }
}
