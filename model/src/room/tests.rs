//! Devices whose free memory is what a test says.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::answer::Question;
use crate::event::Stop;
use crate::fixture::{Speech, model, patch, write_package};
use crate::request::Sampling;

fn config() -> LlamaConfig {
    let sizes = serde_json::json!({
        "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 1000, "rms_norm_eps": 1e-5, "max_position_embeddings": 64
    });
    serde_json::from_value(sizes).unwrap()
}

fn question(patches: usize) -> Question {
    Question {
        patches: (0..patches).map(|i| patch(i, 32)).collect(),
        question: "What is it?".to_owned(),
        choices: vec!["nests".to_owned(), "glands".to_owned()],
        ..Question::default()
    }
}

#[test]
fn a_model_that_is_too_large_is_refused_before_it_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path(), Speech::Babble(1)).unwrap();
    let package = Package::open(folder.path()).unwrap();
    let need = package.memory().unwrap().weights;
    let mut told = Vec::new();
    let load = |free: Free, told: &mut Vec<String>| {
        ReinPath::load_beside(&package, &Device::Cpu, Precision::F32, free, &mut |what, _| {
            told.push(what.to_owned());
            true
        })
    };
    let error = load(|_| Some(1000), &mut told).unwrap_err();
    assert!(matches!(error, Error::Room(_)) && told == ["reading the tokenizer"], "{error}: {told:?}");
    let sentence = error.to_string();
    let needed = in_words(need);
    let parts = ["the model fixture needs", &needed, "main memory has 0.0 MB free", "q4_k_m"];
    assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
    assert!(sentence.ends_with(&folder.path().display().to_string()), "{sentence}");
    assert!(load(|_| None, &mut told).is_ok(), "nothing is refused where nobody knows");
    assert!(load(|_| Some(u64::MAX), &mut told).is_ok());
}

#[test]
fn what_would_fit_is_named_with_its_size() {
    let (config, others) = (config(), 1000);
    let [q8_0, q4_k_m] = [Recipe::Q8_0, Recipe::Q4KM].map(|recipe| recipe.bytes(&config) + others);
    assert!(q4_k_m < q8_0);
    let taken = Taken { weights: 4 * q8_0, language: 4 * q8_0 - others };
    let of_full = |free| taken.advice("f16", &config, free);
    assert_eq!(of_full(q8_0), format!("quantised to q8_0 it takes {}, which fits", in_words(q8_0)));
    assert_eq!(of_full(q8_0 - 1), format!("quantised to q4_k_m it takes {}, which fits", in_words(q4_k_m)));
    assert!(of_full(q4_k_m - 1).starts_with("even quantised to q4_k_m"));
    let smallest = Taken { weights: q4_k_m + 10, language: q4_k_m + 10 - others };
    assert_eq!(smallest.advice("q4_k_m", &config, q4_k_m), "use a smaller model");
}

#[test]
fn a_question_that_does_not_fit_is_told_what_does() {
    let one = Demand::of_one(100, 400);
    assert_eq!((one.tokens(), one.advice(10, 3000).as_str()), (500, "answers of at most 200 tokens fit"));
    let kept = Demand { kept: 50, ..one };
    assert_eq!((kept.tokens(), kept.advice(10, 3000).as_str()), (550, "answers of at most 150 tokens fit"));
    let many = Demand { answers: 8, ..one };
    assert_eq!(many.advice(10, 10_000), "answers of at most 25 tokens fit, or 2 at once fit");
    assert_eq!(many.advice(10, 6000), "one at a time fits");
    assert!(one.advice(10, 900).contains("fewer patches"));
    assert!(one.advice(0, 0).contains("fewer patches"));
    assert_eq!(in_words(16_060_000_000), "16.1 GB");
}

#[test]
fn a_question_is_refused_before_its_cache_is_made_and_a_smaller_one_is_answered() {
    let mut model = model(Speech::Babble(4));
    let a_token = model.token_bytes();
    assert_eq!(a_token, 2 * 2 * 2 * 8 * 4, "keys and values, layers, heads, channels, f32");
    let prepared = model.prepare(&question(1)).unwrap();
    let cancel = AtomicBool::new(false);
    let ask = |model: &ReinPath, max_tokens: usize| {
        let sampling = Sampling { max_tokens, ..Sampling::default() };
        model.answer(&question(1), &prepared, &sampling, &cancel, &mut |_| {})
    };
    // 256 bytes a token: room for some hundred tokens.
    model.free = |_| Some(256 * 400);
    let sentence = ask(&model, 40_000).unwrap_err().to_string();
    assert!(sentence.contains("an answer of at most 4"), "{sentence}");
    assert!(sentence.contains("; answers of at most") && sentence.ends_with("fit"), "{sentence}");
    assert_eq!(ask(&model, 8).unwrap().stop, Stop::MaxTokens);

    let sampling = Sampling { max_tokens: 64, ..Sampling::default() };
    let batch = |samples| model.answer_batch(&[question(1)], samples, &sampling, &mut |_| true);
    let sentence = batch(50).unwrap_err().to_string();
    assert!(sentence.starts_with("writing 50 answers") && sentence.contains(" fit"), "{sentence}");
    assert_eq!(batch(1).unwrap().len(), 1);
}

#[test]
fn the_scores_of_options_are_refused_in_the_same_way() {
    let mut model = model(Speech::Babble(4));
    let question = question(1);
    let prepared = model.prepare(&question).unwrap();
    let ids = model.tokenizer.encode("[Observation]\nGlands.\n[Conclusion]\nA) nests").unwrap();
    let images = model.images(&prepared.seen).unwrap();
    let x = crate::generate::splice(&model.llama, &prepared.prompt, &images).unwrap();
    assert!(!model.score_options(&x, &ids, &question.choices).unwrap().is_empty());
    model.free = |_| Some(256);
    let refused = model.score_options(&x, &ids, &question.choices);
    assert!(matches!(refused, Err(Error::Room(_))), "{refused:?}");
}

#[test]
fn an_allocation_that_fails_becomes_the_same_sentence() {
    let model = model(Speech::Babble(4));
    let failed = || {
        let text = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")".to_owned();
        Err::<(), Error>(candle_core::Error::Msg(text).into())
    };
    let sentence = model.with_room(Demand::of_one(10, 20), failed).unwrap_err().to_string();
    assert!(sentence.starts_with("main memory ran out: a question of 10 tokens"), "{sentence}");
    assert!(!sentence.contains("CUDA"), "{sentence}");
    let other = || Err::<(), Error>(candle_core::Error::Msg("shape mismatch".to_owned()).into());
    let sentence = model.with_room(Demand::of_one(10, 20), other).unwrap_err().to_string();
    assert!(sentence.contains("shape mismatch"), "{sentence}");

    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path(), Speech::Babble(1)).unwrap();
    let package = Package::open(folder.path()).unwrap();
    let told = |error: Error| {
        let free: Free = |_| Some(1_000_000_000_000);
        told_of_package(error, &package, Precision::F32, &Device::Cpu, free).to_string()
    };
    let sentence = told(crate::weights::Error::Full("out of memory".to_owned()).into());
    assert!(sentence.starts_with("main memory ran out: the model fixture needs"), "{sentence}");
    assert_eq!(told(Error::Cancelled), "cancelled");
}
