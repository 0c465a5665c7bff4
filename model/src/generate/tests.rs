//! The one loop, for prompts whose tokens stand at places of three numbers.

use candle_core::Device;

use super::*;
use crate::llama::tests::{ids, qwen, with_two_images};
use crate::package::Grid;

/// A prompt of these tokens on this course.
fn prompt(llama: &Llama, tokens: &[u32], course: Course) -> Spliced {
    Spliced { x: llama.embed(&ids(&[tokens]).unwrap()).unwrap(), course }
}

/// Three prompts of different lengths: with two images, with another one, and of words alone.
fn prompts(llama: &Llama) -> Vec<Spliced> {
    let tokens: Vec<u32> = (0..14).map(|i| (i * 7 + 3) % 30).collect();
    let image = Stretch::Image(Grid { rows: 1, cols: 4 });
    let other = Course::of([Stretch::Words(1), image, Stretch::Words(4)]);
    vec![
        prompt(llama, &tokens[..12], with_two_images()),
        prompt(llama, &tokens[5..14], other),
        prompt(llama, &tokens[3..8], Course::default()),
    ]
}

/// The tokens of an answer, and what its cache holds.
fn alone(
    llama: &Llama,
    prompt: &Spliced,
    prefix: Option<&Prefix>,
    sampling: &Sampling,
) -> (Vec<Drawn>, usize) {
    let never = AtomicBool::new(false);
    let generator = Generator { llama, sampling, stop: &[], room: 0, cancel: &never };
    let mut drawn = Vec::new();
    let mut each = |token: Drawn| -> Result<(), Error> {
        drawn.push(token);
        Ok(())
    };
    let (stop, cache) = generator.run(prompt, prefix, &mut |_| {}, &mut each).unwrap();
    assert_eq!(stop, Stop::MaxTokens);
    (drawn, cache.len())
}

/// Asserts that the same tokens were drawn, with the same probabilities but for rounding.
fn same(a: &[Drawn], b: &[Drawn], what: &str) {
    let of = |drawn: &[Drawn]| drawn.iter().map(|token| token.id).collect::<Vec<_>>();
    assert_eq!(of(a), of(b), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a.logprob - b.logprob).abs() < 1e-4, "{what}: {a:?} and {b:?}");
    }
}

#[test]
fn what_is_written_goes_on_where_the_course_does() {
    let llama = qwen().unwrap();
    let sampling = Sampling { max_tokens: 6, ..Sampling::default() };
    let prompt = &prompts(&llama)[0];
    let (drawn, len) = alone(&llama, prompt, None, &sampling);
    assert_eq!(len, 12 + 5, "the last token is not read");
    // The same tokens read in one pass are as likely.
    let written: Vec<u32> = drawn.iter().map(|token| token.id).collect();
    let x = Tensor::cat(&[&prompt.x, &llama.embed(&ids(&[&written[..5]]).unwrap()).unwrap()], 1).unwrap();
    let hidden = llama.forward(&x, &Positions::along(&prompt.course, 0, 17), None).unwrap();
    let logits = llama.logits(&hidden.narrow(1, 11, 6).unwrap()).unwrap();
    let likely = candle_nn::ops::log_softmax(&logits, candle_core::D::Minus1).unwrap().squeeze(0).unwrap();
    for (row, token) in likely.to_vec2::<f32>().unwrap().iter().zip(&drawn) {
        assert!((row[token.id as usize] - token.logprob).abs() < 1e-4, "{token:?}");
    }
}

#[test]
fn a_beginning_that_was_kept_changes_no_bit() {
    let llama = qwen().unwrap();
    let sampling = Sampling { temperature: 1.0, seed: 3, max_tokens: 6, ..Sampling::default() };
    let never = AtomicBool::new(false);
    let prompt = &prompts(&llama)[0];
    // Up to the second image's last token.
    let beginning = prompt.first(11).unwrap();
    let kept = Prefix::read(&llama, &beginning, &never).unwrap();
    assert_eq!(kept.len(), 11);
    let first = alone(&llama, prompt, Some(&kept), &sampling).0;
    assert_eq!(alone(&llama, prompt, Some(&kept), &sampling).0, first);
    let anew = Prefix::read(&llama, &beginning, &never).unwrap();
    assert_eq!(alone(&llama, prompt, Some(&anew), &sampling).0, first);
    same(&alone(&llama, prompt, None, &sampling).0, &first, "without a beginning");

    assert!(kept.is_of(&beginning).unwrap());
    // What follows the beginning is not its own; where its own tokens stand is.
    let longer = Course::of([
        Stretch::Words(2),
        Stretch::Image(Grid { rows: 2, cols: 3 }),
        Stretch::Words(1),
        Stretch::Image(Grid { rows: 2, cols: 1 }),
        Stretch::Words(9),
    ]);
    assert!(kept.is_of(&Spliced { course: longer, ..beginning.clone() }).unwrap());
    assert!(!kept.is_of(&Spliced { course: Course::default(), ..beginning.clone() }).unwrap());
    assert!(!kept.is_of(&prompt.first(10).unwrap()).unwrap());
    let x = (&beginning.x + 0.1).unwrap();
    assert!(!kept.is_of(&Spliced { x, ..beginning }).unwrap());
}

#[test]
fn prompts_of_different_courses_are_answered_together_as_each_alone() {
    let llama = qwen().unwrap();
    let (prompts, sampling) = (prompts(&llama), Sampling { max_tokens: 7, ..Sampling::default() });
    let each: Vec<Vec<Drawn>> =
        prompts.iter().map(|prompt| alone(&llama, prompt, None, &sampling).0).collect();
    let together = generate_batch(&llama, &prompts, 1, &sampling, &[], &mut |_| true).unwrap();
    for (i, (together, alone)) in together.iter().zip(&each).enumerate() {
        same(&together.tokens, alone, &format!("prompt {i}"));
    }
    // A token that only the first prompt's answer has late: the others go on when it has ended, without its row.
    let stop: Vec<u32> = each[1..].iter().map(|drawn| drawn[1].id).collect();
    let ended = generate_batch(&llama, &prompts, 1, &sampling, &stop, &mut |_| true).unwrap();
    for (i, (ended, alone)) in ended.iter().zip(&each).enumerate() {
        let until = alone.iter().position(|token| stop.contains(&token.id)).unwrap_or(alone.len());
        same(&ended.tokens, &alone[..until], &format!("prompt {i} with stops"));
    }
}

#[test]
fn samples_of_one_prompt_are_drawn_as_each_alone() {
    let llama = qwen().unwrap();
    let sampling = Sampling { temperature: 1.5, seed: 11, max_tokens: 6, ..Sampling::default() };
    let prompts = &prompts(&llama)[..2];
    let drawn = generate_batch(&llama, prompts, 3, &sampling, &[], &mut |_| true).unwrap();
    assert_eq!(drawn.len(), 6);
    for (i, drawn) in drawn.iter().enumerate() {
        let own = Sampling { seed: 11 + i as u64, ..sampling.clone() };
        same(&drawn.tokens, &alone(&llama, &prompts[i / 3], None, &own).0, &format!("answer {i}"));
    }
    let texts: std::collections::BTreeSet<Vec<u32>> = drawn.iter().map(Generated::ids).collect();
    assert!(texts.len() > 3, "they differ");
}

#[test]
fn images_stand_among_words_by_their_grids() {
    let llama = qwen().unwrap();
    let hidden = llama.config.hidden_size;
    let image = |tokens: usize| Tensor::ones((tokens, hidden), DType::F32, &Device::Cpu).unwrap();
    let prompt = Prompt {
        segments: vec![
            Segment::Tokens(vec![1, 2]),
            Segment::Patch(0),
            Segment::Tokens(vec![3]),
            Segment::Patch(1),
            Segment::Tokens(vec![4]),
        ],
        text: String::new(),
    };
    let images = Images {
        embeddings: vec![image(6), image(2)],
        grids: vec![Grid { rows: 2, cols: 3 }, Grid { rows: 2, cols: 1 }],
    };
    let spliced = splice(&llama, &prompt, &images).unwrap();
    assert_eq!((spliced.tokens().unwrap(), &spliced.course), (12, &with_two_images()));
    assert_eq!(spliced.x.narrow(1, 2, 6).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
    let short = splice(&llama, &prompt, &images.part(0, 1)).unwrap_err().to_string();
    assert!(short.contains("has 1 patches") && short.contains("places for 2"), "{short}");
    let large = Images { embeddings: vec![image(60), image(2)], ..images.clone() };
    let grids = vec![Grid { rows: 6, cols: 10 }, images.grids[1]];
    let error = splice(&llama, &prompt, &Images { grids, ..large }).unwrap_err();
    assert!(matches!(error, Error::TooLong { tokens: 66, limit: 64 }), "{error}");
}
