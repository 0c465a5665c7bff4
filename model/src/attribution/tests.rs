//! Maps of tiny models' answers, over patches of one family and of the other.

use candle_core::Device;

use super::*;
use crate::fixture::{Family, STAGED, Speech, model, model_of, patch};
use crate::request::Sampling;
use crate::stage::AnswerStage;

fn question() -> Question {
    Question {
        patches: vec![patch(0, 32), patch(1, 48)],
        question: "What?".to_owned(),
        ..Question::default()
    }
}

/// What would be kept had the model written this text.
fn written(model: &ReinPath, prepared: &Prepared, text: &str) -> Trace {
    let ids = model.tokenizer.encode(text).unwrap();
    let images = model.images(&prepared.seen).unwrap();
    let prompt = splice(&model.llama, &prepared.prompt, &images).unwrap();
    let answer = model.llama.embed(&Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).unwrap()).unwrap();
    let (len, x) = (prompt.tokens().unwrap(), Tensor::cat(&[&prompt.x, &answer], 1).unwrap());
    let at = crate::llama::Positions::along(&prompt.course, 0, len + ids.len());
    let hidden = model.llama.forward(&x, &at, None).unwrap();
    let mut states = vec![hidden.narrow(1, 0, len).unwrap()];
    states.extend((0..ids.len()).map(|i| hidden.narrow(1, len + i, 1).unwrap()));
    Trace { hidden: states, ids }
}

/// A patch of any size: to the tower of the tiny Qwen2.5-VL each 28 px of a side are a token, to the tiny ReinPath all is
/// four.
pub(super) fn sized(number: u32, width: u32, height: u32) -> Patch {
    let rgb = (0..width * height * 3).map(|i| ((number * 31 + i * 7) % 251) as u8).collect();
    Patch::new(width, height, Some(0.5), rgb).unwrap()
}

#[test]
fn every_sentence_has_a_map_of_each_method_on_each_patch() {
    let model = model(Speech::Script(&STAGED));
    let question = question();
    let prepared = model.prepare(&question).unwrap();
    let (cancel, mut trace) = (AtomicBool::new(false), Trace::default());
    let sampling = Sampling::default();
    let finished =
        model.answer_traced(&question, &prepared, &sampling, &cancel, Some(&mut trace), &mut |_| {}).unwrap();
    assert_eq!(trace.ids.len(), finished.tokens);
    let places = Places::of(&prepared.prompt, &prepared.grids, &model.tokenizer).unwrap();
    assert_eq!(trace.hidden[0].dims(), [1, places.len, model.llama.config.hidden_size]);
    assert_eq!(model.tokenizer.tokenizer().decode(&places.question, false).unwrap(), "\nWhat?");
    let maps = model.maps(&question, &prepared, &trace, 0, Duration::MAX, &cancel).unwrap();
    assert_eq!(maps.len(), 3 * 2 * 3);
    for (i, (head, grid)) in maps.iter().enumerate() {
        assert_eq!((head.patch, head.rows, head.cols, grid.len()), (i / 3 % 2, 2, 2, 4));
        assert!(grid.iter().all(|x| (0.0..=1.0).contains(x)), "{grid:?}");
        // The script is said whatever is seen.
        assert_eq!((head.fall, head.random_fall), (0.0, 0.0));
    }
    let heads: Vec<_> = maps.iter().step_by(6).map(|(head, _)| head).collect();
    let told: Vec<_> =
        heads.iter().map(|h| (h.stage, h.sentence.as_str(), h.first_token, h.tokens)).collect();
    assert_eq!(
        told,
        [
            (AnswerStage::Observation, "Glands are seen.", 1, 2),
            (AnswerStage::Analysis, "They are regular.", 4, 2),
            (AnswerStage::Conclusion, "B) glands", 7, 2),
        ]
    );
    let methods = [MapMethod::Tam, MapMethod::RelativeAttention, MapMethod::Occlusion];
    assert_eq!(maps.iter().take(3).map(|(head, _)| head.method).collect::<Vec<_>>(), methods);
    assert_eq!((maps[0].0.crop, maps[3].0.crop), ([0.0, 0.0, 32.0, 32.0], [8.0, 0.0, 32.0, 32.0]));
    let quick = model.maps(&question, &prepared, &trace, 0, Duration::ZERO, &cancel).unwrap();
    let without: Vec<_> = maps.into_iter().filter(|(head, _)| head.method != MapMethod::Occlusion).collect();
    assert_eq!(quick, without, "no time for those of occlusion changes nothing else");
}

#[test]
fn maps_are_the_same_twice_and_what_is_masked_matters() {
    let model = model(Speech::Babble(4));
    let question = question();
    let prepared = model.prepare(&question).unwrap();
    let trace = written(&model, &prepared, "[Observation]\nGlands.\n[Conclusion]\nIt is tumour.");
    let run = |seed| {
        model.maps(&question, &prepared, &trace, seed, Duration::MAX, &AtomicBool::new(false)).unwrap()
    };
    let first = run(3);
    assert_eq!(first.len(), 2 * 2 * 3);
    assert_eq!(first, run(3));
    let other = run(4);
    let grids = |maps: &[(SentenceMap, Vec<f32>)]| maps.iter().map(|m| m.1.clone()).collect::<Vec<_>>();
    assert_eq!(grids(&first), grids(&other), "the seed draws the random masks only");
    let random = |maps: &[(SentenceMap, Vec<f32>)]| maps.iter().map(|m| m.0.random_fall).collect::<Vec<_>>();
    assert_ne!(random(&first), random(&other));
    assert!(first.iter().all(|(head, _)| head.fall != 0.0 && head.difference() != 0.0), "{first:?}");
    let brightest = |grids: &[Vec<f32>]| grids.concat().into_iter().fold(0.0, f32::max);
    for sentence in grids(&first).chunks(6) {
        // The patches of a sentence share one scale.
        for method in [0, 2] {
            let both = [sentence[method].clone(), sentence[method + 3].clone()];
            assert_eq!(brightest(&both), 1.0, "{both:?}");
        }
    }
}

#[test]
fn without_sentences_there_are_no_maps_and_a_cancel_ends_them() {
    let model = model(Speech::Babble(4));
    let question = question();
    let prepared = model.prepare(&question).unwrap();
    let cancelled = AtomicBool::new(true);
    let outside = written(&model, &prepared, "no stage at all");
    assert!(model.maps(&question, &prepared, &outside, 0, Duration::MAX, &cancelled).unwrap().is_empty());
    assert!(
        model.maps(&question, &prepared, &Trace::default(), 0, Duration::MAX, &cancelled).unwrap().is_empty()
    );
    let inside = written(&model, &prepared, "[Observation]\nGlands.");
    let ended = model.maps(&question, &prepared, &inside, 0, Duration::MAX, &cancelled);
    assert!(matches!(ended, Err(Error::Cancelled)));
}

#[test]
fn patches_of_any_size_have_maps_of_their_own_grid_over_the_whole_of_them() {
    let model = model_of(Family::Qwen, Speech::Babble(4));
    let question = Question {
        patches: vec![sized(0, 60, 60), sized(1, 90, 60)],
        question: "What?".to_owned(),
        ..Question::default()
    };
    let prepared = model.prepare(&question).unwrap();
    let wide = Grid { rows: 2, cols: 3 };
    assert_eq!(prepared.grids, [Grid::square(2), wide]);
    let places = Places::of(&prepared.prompt, &prepared.grids, &model.tokenizer).unwrap();
    assert_eq!((places.cells(), places.image_tokens()), (vec![0..4, 4..10], 10));
    assert_eq!(places.len, prepared.prompt.len_of(&prepared.grids));
    // What ends the last image is no text of the question.
    assert_eq!(model.tokenizer.tokenizer().decode(&places.question, false).unwrap(), "What?");
    assert_eq!(places.text, places.patches[1] + 6 + 1);
    let trace = written(&model, &prepared, "[Observation]\nGlands.\n[Conclusion]\nIt is tumour.");
    let run = || model.maps(&question, &prepared, &trace, 3, Duration::MAX, &AtomicBool::new(false)).unwrap();
    let maps = run();
    assert_eq!(maps.len(), 2 * 2 * 3);
    for (head, map) in &maps {
        let (grid, width) = if head.patch == 0 { (Grid::square(2), 60.0) } else { (wide, 90.0) };
        assert_eq!((head.rows, head.cols, map.len()), (grid.rows, grid.cols, grid.tokens()));
        assert_eq!(head.crop, [0.0, 0.0, width, 60.0]);
        assert!(map.iter().all(|x| (0.0..=1.0).contains(x)), "{map:?}");
        assert!(head.fall != 0.0 && head.random_fall != 0.0, "{head:?}");
    }
    assert_eq!(maps, run());
}
