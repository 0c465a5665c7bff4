//! Answers of tiny models of both families: whole, in tags, in batches, followed up, refused.

use super::*;
use crate::fixture::{CONTEXT, Family, STAGED, Speech, model, model_of, patch, write_package_of};
use crate::package::{AnswerForm, Instructions, MANIFEST, Package, THINK};
use crate::stage::AnswerStage;

fn question(text: &str, patches: usize) -> Question {
    Question {
        patches: (0..patches).map(|i| patch(i, 32 + 24 * i as u32)).collect(),
        question: text.to_owned(),
        choices: vec!["nests".to_owned(), "glands".to_owned()],
        context: "colon".to_owned(),
        history: Vec::new(),
        max_pixels: None,
    }
}

fn ask(model: &ReinPath, question: &Question, sampling: &Sampling) -> (Vec<AskEvent>, Finished) {
    let prepared = model.prepare(question).unwrap();
    let mut events = Vec::new();
    let mut keep = |event| events.push(event);
    let finished = model.answer(question, &prepared, sampling, &AtomicBool::new(false), &mut keep).unwrap();
    (events, finished)
}

fn text(events: &[AskEvent]) -> String {
    let text = |e: &AskEvent| match e {
        AskEvent::Token { text, .. } => text.clone(),
        _ => String::new(),
    };
    events.iter().map(text).collect()
}

#[test]
fn a_staged_answer_comes_stage_by_stage() {
    let model = model(Speech::Script(&STAGED));
    let (events, finished) = ask(&model, &question("What is it?", 2), &Sampling::default());
    let stages: Vec<AnswerStage> = events
        .iter()
        .filter_map(|e| match e {
            AskEvent::Stage { stage } => Some(*stage),
            _ => None,
        })
        .collect();
    assert_eq!(stages, AnswerStage::ALL);
    assert_eq!(finished.answer.observation, "Glands are seen.");
    assert_eq!(finished.answer.analysis, "They are regular.");
    assert_eq!(finished.answer.conclusion, "B) glands");
    assert_eq!(finished.choice.as_deref(), Some("B"));
    assert!(finished.format_ok && finished.stop == Stop::End && finished.tokens == STAGED.len());
    let whole: String = AnswerStage::ALL.map(|s| finished.answer.stage(s)).concat();
    assert_eq!(text(&events), whole, "the tokens are the answer");
    assert_eq!(finished.raw, STAGED.concat(), "headings included");
}

/// An answer in tags, with a line in it that looks like a heading.
const THOUGHT: [&str; 9] = [
    "<think>",
    "Glands.",
    "\nConclusion: ",
    "none yet",
    "</think>",
    "\n<answer>",
    "B.",
    " glands",
    "</answer>",
];

#[test]
fn an_answer_in_tags_is_asked_for_read_and_kept_as_it_was_written() {
    for family in Family::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = write_package_of(family, folder.path(), Speech::Script(&THOUGHT)).unwrap();
        manifest.instructions =
            Instructions { system: THINK.to_owned(), form: AnswerForm::Think, options: OptionMark::Stop };
        std::fs::write(folder.path().join(MANIFEST), toml::to_string(&manifest).unwrap()).unwrap();
        let package = Package::open(folder.path()).unwrap();
        let model = ReinPath::load(&package, &candle_core::Device::Cpu, &mut |_, _| true).unwrap();
        let question = question("What is it?", 2);
        let prompt = model.prepare(&question).unwrap().prompt.text;
        assert!(prompt.contains(THINK) && prompt.contains("What is it?\nA. nests\nB. glands"), "{prompt}");
        let (events, finished) = ask(&model, &question, &Sampling::default());
        assert!(events.contains(&AskEvent::Stage { stage: AnswerStage::Conclusion }), "{family:?}");
        assert_eq!(finished.answer.observation, "");
        assert_eq!(finished.answer.analysis, "Glands.\nConclusion: none yet");
        assert_eq!(
            (finished.answer.conclusion.as_str(), finished.choice.as_deref()),
            ("B. glands", Some("B"))
        );
        assert!(finished.format_ok && finished.stop == Stop::End);
        assert_eq!(finished.raw, THOUGHT.concat());
        let [nests, glands] = finished.options.as_slice() else { panic!("{:?}", finished.options) };
        assert!(glands.logprob > nests.logprob);
        // Cut short, it is kept as far as it came.
        let (_, cut) = ask(&model, &question, &Sampling { max_tokens: 4, ..Sampling::default() });
        assert_eq!((cut.raw, cut.format_ok), (THOUGHT[..4].concat(), false));
        assert_eq!(cut.answer.analysis, "Glands.\nConclusion: none yet");
    }
}

#[test]
fn what_a_patch_may_cost_is_asked_for_and_told() {
    let model = model_of(Family::Qwen, Speech::Babble(4));
    let rgb: Vec<u8> = (0..100 * 60 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let of = |max_pixels| Question {
        patches: vec![Patch::new(100, 60, Some(0.5), rgb.clone()).unwrap()],
        max_pixels,
        ..question("What?", 1)
    };
    let (whole, small) = (of(None), of(Some(4 * 28 * 28)));
    for (question, grid, warnings) in [
        (&whole, Grid { rows: 2, cols: 4 }, 0),
        (&small, Grid { rows: 1, cols: 2 }, 1),
        (&whole, Grid { rows: 2, cols: 4 }, 0),
    ] {
        let prepared = model.prepare(question).unwrap();
        assert_eq!((prepared.grids.as_slice(), prepared.warnings.len()), (&[grid][..], warnings));
    }
    let sampling = Sampling { max_tokens: 12, ..Sampling::default() };
    let questions = [small.clone(), whole.clone(), whole, small];
    let batch = model.answer_batch(&questions, 1, &sampling, &mut |_| true).unwrap();
    for (question, answer) in questions.iter().zip(&batch) {
        assert_eq!(ask(&model, question, &sampling).1.raw, answer.text);
    }
    let tokens = |answer: &BatchAnswer| answer.prompt.tokens().unwrap();
    assert_eq!(tokens(&batch[0]) + 6, tokens(&batch[1]));
}

#[test]
fn a_cancel_is_looked_at_between_the_layers_of_the_encoders() {
    let model = model(Speech::Babble(4));
    // One patch: several are shared by threads, which look by the clock.
    let question = question("What?", 1);
    let mut looks = 0;
    model
        .look(&question.patches, None, &mut || {
            looks += 1;
            true
        })
        .unwrap();
    assert_eq!(looks, 2 * (1 + 1), "of two encoders, one patch and one block each");
    for most in 0..looks {
        let mut left = most;
        let ended = model.look(&question.patches, None, &mut || {
            let goes_on = left > 0;
            left -= usize::from(goes_on);
            goes_on
        });
        assert!(matches!(ended, Err(Error::Cancelled)), "at look {most}");
    }
    let cancel = AtomicBool::new(true);
    assert!(matches!(model.prepare_unless(&question, &cancel), Err(Error::Cancelled)));
    cancel.store(false, Ordering::Relaxed);
    assert!(model.prepare_unless(&question, &cancel).is_ok(), "nothing half is kept");
    cancel.store(true, Ordering::Relaxed);
    assert!(model.prepare_unless(&question, &cancel).is_ok(), "what is kept is not computed again");
    let stopped = model.answer_batch(&[question], 1, &Sampling::default(), &mut |_| false);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn a_cancel_is_looked_at_between_the_blocks_of_a_tower() {
    let model = model_of(Family::Qwen, Speech::Babble(4));
    let question = question("What?", 2);
    let stopped_at = |most: usize| {
        let mut looks = 0;
        let seen = model.look(&question.patches, None, &mut || {
            looks += 1;
            looks < most
        });
        (looks, seen)
    };
    let (looks, seen) = stopped_at(usize::MAX);
    assert!(seen.is_ok() && looks > 2, "more often than once for each patch");
    for most in 1..=looks {
        let (looked, stopped) = stopped_at(most);
        assert!(matches!(stopped, Err(Error::Cancelled)) && looked == most, "at look {most}");
    }
}

#[test]
fn a_batch_gives_the_texts_of_single_answers() {
    for family in Family::ALL {
        a_batch_is_its_answers(&model_of(family, Speech::Babble(4)));
    }
}

fn a_batch_is_its_answers(model: &ReinPath) {
    let questions =
        [question("What?", 1), question("What is seen in these three patches?", 3), question("Hm", 2)];
    let sampling = Sampling { max_tokens: 24, ..Sampling::default() };
    let mut most = 0;
    let batch = model
        .answer_batch(&questions, 1, &sampling, &mut |done| {
            most = most.max(done);
            true
        })
        .unwrap();
    assert_eq!(most, 0, "babble never ends by itself");
    for (question, answer) in questions.iter().zip(&batch) {
        let prepared = model.prepare(question).unwrap();
        let images = model.images(&prepared.seen).unwrap();
        let x = splice(&model.llama, &prepared.prompt, &images).unwrap();
        let mut ids = Vec::new();
        let (llama, stop, cancel) = (&model.llama, &model.stop, &AtomicBool::new(false));
        let generator = Generator { llama, sampling: &sampling, stop, room: 0, cancel };
        let mut each = |t: Drawn| {
            ids.push(t.id);
            Ok(())
        };
        generator.run(&x, None, &mut |_| {}, &mut each).unwrap();
        assert_eq!(ids, answer.tokens.iter().map(|t| t.id).collect::<Vec<_>>());
        assert_eq!((ids.len(), answer.stop), (24, Stop::MaxTokens));
    }
}

#[test]
fn a_batch_whose_answers_end_goes_on_with_the_others() {
    let model = model(Speech::Script(&STAGED));
    let questions = vec![question("What?", 1); 3];
    let sampling = Sampling::default();
    let batch = model.answer_batch(&questions, 1, &sampling, &mut |_| true).unwrap();
    assert!(batch.iter().all(|a| a.stop == Stop::End && a.text == STAGED.concat()));
    let cancelled = model.answer_batch(&questions, 1, &sampling, &mut |_| false);
    assert!(matches!(cancelled, Err(Error::Cancelled)));
}

#[test]
fn a_follow_up_question_on_the_same_patches_is_answered_as_if_it_were_the_first() {
    for family in Family::ALL {
        let [kept, fresh] = [4, 4].map(|seed| model_of(family, Speech::Babble(seed)));
        let sampling = Sampling { max_tokens: 16, ..Sampling::default() };
        ask(&kept, &question("What?", 2), &sampling);
        let follow_up = question("Is it regular?", 2);
        let (events, first) = ask(&kept, &follow_up, &sampling);
        let (again, second) = ask(&fresh, &follow_up, &sampling);
        assert_eq!(events, again, "token by token, with the same probabilities");
        assert_eq!((first.answer, first.options), (second.answer, second.options));
    }
}

#[test]
fn samples_of_one_question_are_drawn_from_one_reading_of_it() {
    let model = model(Speech::Babble(4));
    let questions = [question("What?", 1), question("What is seen in these three patches?", 3)];
    let hot = Sampling { temperature: 1.0, max_tokens: 12, seed: 5, ..Sampling::default() };
    let samples = model.answer_batch(&questions, 3, &hot, &mut |_| true).unwrap();
    let repeated: Vec<Question> = questions.iter().flat_map(|q| vec![q.clone(); 3]).collect();
    let each = model.answer_batch(&repeated, 1, &hot, &mut |_| true).unwrap();
    let texts = |answers: &[BatchAnswer]| answers.iter().map(|a| a.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&samples), texts(&each));
    assert_ne!(samples[0].text, samples[1].text);
}

#[test]
fn the_same_seed_gives_the_same_answer_and_characters_stay_whole() {
    let model = model(Speech::Babble(11));
    let sampling =
        |seed| Sampling { temperature: 1.0, top_p: 0.95, seed, max_tokens: 200, ..Sampling::default() };
    let question = question("What?", 1);
    let (first, _) = ask(&model, &question, &sampling(3));
    assert_eq!(first, ask(&model, &question, &sampling(3)).0);
    assert_ne!(text(&first), text(&ask(&model, &question, &sampling(4)).0));
}

#[test]
fn questions_that_make_no_sense_are_refused_in_a_sentence() {
    let model = model(Speech::Babble(1));
    let refused = |q: &Question| model.prepare(q).unwrap_err().to_string();
    assert_eq!(refused(&question("  ", 1)), "the question is empty");
    assert_eq!(refused(&question("What?", 0)), "a question needs at least one patch");
    assert!(refused(&question("What <image>?", 1)).contains("<image>"));
}

#[test]
fn a_question_that_is_too_long_is_refused_before_its_patches_are_looked_at() {
    for family in Family::ALL {
        let model = model_of(family, Speech::Babble(1));
        let long = question(&"a".repeat(CONTEXT), 1);
        // Looking would end with the cancel.
        let error = model.prepare_unless(&long, &AtomicBool::new(true)).unwrap_err().to_string();
        assert!(error.contains("the model reads at most 50000"), "{family:?}: {error}");
        let batch = model.answer_batch(&[long], 1, &Sampling::default(), &mut |_| false);
        let error = batch.unwrap_err().to_string();
        assert!(error.contains("the model reads at most 50000"), "{family:?}: {error}");
    }
}

#[test]
fn true_and_false_are_choices_too() {
    let none: [String; 0] = [];
    assert_eq!(chosen("True, glands.", &none).as_deref(), Some("True"));
    assert_eq!(chosen("false", &none).as_deref(), Some("False"));
    assert_eq!(chosen("It is true that", &none), None);
    assert_eq!(chosen("B) x", &["x".to_owned(), "y".to_owned()]).as_deref(), Some("B"));
    assert_eq!(chosen("False.", &TRUE_FALSE.map(str::to_owned)).as_deref(), Some("False"));
}
