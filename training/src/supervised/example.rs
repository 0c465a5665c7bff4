//! Examples of supervised training as token ids, and batches of them.

use std::ops::Range;

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use reinpath_model::prompt::{ChatTokenizer, END_OF_TURN, Segment, user_text};

use crate::config::SupervisedConfig;
use crate::error::{Error, Result};
use crate::fields::FieldPlan;
use crate::parallel::PARTS;
use crate::phantom::{Limits, QuestionItem, decisive};
use crate::phantom_set::draw_limited_fields;
use crate::stage::Shuffle;

/// Something said about a field, as token ids.
pub(super) struct Example {
    field: usize,
    /// Ids after the patch up to the end of the answer.
    ids: Vec<u32>,
    /// Where the answer begins in `ids`.
    answer_at: usize,
    /// Weights of the answer's tokens.
    weights: Vec<f32>,
}

/// A part of a batch, padded on the right.
pub(super) struct Part {
    /// (rows, image tokens · channels)
    pub(super) features: Tensor,
    /// (rows, longest)
    pub(super) ids: Tensor,
    /// Flat positions whose next token is of an answer, those tokens, and their share of the whole batch's weight.
    pub(super) at: Vec<u32>,
    pub(super) targets: Vec<u32>,
    pub(super) weights: Vec<f32>,
}

/// What the training draws: fields, and what is said about them.
pub(super) struct Drawn {
    pub(super) fields: Vec<FieldPlan>,
    pub(super) captions: Vec<Example>,
    pub(super) questions: Vec<Example>,
    /// Ids before the patch, the same in every example.
    pub(super) prefix: Vec<u32>,
}

impl Drawn {
    /// Fields of the balanced sets that evaluations are like; of the questions about each, one is of such a set, the
    /// others any.
    pub(super) fn new(
        config: &SupervisedConfig,
        tokenizer: &ChatTokenizer,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let writer = Writer { config, tokenizer, end: tokenizer.token(END_OF_TURN)? };
        let mut drawn = Self { fields: vec![], captions: vec![], questions: vec![], prefix: vec![] };
        let (questions, captions) = (config.questions_per_field, config.captions_per_field);
        let limits = Limits::without(config.without);
        let fields = draw_limited_fields(config.fields, questions, captions, limits, rng);
        for (field, said) in fields.into_iter().enumerate() {
            drawn.fields.push(FieldPlan { truth: said.truth, seed: said.seed });
            for item in &said.questions {
                drawn.questions.push(writer.question(field, item)?);
            }
            for caption in &said.captions {
                drawn.captions.push(writer.caption(field, caption)?);
            }
        }
        drawn.prefix = writer.around_patch("", "", &[])?.0;
        Ok(drawn)
    }
}

/// Writes examples as ids.
struct Writer<'a> {
    config: &'a SupervisedConfig,
    tokenizer: &'a ChatTokenizer,
    end: u32,
}

impl Writer<'_> {
    /// Ids before and after the patch of a prompt.
    fn around_patch(
        &self,
        context: &str,
        question: &str,
        choices: &[String],
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let mut prompt = self.tokenizer.prompt(&user_text(1, context, question, choices))?;
        match &mut prompt.segments[..] {
            [Segment::Tokens(before), Segment::Patch(0), Segment::Tokens(after)] => {
                Ok((std::mem::take(before), std::mem::take(after)))
            }
            _ => Err(Error::Tokenizer("a prompt without its patch".to_owned())),
        }
    }

    fn question(&self, field: usize, item: &QuestionItem) -> Result<Example> {
        let context = item.context.as_deref().unwrap_or_default();
        let (_, before) = self.around_patch(context, &item.question, &item.choices)?;
        let text = item.answer.to_text();
        let conclusion = text.rfind(&item.answer.conclusion).unwrap_or(text.len());
        self.example(field, before, &text, conclusion)
    }

    /// A caption without question, as an answer to the patch alone.
    fn caption(&self, field: usize, caption: &str) -> Result<Example> {
        let (_, before) = self.around_patch("", "", &[])?;
        self.example(field, before, caption, caption.len())
    }

    /// `text` as the answer, which ends with a conclusion from byte `conclusion` on.
    fn example(&self, field: usize, mut ids: Vec<u32>, text: &str, conclusion: usize) -> Result<Example> {
        let answer_at = ids.len();
        let decisive = decisive(text);
        let (tokens, bytes) = self.tokenizer.encode_with_bytes(text)?;
        let is_decisive = |token: &Range<usize>| {
            decisive.iter().any(|part| token.start < part.end && part.start < token.end)
        };
        let weight = |token: &Range<usize>| match token {
            token if token.end > conclusion => self.config.conclusion_weight,
            token if is_decisive(token) => self.config.decisive_weight,
            _ => 1.0,
        };
        let weights = bytes.iter().map(weight).chain([self.config.conclusion_weight]).collect();
        ids.extend(tokens);
        ids.push(self.end);
        Ok(Example { field, ids, answer_at, weights })
    }
}

/// Batches of like length from a shuffled order, so that little is padding.
pub(super) struct LengthBatches<'a> {
    examples: &'a [Example],
    shuffle: Shuffle,
    batch: usize,
    ready: Vec<Vec<usize>>,
}

impl<'a> LengthBatches<'a> {
    /// Batches that are sorted together.
    const POOL: usize = 8;

    pub(super) fn new(examples: &'a [Example], batch: usize, seed: u64) -> Self {
        Self { examples, shuffle: Shuffle::new(examples.len(), seed), batch, ready: Vec::new() }
    }

    fn next(&mut self) -> Vec<usize> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return batch;
            }
            let mut pool = self.shuffle.take(self.batch * Self::POOL);
            pool.sort_by_key(|&i| (self.examples[i].ids.len(), i));
            self.ready = pool.chunks(self.batch).map(<[usize]>::to_vec).collect();
            // Which length comes when must not follow a pattern.
            let turn = self.shuffle.take(1)[0] % Self::POOL;
            self.ready.rotate_left(turn);
        }
    }

    /// The parts of the next batch; `features` are those of each field.
    pub(super) fn parts(&mut self, features: &[Vec<f32>]) -> Result<[Part; PARTS]> {
        let batch = self.next();
        let examples: Vec<&Example> = batch.iter().map(|&i| &self.examples[i]).collect();
        let scale = examples.iter().flat_map(|example| &example.weights).sum::<f32>().recip();
        let part = |part: usize| {
            let mine: Vec<&Example> = examples.iter().copied().skip(part).step_by(PARTS).collect();
            Part::new(&mine, features, scale)
        };
        Ok([part(0)?, part(1)?])
    }
}

impl Part {
    fn new(examples: &[&Example], features: &[Vec<f32>], scale: f32) -> Result<Self> {
        let longest = examples.iter().map(|e| e.ids.len()).max().unwrap_or(1);
        let (mut ids, mut at, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, example) in examples.iter().enumerate() {
            ids.extend_from_slice(&example.ids);
            ids.resize((row + 1) * longest, 0);
            for i in example.answer_at..example.ids.len() {
                at.push((row * longest + i - 1) as u32);
                targets.push(example.ids[i]);
            }
            weights.extend(example.weights.iter().map(|weight| weight * scale));
        }
        let pixels: Vec<f32> = examples.iter().flat_map(|e| features[e.field].iter().copied()).collect();
        let width = pixels.len() / examples.len();
        Ok(Self {
            features: Tensor::from_vec(pixels, (examples.len(), width), &Device::Cpu)?,
            ids: Tensor::from_vec(ids, (examples.len(), longest), &Device::Cpu)?,
            at,
            targets,
            weights,
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use reinpath_model::package::ChatTemplate;

    use super::*;
    use crate::config::TokenizerConfig;
    use crate::pretrain::subjects::Subjects;
    use crate::pretrain::tokenizer;

    #[test]
    fn what_could_be_wrong_and_the_conclusion_weigh_more() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let tokenizer =
            tokenizer::make(&TokenizerConfig { vocabulary: 600 }, &Subjects::default(), &mut rng).unwrap();
        let tokenizer = ChatTokenizer::new(tokenizer, ChatTemplate::Llama3).unwrap();
        let config: SupervisedConfig = toml::from_str(
            "seed = 1\nbase = \"\"\ndescription = \"\"\nfields = 40\nquestions_per_field = 2\ncaptions_per_field = 1\n\
             decisive_weight = 2.0\nconclusion_weight = 4.0\n[lora]\nrank = 1\nalpha = 1\n\
             [optimisation]\nsteps = 1\nbatch = 1\nlearning_rate = 1.0\n",
        )
        .unwrap();
        let drawn = Drawn::new(&config, &tokenizer, &mut rng).unwrap();
        assert_eq!((drawn.fields.len(), drawn.questions.len(), drawn.captions.len()), (40, 80, 40));
        let said = |example: &Example, weighs: f32| {
            let answer = example.ids[example.answer_at..].iter().zip(&example.weights);
            let ids: Vec<u32> = answer.filter(|(_, weight)| **weight == weighs).map(|(id, _)| *id).collect();
            tokenizer.tokenizer().decode(&ids, true).unwrap()
        };
        for example in &drawn.questions {
            assert_eq!(example.weights.len(), example.ids.len() - example.answer_at);
            let whole = tokenizer.tokenizer().decode(&example.ids[example.answer_at..], true).unwrap();
            let (before, conclusion) = whole.split_once("[Conclusion]\n").unwrap();
            assert_eq!(said(example, 4.0).trim(), conclusion, "{whole}");
            // Its words may run together, but none is missing and none is another's.
            let wanted: String = decisive(before).into_iter().map(|bytes| &before[bytes]).collect();
            let letters = |text: &str| {
                let mut letters: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
                letters.sort_unstable();
                letters
            };
            assert_eq!(letters(&said(example, 2.0)), letters(&wanted), "{whole}");
        }
        for example in &drawn.captions {
            assert!(said(example, 2.0).len() > 10 && said(example, 4.0).is_empty());
        }
    }
}
