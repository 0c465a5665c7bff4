//! Whole answers, from text to reward.

use std::path::Path;

use candle_core::Device;
use reinpath_model::event::Stop;

use super::super::tests_support::choice;
use super::*;

/// A tiny BERT with random weights.
pub(in crate::reward) fn encoder() -> SentenceEncoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bert");
    SentenceEncoder::load(&folder, &Device::Cpu).unwrap()
}

fn config(text: &str) -> RewardConfig {
    toml::from_str(text).unwrap()
}

fn candidate(text: &str) -> Candidate {
    Candidate { text: text.to_owned(), tokens: 90, stop: Stop::End }
}

fn staged(observation: &str, analysis: &str, conclusion: &str) -> Candidate {
    candidate(&format!("[Observation]\n{observation}\n[Analysis]\n{analysis}\n[Conclusion]\n{conclusion}"))
}

/// The answers to one question, with the paper's weights unless `more` says otherwise.
fn scored(more: &str, question: &Question, candidates: Vec<Candidate>) -> Vec<Scored> {
    let mut judge = Judge::new(&config(more), 100, Some(encoder())).unwrap();
    judge.score(std::slice::from_ref(question), &[candidates]).unwrap().remove(0)
}

#[test]
fn the_reference_answer_earns_the_papers_three_and_a_half() {
    let question = choice();
    let reference = question.reference.clone().unwrap().to_text();
    let scored = scored("", &question, vec![candidate(&reference)]);
    assert!((scored[0].reward - 3.5).abs() < 1e-4, "{scored:?}");
    assert!(scored[0].is_right);
    assert_eq!(scored[0].parts.keys().collect::<Vec<_>>(), [part::ACCURACY, part::FORMAT, part::SEMANTIC]);
}

#[test]
fn each_part_is_earned_by_itself() {
    let question = choice();
    let answers = vec![
        staged("Tumour nests with several mitoses.", "So.", "A) glands"),
        candidate("[Observation]\nTumour nests with several mitoses."),
        candidate("[Conclusion]\nB"),
        candidate(""),
    ];
    let scored = scored("", &question, answers);
    let parts = |at: usize| {
        let get = |name: &str| scored[at].parts[name];
        (get(part::FORMAT), get(part::ACCURACY), get(part::SEMANTIC))
    };
    assert_eq!((parts(0).0, parts(0).1), (1.0, 0.0));
    assert!((parts(0).2 - 1.0).abs() < 1e-5 && (scored[0].reward - 1.5).abs() < 1e-4);
    assert_eq!((parts(1).0, parts(1).1), (0.0, 0.0));
    assert!((scored[1].reward - 1.0).abs() < 1e-4);
    assert_eq!((parts(2), scored[2].reward), ((0.0, 1.0, 0.0), 2.0));
    assert_eq!((parts(3), scored[3].reward, scored[3].is_right), ((0.0, 0.0, 0.0), 0.0, false));
}

#[test]
fn what_there_is_no_reference_for_is_absent_and_not_zero() {
    let question = Question { reference: None, ..choice() };
    let answer = staged("Nests.", "Solid.", "B) tumour nests");
    let with_label = scored("", &question, vec![answer.clone()]);
    assert!(!with_label[0].parts.contains_key(part::SEMANTIC));
    assert_eq!(with_label[0].reward, 2.5);
    let without = scored("", &Question { label: None, ..question }, vec![answer]);
    assert_eq!(without[0].parts.keys().collect::<Vec<_>>(), [part::FORMAT]);
    assert!(!without[0].is_right);
}

#[test]
fn checks_against_gaming_take_away_what_was_not_earned() {
    let settings = "semantic = 0.0\ngaming = { minimum_words = 3, supported = true, repetition = 0.5, repetition_words = 2 }";
    let question = choice();
    let honest = staged("Solid groups are seen.", "They mean tumour nests, option B.", "B) tumour nests");
    let empty = staged("a", "b", "B) tumour nests");
    let loud = staged("nests nests nests nests nests", "tumour nests are seen here", "B) tumour nests");
    let scored = scored(settings, &question, vec![honest, empty, loud]);
    assert_eq!(scored[0].reward, 2.5);
    // Right, but neither with words nor with a reason.
    assert!(scored[1].is_right && scored[1].parts[part::ACCURACY] == 0.0);
    assert_eq!(scored[1].reward, 0.0);
    assert!(scored[2].parts[part::REPETITION] < 0.0 && scored[2].reward < 2.5);
}

#[test]
fn nearly_too_long_costs() {
    let settings = "semantic = 0.0\noverlong = { cache = 20, weight = 0.4 }";
    let answer = staged("Solid groups.", "So nests.", "B");
    let scored = scored(settings, &choice(), vec![answer.clone(), Candidate { tokens: 100, ..answer }]);
    assert!((scored[0].reward - (2.5 - 0.2)).abs() < 1e-12);
    assert!((scored[1].reward - (2.5 - 0.4)).abs() < 1e-12);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let refused = |text: &str| Judge::new(&config(text), 100, None).map(|_| ()).unwrap_err().to_string();
    assert!(refused("").contains("text_encoder"));
    assert!(refused("accuracy = nan").contains("reward.accuracy"));
    assert!(refused("semantic = 0.0\ngaming = { repetition = -1.0 }").contains("gaming.repetition"));
    let no_words = "semantic = 0.0\ngaming = { repetition = 1.0, repetition_words = 0 }";
    assert!(refused(no_words).contains("repetition_words"));
    assert!(refused("semantic = 0.0\nexternal = 'no-such-program-of-anybody'").contains("cannot be started"));
    assert!(Judge::new(&config("semantic = 0.0"), 100, None).is_ok());
}

#[test]
fn the_cosine_is_rescaled_once_the_usual_one_is_known() {
    let mut judge = Judge::new(&config("rescale = true"), 100, Some(encoder())).unwrap();
    assert!(judge.is_rescaled());
    let answers = [vec![staged("Tumour nests with several mitoses.", "So.", "B")]];
    let questions = [choice()];
    assert!(matches!(judge.score(&questions, &answers), Err(Error::NoUsual)));
    let mut other = choice();
    other.reference.as_mut().unwrap().observation = "Necrosis.".to_owned();
    let usual = judge.learn_usual(&[choice(), other]).unwrap().unwrap();
    assert!(usual < 1.0);
    let scored = judge.score(&questions, &answers).unwrap();
    assert!((scored[0][0].parts[part::SEMANTIC] - 1.0).abs() < 1e-3);
}

#[cfg(unix)]
#[test]
fn an_external_score_that_is_missing_counts_for_none_of_the_group() {
    // Every second answer is scored.
    let script = r#"while read -r line; do echo "{\"score\": 3}"; read -r line; echo "{\"reason\": \"blurred\"}"; done"#;
    let settings = format!("semantic = 0.0\nexternal_weight = 0.5\nexternal = '''sh -c '{script}' '''");
    let mut judge = Judge::new(&config(&settings), 100, None).unwrap();
    let answer = staged("Solid groups.", "So nests.", "B");
    let one = judge.score(&[choice()], &[vec![answer.clone()]]).unwrap();
    assert_eq!(one[0][0].reward, 2.5 + 1.5);
    judge.score(&[choice()], &[vec![answer.clone()]]).unwrap();
    let two = judge.score(&[choice()], &[vec![answer.clone(), answer]]).unwrap().remove(0);
    assert_eq!((two[0].reward, two[1].reward), (2.5, 2.5));
    assert_eq!(two[0].parts[part::EXTERNAL], 3.0);
    assert!(!two[1].parts.contains_key(part::EXTERNAL));
    assert_eq!((two[0].unscored.as_deref(), two[1].unscored.as_deref()), (None, Some("blurred")));
}
