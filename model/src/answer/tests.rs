//! Answers of tiny models: whole, in batches, followed up, refused.

use super::*;
use crate::fixture::{STAGED, Speech, model, patch};
use crate::stage::AnswerStage;

fn question(text: &str, patches: usize) -> Question {
    Question {
        patches: (0..patches).map(|i| patch(i, 32)).collect(),
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
fn a_batch_gives_the_texts_of_single_answers() {
    let model = model(Speech::Babble(4));
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
    let (kept, fresh) = (model(Speech::Babble(4)), model(Speech::Babble(4)));
    let sampling = Sampling { max_tokens: 16, ..Sampling::default() };
    ask(&kept, &question("What?", 2), &sampling);
    let follow_up = question("Is it regular?", 2);
    let (events, first) = ask(&kept, &follow_up, &sampling);
    let (again, second) = ask(&fresh, &follow_up, &sampling);
    assert_eq!(events, again, "token by token, with the same probabilities");
    assert_eq!((first.answer, first.options), (second.answer, second.options));
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
    let long = question(&"a".repeat(crate::fixture::CONTEXT), 1);
    let prepared = model.prepare(&long).unwrap();
    let images = model.images(&prepared.seen).unwrap();
    let error = splice(&model.llama, &prepared.prompt, &images).unwrap_err().to_string();
    assert!(error.contains("the model reads at most 50000"), "{error}");
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
