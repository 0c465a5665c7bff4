//! What holds of many decisions, and what an answer becomes by them.

use super::*;
use AnswerStage::{Analysis, Conclusion, Observation};

fn verdict(target: Target, decision: Decision) -> Verdict {
    Verdict { target, decision, reason: None, comment: String::new() }
}

fn entry(number: u64, action: Action) -> Entry {
    Entry {
        number,
        at: 0,
        answer: Id("answer".to_owned()),
        answer_hash: String::new(),
        reviewer: if number < 90 { "Ada".to_owned() } else { "Ben".to_owned() },
        action,
    }
}

fn decided(number: u64, target: Target, decision: Decision) -> Entry {
    entry(number, Action::Decide(verdict(target, decision)))
}

fn text() -> StagedAnswer {
    StagedAnswer {
        observation: "Glands are seen. Their nuclei are large.\nNecrosis is absent. ".to_owned(),
        analysis: "So it is.".to_owned(),
        conclusion: "B) tumour".to_owned(),
    }
}

const FIRST: Target = Target::Sentence(Observation, 0);
const SECOND: Target = Target::Sentence(Observation, 1);

fn edit(text: &str) -> Decision {
    Decision::Edit(text.to_owned())
}

#[test]
fn the_newest_decision_of_sentence_stage_and_answer_holds() {
    let mut entries = vec![decided(1, FIRST, Decision::Reject)];
    let at = |entries: &[Entry], target| {
        Standing::of(entries, &[]).at(target).map(|verdict| verdict.decision.clone())
    };
    assert_eq!((at(&entries, FIRST), at(&entries, SECOND)), (Some(Decision::Reject), None));
    entries.push(decided(2, Target::Stage(Observation), Decision::Accept));
    assert_eq!(at(&entries, FIRST), Some(Decision::Accept), "its stage was decided later");
    assert_eq!(at(&entries, Target::Sentence(Analysis, 0)), None);
    entries.push(decided(3, SECOND, edit("Large nuclei.")));
    assert_eq!(at(&entries, SECOND), Some(edit("Large nuclei.")));
    assert_eq!(
        at(&entries, Target::Stage(Observation)),
        Some(Decision::Accept),
        "a sentence is not its stage"
    );
    entries.push(decided(4, Target::Answer, Decision::Reject));
    assert_eq!(at(&entries, SECOND), Some(Decision::Reject));
    let draft = Draft {
        answer: Id("answer".to_owned()),
        reviewer: "Ada".to_owned(),
        action: Action::Decide(verdict(SECOND, Decision::Accept)),
    };
    let standing = Standing::of(&entries, &[draft]);
    assert_eq!(standing.at(SECOND).unwrap().decision, Decision::Accept, "what waits is newest");
    assert_eq!((standing.number_at(SECOND), standing.number_at(FIRST)), (None, Some(4)));
    assert_eq!(standing.last(), Some(4));
    assert_eq!(standing.verdicts().len(), 4, "one of each target");
}

#[test]
fn what_is_taken_back_gives_way_to_what_was_before_and_may_come_back() {
    let mut entries = vec![
        decided(1, FIRST, Decision::Accept),
        decided(2, FIRST, Decision::Reject),
        entry(3, Action::Undo(2)),
    ];
    let now = |entries: &[Entry]| {
        let standing = Standing::of(entries, &[]);
        (standing.at(FIRST).map(|verdict| verdict.decision.clone()), standing.last())
    };
    assert_eq!(now(&entries), (Some(Decision::Accept), Some(1)));
    entries.push(entry(4, Action::Undo(1)));
    assert_eq!(now(&entries), (None, None));
    assert!(!Standing::of(&entries, &[]).has_any());
    entries.push(entry(5, Action::Undo(3)));
    assert_eq!(now(&entries), (Some(Decision::Reject), Some(2)), "taking back was taken back");
    entries.push(decided(91, SECOND, Decision::Accept));
    let standing = Standing::of(&entries, &[]);
    assert_eq!((standing.last_by("Ada"), standing.last_by("Cleo")), (Some((2, FIRST)), None));
    assert_eq!(standing.last_by("Ben"), Some((91, SECOND)));
}

#[test]
fn an_answer_is_complete_when_every_sentence_was_judged() {
    let mut entries = vec![decided(1, Target::Stage(Observation), Decision::Accept)];
    entries.push(decided(2, Target::Sentence(Analysis, 0), Decision::Accept));
    assert!(!Standing::of(&entries, &[]).is_complete(&text()));
    entries.push(decided(3, Target::Sentence(Conclusion, 0), Decision::Reject));
    assert!(Standing::of(&entries, &[]).is_complete(&text()));
    assert!(!Standing::of(&entries, &[]).is_complete(&StagedAnswer::default()));
    assert_eq!(sentences(&text()).len(), 5);
    assert_eq!(sentences(&text())[2], (Observation, 2, "Necrosis is absent.".to_owned()));
}

#[test]
fn a_corrected_answer_has_edits_in_place_and_no_rejected_sentence() {
    let corrected = |entries: &[Entry]| corrected(&text(), &Standing::of(entries, &[]));
    assert_eq!(corrected(&[]), text());
    let mut entries = vec![decided(1, FIRST, Decision::Accept), decided(2, SECOND, Decision::Reject)];
    assert_eq!(corrected(&entries).observation, "Glands are seen.\nNecrosis is absent. ");
    entries.push(decided(3, FIRST, Decision::Reject));
    assert_eq!(corrected(&entries).observation, "Necrosis is absent. ");
    entries.push(decided(4, Target::Sentence(Observation, 2), edit("Necrosis is present.")));
    assert_eq!(corrected(&entries).observation, "Necrosis is present. ");
    entries.push(decided(5, Target::Stage(Analysis), Decision::Reject));
    assert_eq!(
        (corrected(&entries).analysis.as_str(), corrected(&entries).conclusion.as_str()),
        ("", "B) tumour")
    );
}

#[test]
fn a_stage_that_was_edited_as_a_whole_has_that_text() {
    let whole = Target::Stage(Observation);
    let mut entries = vec![
        decided(1, FIRST, Decision::Reject),
        decided(2, whole, edit("Glands are seen. Mucin is abundant.")),
    ];
    let observation = |entries: &[Entry]| corrected(&text(), &Standing::of(entries, &[])).observation;
    assert_eq!(observation(&entries), "Glands are seen. Mucin is abundant.", "it is newer");
    entries.push(decided(3, FIRST, Decision::Reject));
    entries.push(decided(4, SECOND, Decision::Reject));
    assert_eq!(observation(&entries), "Mucin is abundant.", "only what the new text still says is left out");
    entries.push(decided(5, whole, Decision::Accept));
    assert_eq!(observation(&entries), text().observation);
}
