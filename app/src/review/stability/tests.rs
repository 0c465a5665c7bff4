//! What is varied, and which answers agree.

use reinpath_model::event::Finished;

use super::*;
use crate::case::{PatchKept, Token};

fn question(choices: &[&str]) -> Question {
    Question {
        choices: choices.iter().map(ToString::to_string).collect(),
        patches: vec![PatchKept::new(1, Region { x: 100, y: 200, w: 448, h: 448 })],
        ..Question::default()
    }
}

fn answer(id: &str, purpose: Purpose, stages: [&str; 3]) -> Answer {
    let mut answer = Answer::begun(Id("question".to_owned()), purpose);
    answer.id = Id(id.to_owned());
    answer.tokens = AnswerStage::ALL
        .into_iter()
        .zip(stages)
        .map(|(stage, text)| Token { stage: Some(stage), text: text.to_owned(), logprob: -0.1 })
        .collect();
    answer.finished = Some(Finished { stop: Stop::End, ..Finished::cancelled_before_it_began() });
    answer
}

fn varied_answer(id: &str, variation: Variation, stages: [&str; 3]) -> Arc<Answer> {
    Arc::new(answer(id, Purpose::Stability(variation), stages))
}

#[test]
fn each_kind_of_variation_comes_in_turn_and_none_twice() {
    let question = question(&["glands", "nests", "sheets"]);
    let all = variations(&question, 3, true, true, true, 7);
    assert_eq!(all, variations(&question, 3, true, true, true, 7), "the same seed gives the same");
    assert_ne!(all, variations(&question, 3, true, true, true, 8));
    assert_eq!(all.len(), 3 + 3 + 3 + 2);
    for (n, one) in all.iter().enumerate() {
        assert!(!all[..n].contains(one), "{one:?} comes twice");
    }
    assert!(matches!(
        all[..4],
        [
            Variation::Repeated { .. },
            Variation::Shuffled { .. },
            Variation::Shifted { .. },
            Variation::Turned { .. }
        ]
    ));
    assert!(all.iter().all(|one| !matches!(one, Variation::Shuffled { order } if order == &[0, 1, 2])));
    assert!(all.iter().all(|one| !matches!(one, Variation::Shifted { x, y } if x.abs() + y.abs() != 22)));
}

#[test]
fn what_cannot_be_varied_is_not() {
    let two = variations(&question(&["yes", "no"]), 5, true, false, false, 1);
    let shuffled: Vec<_> = two.iter().filter(|one| matches!(one, Variation::Shuffled { .. })).collect();
    assert_eq!(shuffled, [&Variation::Shuffled { order: vec![1, 0] }], "two options have one other order");
    let open = variations(&question(&[]), 2, true, false, false, 1);
    assert_eq!(open.len(), 2, "an open question has no options: {open:?}");
    assert!(variations(&question(&[]), 0, true, true, true, 1).is_empty());
    let placeless = variations(&Question::default(), 2, true, true, true, 1);
    assert!(placeless.iter().all(|one| matches!(one, Variation::Repeated { .. })));
}

#[test]
fn a_varied_question_differs_in_one_thing() {
    let question = question(&["glands", "nests", "sheets"]);
    let region = question.patches[0].region();
    let (choices, regions, turned) = varied(&question, &Variation::Shuffled { order: vec![2, 0, 1] });
    assert_eq!(choices, ["sheets", "glands", "nests"]);
    assert_eq!((regions[0], turned), (region, 0.0));
    let (choices, regions, _) = varied(&question, &Variation::Shifted { x: -22, y: 0 });
    assert_eq!((choices, regions[0]), (question.choices.clone(), Region { x: 78, ..region }));
    let (_, regions, turned) = varied(&question, &Variation::Turned { degrees: -5.0 });
    assert_eq!((regions[0], turned), (region, -5.0));
    assert_eq!(in_words(&Variation::Shuffled { order: vec![2, 0, 1] }), "Options in the order C, A, B");
}

const STAGES: [&str; 3] =
    ["Glands are seen. Necrosis is present.", "Glands with necrosis are malignant.", "B) nests"];

#[test]
fn options_in_another_order_are_compared_by_their_text() {
    let (question, glossary) = (question(&["glands", "nests", "sheets"]), Glossary::shipped());
    let base = answer("base", Purpose::Answer, STAGES);
    let shuffled = |id: &str, conclusion: &'static str| {
        let variation = Variation::Shuffled { order: vec![1, 2, 0] };
        varied_answer(id, variation, [STAGES[0], STAGES[1], conclusion])
    };
    let others = [shuffled("same", "A) nests"), shuffled("letter", "B"), shuffled("none", "It is unclear.")];
    let agreement = agreement(&base, &question, &others, &glossary);
    assert_eq!((agreement.answers, agreement.agreeing(AnswerStage::Conclusion)), (3, Some(1)));
    assert_eq!(agreement.stages[0], Some(1.0));
    let differing: Vec<&str> = agreement.differing.iter().map(|(id, _, _)| id.0.as_str()).collect();
    assert_eq!(differing, ["letter", "none"], "B is now another option");
    assert_eq!(agreement.differing[0].2, [AnswerStage::Conclusion]);
}

#[test]
fn stages_agree_by_their_terms_affirmed_or_denied() {
    let (question, glossary) = (question(&[]), Glossary::shipped());
    let base = answer("base", Purpose::Answer, STAGES);
    let again = |id: &str, observation: &'static str, conclusion: &'static str| {
        varied_answer(id, Variation::Repeated { seed: 1 }, [observation, STAGES[1], conclusion])
    };
    let others = [
        again("same", "Necrosis is seen; glands, too.", "B) nests"),
        again("denied", "No glands. Necrosis is absent.", "B) nests"),
        again("other", "Sheets of cells with mucin.", "Sheets."),
    ];
    let found = agreement(&base, &question, &others, &glossary);
    let differing: Vec<(&str, &[AnswerStage])> =
        found.differing.iter().map(|(id, _, stages)| (id.0.as_str(), stages.as_slice())).collect();
    let expected: [(&str, &[AnswerStage]); 2] = [
        ("denied", &[AnswerStage::Observation]),
        ("other", &[AnswerStage::Observation, AnswerStage::Conclusion]),
    ];
    assert_eq!(differing, expected);
    assert_eq!(
        found.stages.map(|share| share.map(|share| (share * 3.0).round())),
        [Some(1.0), Some(3.0), Some(2.0)]
    );
}

#[test]
fn only_whole_varied_answers_count() {
    let (question, glossary) = (question(&[]), Glossary::shipped());
    let base = answer("base", Purpose::Answer, STAGES);
    let mut stopped = answer("stopped", Purpose::Stability(Variation::Turned { degrees: 5.0 }), ["", "", ""]);
    stopped.finished = Some(Finished::cancelled_before_it_began());
    let mut failed = stopped.clone();
    (failed.finished, failed.failed) = (None, Some("The model's process ended.".to_owned()));
    let others = [answer("sample", Purpose::Sample, ["", "", ""]), stopped, failed].map(Arc::new);
    let found = agreement(&base, &question, &others, &glossary);
    assert_eq!(found, Agreement::default());
    assert_eq!(found.agreeing(AnswerStage::Observation), None);
    // Words count where there are no terms.
    let plain = answer("base", Purpose::Answer, ["Something purple everywhere.", "", "Purple."]);
    let others = [
        varied_answer("a", Variation::Repeated { seed: 1 }, ["Everywhere something purple.", "", "purple"]),
        varied_answer("b", Variation::Repeated { seed: 2 }, ["Quite yellow overall.", "", "Yellow."]),
    ];
    let found = agreement(&plain, &question, &others, &glossary);
    assert_eq!(found.stages, [Some(0.5), None, Some(0.5)]);
}
