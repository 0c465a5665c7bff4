//! What answers are called in words: what they were asked for, how they were drawn, and how they agree.

use reinpath_model::stage::AnswerStage;

use super::questions::{NUCLEUS, WARMTH};
use crate::case::{Answer, Purpose, Question, Variation};
use crate::review::difference::{Piece, words};

/// What an answer was asked for; nothing where it is an answer like others.
pub(super) fn purpose(answer: &Answer) -> Option<String> {
    let varied = |what: &str| Some(format!("Asked to see whether the answer holds: {what}."));
    match &answer.purpose {
        Purpose::Answer => None,
        Purpose::Sample => Some("One of several samples.".to_owned()),
        Purpose::Replay => Some("Asked to see whether the same comes out again.".to_owned()),
        Purpose::Stability(variation) => match variation {
            Variation::Repeated { seed } => varied(&format!("again, with seed {seed}")),
            Variation::Shuffled { .. } => varied("options in another order"),
            Variation::Shifted { x, y } => varied(&format!("patches moved by {x} and {y} px")),
            Variation::Turned { degrees } => varied(&format!("patches turned by {degrees}°")),
        },
    }
}

/// How an answer was drawn where the package would always take the likeliest word; `usual` is the package's temperature.
pub(super) fn sampling(answer: &Answer, usual: Option<f64>) -> Option<String> {
    let sampling = &answer.stamp.as_ref()?.sampling;
    let is_ours = usual == Some(0.0) && sampling.temperature == WARMTH && sampling.top_p == NUCLEUS;
    is_ours.then(|| {
        format!(
            "Drawn at temperature {WARMTH} and top-p {NUCLEUS} with seed {}: the model's own choice would be the same each time.",
            sampling.seed
        )
    })
}

/// What a column is headed by: its place and its seed, or its patches where they differ.
pub(super) fn column(place: usize, question: &Question, answer: &Answer) -> String {
    if question.group.is_some() {
        let numbers: Vec<String> = question.patches.iter().map(|patch| patch.number.to_string()).collect();
        return format!("Answer about patch {}", numbers.join(", "));
    }
    match &answer.stamp {
        Some(stamp) if stamp.sampling.temperature > 0.0 => {
            format!("Answer {}, seed {}", place + 1, stamp.sampling.seed)
        }
        _ => format!("Answer {}", place + 1),
    }
}

/// The choice of an answer beside that of the first; nothing where neither chooses.
pub(super) fn choice(first: &Answer, other: &Answer) -> Option<String> {
    let of = |answer: &Answer| answer.finished.as_ref().and_then(|finished| finished.choice.clone());
    match (of(first), of(other)) {
        (None, None) => None,
        (Some(first), Some(other)) if first == other => Some(format!("Chooses {other}, as the first does.")),
        (Some(first), Some(other)) => Some(format!("Chooses {other}, the first {first}.")),
        (None, Some(other)) => Some(format!("Chooses {other}, the first none.")),
        (Some(first), None) => Some(format!("Chooses none, the first {first}.")),
    }
}

/// How a stage agrees with that of the first answer.
pub(super) fn agreement(stage: AnswerStage, first: &str, other: &str) -> Option<String> {
    let name = stage.name();
    match (first.trim().is_empty(), other.trim().is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("{name}: the first has none")),
        (false, true) => Some(format!("{name}: none")),
        (false, false) => {
            let (mut gone, mut new) = (0, 0);
            for piece in words(first.trim(), other.trim()) {
                match piece {
                    Piece::Same(_) => {}
                    Piece::Removed(text) => gone += text.split_whitespace().count(),
                    Piece::Added(text) => new += text.split_whitespace().count(),
                }
            }
            Some(match gone.max(new) {
                0 => format!("{name}: the same words"),
                1 => format!("{name}: 1 word differs"),
                count => format!("{name}: {count} words differ"),
            })
        }
    }
}

/// The choice of the first answer.
pub(super) fn own_choice(answer: &Answer) -> Option<String> {
    let choice = answer.finished.as_ref()?.choice.as_ref()?;
    Some(format!("Chooses {choice}."))
}

#[cfg(test)]
mod tests {
    use reinpath_model::event::{Finished, Stamp};

    use super::*;
    use crate::case::PatchKept;

    fn chosen(choice: Option<&str>) -> Answer {
        let finished =
            Finished { choice: choice.map(ToOwned::to_owned), ..Finished::cancelled_before_it_began() };
        Answer { finished: Some(finished), ..Answer::default() }
    }

    #[test]
    fn choices_are_compared_in_words() {
        let of = |a, b| choice(&chosen(a), &chosen(b));
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some("B"), Some("B")).as_deref(), Some("Chooses B, as the first does."));
        assert_eq!(of(Some("B"), Some("C")).as_deref(), Some("Chooses C, the first B."));
        assert_eq!(of(Some("B"), None).as_deref(), Some("Chooses none, the first B."));
    }

    #[test]
    fn stages_agree_by_their_words() {
        let of = |a, b| agreement(AnswerStage::Analysis, a, b);
        assert_eq!(of("", " "), None);
        assert_eq!(of("Large nuclei.", "Large nuclei. ").as_deref(), Some("Analysis: the same words"));
        assert_eq!(
            of("Large nuclei here.", "Small nuclei here.").as_deref(),
            Some("Analysis: 1 word differs")
        );
        assert_eq!(of("Glands.", "").as_deref(), Some("Analysis: none"));
    }

    #[test]
    fn a_column_is_named_by_what_differs() {
        let (mut question, mut answer) = (Question::default(), Answer::default());
        assert_eq!(column(0, &question, &answer), "Answer 1");
        let mut stamp = Stamp::default();
        (stamp.sampling.temperature, stamp.sampling.top_p, stamp.sampling.seed) = (WARMTH, NUCLEUS, 4);
        answer.stamp = Some(Box::new(stamp));
        assert_eq!(column(1, &question, &answer), "Answer 2, seed 4");
        assert!(sampling(&answer, Some(0.0)).is_some_and(|words| words.contains("seed 4")));
        assert_eq!(sampling(&answer, Some(0.7)), None, "that is how the package is used");
        question.group = Some(crate::case::Id::fresh());
        question.patches = vec![PatchKept { number: 3, ..PatchKept::default() }];
        assert_eq!(column(1, &question, &answer), "Answer about patch 3");
    }
}
