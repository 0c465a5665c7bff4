//! Qwen2.5-VL against transformers (`tests/golden/qwen.py`), with a small model in the shape of each published one: sizes,
//! windows, places and tokens to the number, pixels within 1e-5, all else within 1e-4 of the largest value.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use reinpath_model::generate::{Generated, Generator, generate_batch, splice};
use reinpath_model::images::{Images, Spliced};
use reinpath_model::llama::{KvCache, Llama, LlamaConfig, Positions};
use reinpath_model::ops::rope;
use reinpath_model::package::VisionSpec;
use reinpath_model::patch::Patch;
use reinpath_model::prompt::{Prompt, Segment};
use reinpath_model::qwen::{Tower, Windows};
use reinpath_model::request::Sampling;
use serde_json::Value;

use super::model::{CPU, agree, case, largest, tensors};

/// The models, and the pictures that they are shown.
const MODELS: [&str; 2] = ["qwen3", "qwen7"];
const PICTURES: [&str; 2] = ["wide", "large"];
/// The token in whose place an image stands, in the small vocabulary.
const IMAGE: u32 = 150;

fn json(folder: &str, file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(case(folder).join(file)).unwrap()).unwrap()
}

/// The tower that a model's configuration describes, and what the pictures' processor says.
fn spec(name: &str) -> VisionSpec {
    let (config, processor) = (json(name, "config.json"), json("qwen", "preprocessor_config.json"));
    let size = |key: &str| config["vision_config"][key].as_u64().unwrap() as usize;
    let pixels = |key: &str| processor[key].as_u64().unwrap();
    let colours = |key: &str| [0_usize, 1, 2].map(|channel| processor[key][channel].as_f64().unwrap() as f32);
    let full = config["vision_config"]["fullatt_block_indexes"].as_array().unwrap();
    VisionSpec {
        weights: Vec::new(),
        precision: "bf16".to_owned(),
        min_pixels: pixels("min_pixels"),
        max_pixels: pixels("max_pixels"),
        mean: colours("image_mean"),
        std: colours("image_std"),
        patch_size: pixels("patch_size") as u32,
        merge_size: pixels("merge_size") as u32,
        temporal_patch_size: pixels("temporal_patch_size") as u32,
        width: size("hidden_size"),
        layers: size("depth"),
        heads: size("num_heads"),
        mlp_width: size("intermediate_size"),
        out_width: size("out_hidden_size"),
        window_size: size("window_size") as u32,
        full_attention: full.iter().map(|layer| layer.as_u64().unwrap() as usize).collect(),
    }
}

fn picture(name: &str) -> Patch {
    let image = image::open(case("qwen").join(format!("{name}.png"))).unwrap().to_rgb8();
    Patch::new(image.width(), image.height(), None, image.into_raw()).unwrap()
}

/// The tensors whose names `name_of` knows, in f32.
fn renamed(model: &str, name_of: impl Fn(&str) -> Option<String>) -> VarBuilder<'static> {
    let stored = tensors(model, "model.safetensors");
    let all = stored.into_iter().filter_map(|(name, tensor)| Some((name_of(&name)?, tensor)));
    VarBuilder::from_tensors(all.collect::<HashMap<_, _>>(), DType::F32, &CPU)
}

/// A model: its parts under the names that they are asked for by, whichever names the file has.
fn model(name: &str) -> (Tower, Llama) {
    let below_visual = |name: &str| {
        let older = name.strip_prefix("model.").unwrap_or(name);
        older.strip_prefix("visual.").map(str::to_owned)
    };
    let of_language = |name: &str| match name.strip_prefix("model.language_model.") {
        Some(rest) => Some(format!("model.{rest}")),
        None => below_visual(name).is_none().then(|| name.to_owned()),
    };
    let tower = Tower::load(&renamed(name, below_visual), &spec(name)).unwrap();
    let config = LlamaConfig::of_qwen(&json(name, "config.json")).unwrap();
    (tower, Llama::load(&renamed(name, of_language), &config).unwrap())
}

/// Of a picture: the values that the tower is given, and what it makes of them.
fn seen(tower: &Tower, name: &str) -> (Tensor, Images) {
    let input = picture(name).for_vision(tower.spec(), None).unwrap();
    let cells = input.cells(tower.spec());
    let cells = Tensor::from_vec(cells, (4 * input.grid.tokens(), 3 * 2 * 14 * 14), &CPU).unwrap();
    let tokens = tower.forward(&cells, input.grid, &mut || Ok(())).unwrap();
    (cells, Images { embeddings: vec![tokens], grids: vec![input.grid] })
}

fn numbers(values: &HashMap<String, Tensor>, name: &str) -> Vec<u32> {
    values[name].to_dtype(DType::U32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A prompt of these tokens, in which every stretch of image tokens is the next picture.
fn prompt(ids: &[u32]) -> Prompt {
    let mut pictures = 0..;
    let segment = |part: &[u32]| match part {
        [IMAGE, ..] => Segment::Patch(pictures.next().unwrap()),
        words => Segment::Tokens(words.to_vec()),
    };
    let segments = ids.chunk_by(|a, b| (*a == IMAGE) == (*b == IMAGE)).map(segment).collect();
    Prompt { segments, text: String::new() }
}

/// The prompt with both pictures, and that with the first alone.
fn prompts(tower: &Tower, llama: &Llama, values: &HashMap<String, Tensor>) -> [Spliced; 2] {
    let mut images = Images { embeddings: Vec::new(), grids: Vec::new() };
    for name in PICTURES {
        let (_, one) = seen(tower, name);
        images.embeddings.extend(one.embeddings);
        images.grids.extend(one.grids);
    }
    let with = |name: &str, count: usize| {
        let prompt = prompt(&numbers(values, name));
        splice(llama, &prompt, &images.part(0, count)).unwrap()
    };
    [with("two", 2), with("one", 1)]
}

/// Embeddings of one token for each sequence.
fn tokens(llama: &Llama, ids: &[u32]) -> Tensor {
    llama.embed(&Tensor::from_slice(ids, (ids.len(), 1), &CPU).unwrap()).unwrap()
}

fn greedy(values: &HashMap<String, Tensor>) -> Sampling {
    Sampling { max_tokens: values["steps"].elem_count(), ..Sampling::default() }
}

#[test]
fn sizes_and_pixels_are_those_of_the_image_processor() {
    let (values, spec) = (tensors("qwen", "values.safetensors"), spec("qwen3"));
    let rows = |name: &str| values[name].to_vec2::<i64>().unwrap();
    let (asked, sizes, grids) = (rows("asked"), rows("sizes"), rows("grids"));
    assert_eq!((asked.len(), sizes.len(), grids.len()), (24, 24, 24));
    for ((asked, size), grid) in asked.iter().zip(&sizes).zip(&grids) {
        let [height, width, min_pixels, max_pixels] = asked[..] else { panic!("{asked:?}") };
        let limits =
            VisionSpec { min_pixels: min_pixels as u64, max_pixels: max_pixels as u64, ..spec.clone() };
        let found = limits.size_for(width as u32, height as u32, None).unwrap();
        assert_eq!([i64::from(found.height_px), i64::from(found.width_px)], size[..], "{asked:?}");
        let found = limits.grid(found);
        assert_eq!([1, 2 * found.rows as i64, 2 * found.cols as i64], grid[..], "{asked:?}");
    }
    for name in ["small", "wide", "large"] {
        let every = numbers(&values, &format!("every.{name}"))[0] as usize;
        let cells = picture(name).for_vision(&spec, None).unwrap().cells(&spec);
        let got = Tensor::new(cells.into_iter().step_by(every).collect::<Vec<_>>(), &CPU).unwrap();
        let off = largest(&(got - &values[&format!("pixels.{name}")]).unwrap());
        assert!(off < 1e-5, "{name} is off by {off}");
    }
}

#[test]
fn the_tower_agrees_block_by_block_and_at_its_end() {
    for name in MODELS {
        let (values, (mut tower, _)) = (tensors(name, "values.safetensors"), model(name));
        for is_packed in [false, true] {
            if is_packed {
                tower.pack().unwrap();
            }
            for picture in PICTURES {
                let (cells, images) = seen(&tower, picture);
                let windows = Windows::of(images.grids[0], tower.spec());
                assert_eq!(windows.order, numbers(&values, &format!("order.{picture}")), "{name}, {picture}");
                let lengths: Vec<u32> = windows.tokens.iter().map(|&tokens| tokens as u32).collect();
                assert_eq!(lengths, numbers(&values, &format!("windows.{picture}")), "{name}, {picture}");
                let want = &values[&format!("features.{picture}")];
                agree(&format!("{name}, {picture}"), &images.embeddings[0], want, 1e-4);
                for blocks in [1, 2, 4] {
                    let Some(want) = values.get(&format!("after.{picture}.{blocks}")) else { continue };
                    let got = tower.after(blocks, &cells, images.grids[0], &mut || Ok(())).unwrap();
                    agree(&format!("{name}, {picture} after {blocks} blocks"), &got, want, 1e-4);
                }
            }
        }
        assert_eq!(values.keys().filter(|key| key.starts_with("after.wide.")).count(), 3);
    }
}

#[test]
fn a_prompt_with_two_pictures_agrees_from_png_to_logits() {
    for name in MODELS {
        let (values, (tower, llama)) = (tensors(name, "values.safetensors"), model(name));
        let [two, _] = prompts(&tower, &llama, &values);
        let len = two.tokens().unwrap();

        let places: Vec<[u32; 3]> = two.course.places(0, len).collect();
        let want = values["places"].to_vec2::<i64>().unwrap();
        for (axis, want) in want.iter().enumerate() {
            let got: Vec<i64> = places.iter().map(|place| i64::from(place[axis])).collect();
            assert_eq!(&got, want, "{name}, axis {axis}");
        }
        // What is one in its first half becomes the cosines, and the sines after them.
        let half = llama.config.head_dim / 2;
        let part = |value: f32| Tensor::full(value, (1, len, 1, half), &CPU).unwrap();
        let x = Tensor::cat(&[part(1.0), part(0.0)], 3).unwrap();
        let turned = rope(&x, &llama.config.rotary().at_places(&places).unwrap()).unwrap();
        let turned = turned.reshape((len, 2 * half)).unwrap();
        let want = Tensor::cat(&[&values["cos"], &values["sin"]], 1).unwrap();
        agree(&format!("{name}, rotation"), &turned, &want, 1e-5);

        let hidden = llama.forward(&two.x, &Positions::along(&two.course, 0, len), None).unwrap();
        let logits = llama.logits(&hidden).unwrap().squeeze(0).unwrap();
        agree(&format!("{name}, the prompt"), &logits, &values["logits"], 1e-4);
    }
}

#[test]
fn steps_agree_alone_and_in_a_batch_with_padding() {
    for name in MODELS {
        let (values, (tower, llama)) = (tensors(name, "values.safetensors"), model(name));
        let [two, one] = prompts(&tower, &llama, &values);
        let sampling = greedy(&values);

        let (mut ids, cancel) = (Vec::new(), AtomicBool::new(false));
        let generator = Generator { llama: &llama, sampling: &sampling, stop: &[], room: 0, cancel: &cancel };
        generator
            .run(&two, None, &mut |_| {}, &mut |drawn| {
                ids.push(drawn.id);
                Ok(())
            })
            .unwrap();
        assert_eq!(ids, numbers(&values, "steps"), "{name}");
        let logits = step_logits(&llama, std::slice::from_ref(&two), &[ids]);
        let want = values["step_logits"].unsqueeze(0).unwrap();
        agree(&format!("{name}, steps"), &logits, &want, 1e-4);

        let prompts = [two, one];
        let done = generate_batch(&llama, &prompts, 1, &sampling, &[], &mut |_| true).unwrap();
        let ids: Vec<Vec<u32>> = done.iter().map(Generated::ids).collect();
        assert_eq!(ids.concat(), numbers(&values, "batch_steps"), "{name}");
        let logits = step_logits(&llama, &prompts, &ids);
        agree(&format!("{name}, steps of a batch"), &logits, &values["batch_logits"], 1e-4);
    }
}

/// The logits of each step, (prompts, steps, vocabulary), while these tokens follow the prompts; the shorter ones are
/// padded on the left.
fn step_logits(llama: &Llama, prompts: &[Spliced], ids: &[Vec<u32>]) -> Tensor {
    let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.tokens().unwrap()).collect();
    let (longest, steps) = (*lengths.iter().max().unwrap(), ids[0].len());
    let padding = Arc::new(lengths.iter().map(|len| longest - len).collect::<Vec<_>>());
    let courses: Vec<_> = prompts.iter().map(|prompt| prompt.course.clone()).collect();
    let rows = prompts.iter().zip(padding.iter()).map(|(p, &pad)| p.x.pad_with_zeros(1, pad, 0).unwrap());
    let mut x = Tensor::cat(&rows.collect::<Vec<_>>(), 0).unwrap();
    let mut cache = KvCache::new(&llama.config, prompts.len(), longest + steps, DType::F32, &CPU).unwrap();
    let mut logits = Vec::new();
    for step in 0..steps {
        let seq = x.dim(1).unwrap();
        let at = Positions::along_padded(&courses, cache.len(), seq, &padding);
        let hidden = llama.forward(&x, &at, Some(&mut cache)).unwrap();
        let last = hidden.narrow(1, seq - 1, 1).unwrap().contiguous().unwrap();
        logits.push(llama.logits(&last).unwrap());
        x = tokens(llama, &ids.iter().map(|ids| ids[step]).collect::<Vec<_>>());
    }
    Tensor::cat(&logits, 1).unwrap()
}
