//! Chains of answers that were written for the test, and of phantom answers, of which the truth is known.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_training::phantom::balanced_set;

use super::*;

fn answer(observation: &str, analysis: &str, conclusion: &str) -> StagedAnswer {
    StagedAnswer {
        observation: observation.to_owned(),
        analysis: analysis.to_owned(),
        conclusion: conclusion.to_owned(),
    }
}

fn chain(text: &StagedAnswer, choices: &[String]) -> Chain {
    let glossary = Glossary::shipped();
    Chain::read(&Source { text, tokens: &[], glossary: &glossary, unsure_below: 50, choices })
}

fn token(stage: AnswerStage, text: &str, probability: f32) -> Token {
    Token { stage: Some(stage), text: text.to_owned(), logprob: probability.ln() }
}

/// Whether every sentence of the conclusion is supported.
fn is_concluded(text: &StagedAnswer, choices: &[String]) -> bool {
    let chain = chain(text, choices);
    let mut conclusion = chain.sentences.iter().filter(|s| s.stage == AnswerStage::Conclusion);
    conclusion.all(|sentence| sentence.is_supported)
}

#[test]
fn an_answer_of_two_stages_is_a_chain() {
    let text = answer("Crowded glands. No mitoses are seen.", "", "The glands are malignant.");
    let glossary = Glossary::shipped();
    let chain = Chain::of(&text, &[], &glossary, 50);
    let places: Vec<_> = chain.sentences.iter().map(|s| (s.stage, s.index, s.bytes.clone())).collect();
    assert_eq!(
        places,
        [
            (AnswerStage::Observation, 0, 0..15),
            (AnswerStage::Observation, 1, 16..36),
            (AnswerStage::Conclusion, 0, 0..25),
        ]
    );
    let last = &chain.sentences[2];
    assert_eq!((last.rests_on.as_slice(), last.is_supported, last.likelihood), ([0].as_slice(), true, None));
    let (bytes, term) = &chain.sentences[1].terms[0];
    assert_eq!(
        (&text.observation[bytes.clone()], glossary.terms()[*term].name.as_str()),
        ("mitoses", "mitosis")
    );
    assert!(chain.sentences.iter().all(|s| s.doubts.is_empty()));
    assert_eq!(Chain::of(&StagedAnswer::default(), &[], &glossary, 50), Chain::default());
}

#[test]
fn a_doubt_is_a_word_whose_least_likely_token_was_unlikely() {
    let stage = AnswerStage::Observation;
    let tokens = [
        token(stage, "Pl", 0.9),
        token(stage, "eomor", 0.25),
        token(stage, "phic nu", 0.45),
        token(stage, "clei", 0.95),
        token(stage, ".", 0.01),
        token(AnswerStage::Analysis, "So", 0.1),
        token(stage, " Glands", 0.6),
    ];
    let text = answer("Pleomorphic nuclei. Glands", "So", "");
    let glossary = Glossary::shipped();
    let doubts = |unsure_below: u8| {
        let chain = Chain::of(&text, &tokens, &glossary, unsure_below);
        let of_all = chain.sentences.iter().filter(|s| s.stage == stage).flat_map(|s| s.doubts.clone());
        of_all.map(|(bytes, p)| (&text.observation[bytes], (p * 100.0).round() as u8)).collect::<Vec<_>>()
    };
    assert_eq!(doubts(50), [("Pleomorphic", 25), ("nuclei", 45)], "a full stop is no word");
    assert_eq!(doubts(30), [("Pleomorphic", 25)]);
    assert!(doubts(0).is_empty());
    let whole = Chain::of(&text, &tokens, &glossary, 50).sentences[1].likelihood.unwrap();
    assert!((whole - 0.6).abs() < 1e-5, "{whole}");
    // Tokens of another text say nothing of this one.
    let other = answer("Pleomorphic nucleus. Glands", "So", "");
    let chain = Chain::of(&other, &tokens, &glossary, 50);
    assert!(chain.sentences[0].doubts.is_empty() && chain.sentences[0].likelihood.is_none());
    assert_eq!(chain.sentences[2].doubts.len(), 1, "that of the Analysis fits");
}

#[test]
fn an_answer_that_grows_is_the_same_as_one_that_is_read_at_once() {
    let stages = [
        (AnswerStage::Observation, ["Crowded", " glands. No", " mitoses."]),
        (AnswerStage::Analysis, ["The", " glands", " are irregular."]),
        (AnswerStage::Conclusion, ["A malignant", " gland", "."]),
    ];
    let glossary = Glossary::shipped();
    let (mut text, mut tokens, mut grown) = (StagedAnswer::default(), Vec::new(), Chain::default());
    for (stage, pieces) in stages {
        for piece in pieces {
            text.stage_mut(stage).push_str(piece);
            tokens.push(token(stage, piece, 0.4));
            let source =
                Source { text: &text, tokens: &tokens, glossary: &glossary, unsure_below: 50, choices: &[] };
            grown.go_on(stage, &source);
            assert_eq!(grown, Chain::read(&source), "{piece}");
        }
    }
    assert_eq!(grown.sentences.len(), 4);
}

#[test]
fn what_rests_on_what_is_told_by_shared_terms_and_words() {
    // Observation, Analysis, Conclusion; what the first sentence of the Analysis rests on; whether the conclusion is supported.
    let cases: [(&str, &str, &str, &[usize], bool); 12] = [
        ("Glands lie close.", "The glands are crowded.", "Crowded glands.", &[0], true),
        ("Glands. Necrosis.", "Dead tissue is there.", "Necrosis.", &[1], true),
        ("Glands. Necrosis.", "Necrotic glands.", "Necrosis.", &[0, 1], true),
        ("Pale zebra stripes.", "A zebra is striped.", "Zebra stripes.", &[0], true),
        ("A zebra.", "The zebra runs.", "Zebra.", &[], false),
        ("The cells have nuclei.", "Nuclei lie in cells.", "Cells.", &[], false),
        ("Mucin.", "The picture shows necrosis. So it is dead.", "Necrosis.", &[], false),
        ("Mucin pools.", "Pools of mucin are seen. So this is benign.", "Benign.", &[0], true),
        ("Mucin pools.", "", "Mucin.", &[], true),
        ("", "Glands.", "Glands.", &[], false),
        ("Mitoses.", "Cells divide, that is: mitosis. Hence malignant.", "True.", &[0], true),
        ("Fat.", "Lymphocytes are dense.", "True.", &[], false),
    ];
    for (observation, analysis, conclusion, rests_on, is_supported) in cases {
        let text = answer(observation, analysis, conclusion);
        let chain = chain(&text, &[]);
        let first = chain.sentences.iter().find(|s| s.stage == AnswerStage::Analysis);
        assert_eq!(first.map_or(&[][..], |s| s.rests_on.as_slice()), rests_on, "{text:?}");
        assert_eq!(is_concluded(&text, &[]), is_supported, "{text:?}");
    }
}

#[test]
fn the_letter_of_an_option_counts_as_its_text() {
    let text = answer("Pools of mucin.", "Mucin is pale.", "B");
    assert!(!is_concluded(&answer("Pools of mucin.", "The stroma is wavy.", "B"), &[]));
    let choices = ["tumour nests", "mucin"].map(str::to_owned);
    assert!(is_concluded(&text, &choices));
    assert!(!is_concluded(&StagedAnswer { conclusion: "A".to_owned(), ..text }, &choices));
}

#[test]
fn phantom_answers_rest_on_their_own_observations_and_mostly_not_on_those_of_others() {
    let set = balanced_set(&mut ChaCha8Rng::seed_from_u64(7), 200);
    let mut marked = 0;
    for (at, (_, item)) in set.iter().enumerate() {
        assert!(is_concluded(&item.answer, &item.choices), "{:?}", item.answer);
        let other = &set[(at + 1) % set.len()].1.answer.observation;
        let swapped = StagedAnswer { observation: other.clone(), ..item.answer.clone() };
        marked += usize::from(!is_concluded(&swapped, &item.choices));
    }
    assert!(marked >= 100, "with the observation of another field {marked} of 200 conclusions are marked");
}
