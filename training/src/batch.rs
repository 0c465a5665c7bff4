//! Prompts with their answers as one row of tokens, without padding: what goes through the policy at once.
//!
//! Answers to the same prompt share its tokens: they are read once, and every answer sees them. Each sequence is read as
//! if it were alone, whatever stands beside it (`ops/attention/spans.rs` of the model). Images may stand anywhere in a
//! prompt, any number of them; one that stands in several prompts is projected once.

use std::ops::Range;

use candle_core::{Device, Tensor};
use reinpath_model::ops::Span;
use reinpath_model::prompt::Segment;

use crate::error::{Error, Result};

/// Fused features of an image: so many tokens of so many channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    pub tokens: usize,
    pub channels: usize,
}

/// An answer whose tokens are to be predicted, the one that ends it with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub ids: Vec<u32>,
    /// Of each token, in the loss.
    pub weights: Vec<f32>,
}

impl Answer {
    /// An answer whose tokens all weigh 1.
    pub fn new(ids: Vec<u32>) -> Self {
        Self { weights: vec![1.0; ids.len()], ids }
    }
}

/// A prompt and the answers to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    pub prompt: Vec<Segment>,
    /// Numbers of the images that the patches of the prompt are, in the order of their indices.
    pub images: Vec<usize>,
    pub answers: Vec<Answer>,
}

impl Sequence {
    /// Tokens of the prompt.
    pub fn prompt_len(&self, image_tokens: usize) -> usize {
        let of = |segment: &Segment| match segment {
            Segment::Tokens(ids) => ids.len(),
            Segment::Patch(_) => image_tokens,
        };
        self.prompt.iter().map(of).sum()
    }

    /// Tokens of the prompt with the longest answer: the context that the model needs.
    pub fn longest(&self, image_tokens: usize) -> usize {
        let answer = self.answers.iter().map(|answer| answer.ids.len()).max().unwrap_or(0);
        self.prompt_len(image_tokens) + answer
    }
}

/// Sequences that go through the model at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Of all tokens of text.
    pub(crate) ids: Vec<u32>,
    /// Fused features of the images, (images, image tokens, channels); `None`: there are none.
    pub(crate) features: Option<Tensor>,
    /// Of each token, its row among the embedded ids and, after them, the image tokens.
    pub(crate) order: Vec<u32>,
    /// Which tokens are of images, and which row of all image tokens each of them is.
    pub(crate) image_at: Vec<u32>,
    pub(crate) image_rows: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) spans: Vec<Span>,
    /// Tokens that something is predicted from, ascending.
    pub(crate) wanted: Vec<u32>,
    /// Of each target, its place among those.
    pub(crate) from: Vec<u32>,
    pub(crate) temperature: f64,
    /// The tokens of all answers, one answer after another.
    pub targets: Vec<u32>,
    /// Of each target.
    pub weights: Vec<f32>,
    /// The targets of each answer.
    pub answers: Vec<Range<usize>>,
}

impl Batch {
    /// A batch of sequences; `features` gives those of an image by its number, row by row.
    ///
    /// # Errors
    /// Of a patch that is no image of its sequence, features of another size, or an answer or prompt without tokens.
    pub fn new(
        sequences: &[Sequence],
        shape: ImageShape,
        features: impl Fn(usize) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut writer = Writer { shape, ..Writer::default() };
        for sequence in sequences {
            writer.add(sequence)?;
        }
        if writer.batch.targets.is_empty() {
            return Err(Error::Features("a batch has no answer to learn from".to_owned()));
        }
        writer.finish(features)
    }

    /// The batch with predictions at another temperature than 1, that of sampling.
    #[must_use]
    pub fn at_temperature(self, temperature: f64) -> Self {
        // Greedy answers are judged at 1.
        Self { temperature: if temperature > 0.0 { temperature } else { 1.0 }, ..self }
    }

    /// Tokens that go through the model.
    pub fn tokens(&self) -> usize {
        self.order.len()
    }

    /// Of each target, the number of its answer.
    pub fn answer_of(&self) -> Vec<usize> {
        let of = |(answer, range): (usize, &Range<usize>)| std::iter::repeat_n(answer, range.len());
        self.answers.iter().enumerate().flat_map(of).collect()
    }
}

/// Parts of the sequences that go through the model one after another: of at most `answers_at_once` answers each (0:
/// all) and of at least one sequence, and no fewer than `workers` where there are as many sequences.
pub fn parts(sequences: &[Sequence], answers_at_once: usize, workers: usize) -> Vec<Range<usize>> {
    let all: usize = sequences.iter().map(|sequence| sequence.answers.len()).sum();
    let share = all.div_ceil(workers.max(1)).max(1);
    let most = if answers_at_once == 0 { share } else { share.min(answers_at_once) };
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut count = 0;
    for (i, sequence) in sequences.iter().enumerate() {
        count += sequence.answers.len();
        match parts.last_mut() {
            Some(part) if count <= most => part.end = i + 1,
            _ => {
                parts.push(i..i + 1);
                count = sequence.answers.len();
            }
        }
    }
    parts
}

/// A token before it is known how many tokens of text there are.
enum Token {
    Text(u32),
    Image(u32),
}

/// Puts sequences beside each other.
struct Writer {
    batch: Batch,
    shape: ImageShape,
    tokens: Vec<Token>,
    /// Numbers of the images, each once.
    images: Vec<usize>,
}

impl Default for Writer {
    fn default() -> Self {
        let batch = Batch {
            ids: Vec::new(),
            features: None,
            order: Vec::new(),
            image_at: Vec::new(),
            image_rows: Vec::new(),
            positions: Vec::new(),
            spans: Vec::new(),
            wanted: Vec::new(),
            from: Vec::new(),
            temperature: 1.0,
            targets: Vec::new(),
            weights: Vec::new(),
            answers: Vec::new(),
        };
        let shape = ImageShape { tokens: 0, channels: 0 };
        Self { batch, shape, tokens: Vec::new(), images: Vec::new() }
    }
}

impl Writer {
    fn add(&mut self, sequence: &Sequence) -> Result<()> {
        let start = self.tokens.len();
        for segment in &sequence.prompt {
            match segment {
                Segment::Tokens(ids) => self.text(ids, start),
                Segment::Patch(patch) => {
                    let image = sequence.images.get(*patch).copied().ok_or_else(|| {
                        let (places, images) = (patch + 1, sequence.images.len());
                        Error::Features(format!(
                            "a prompt has a place for patch {places}, but its row only {images} images"
                        ))
                    })?;
                    self.image(image, start);
                }
            }
        }
        let prompt = start..self.tokens.len();
        if prompt.is_empty() {
            return Err(Error::Features("a prompt has no tokens".to_owned()));
        }
        let is_alone = sequence.answers.len() == 1;
        if !is_alone {
            self.batch.spans.push(Span { seen: start..start, own: prompt.clone() });
        }
        let last = self.batch.wanted.len() as u32;
        self.batch.wanted.push(prompt.end as u32 - 1);
        for answer in &sequence.answers {
            self.answer(answer, &prompt, last)?;
            let own = self.batch.spans.last().map_or(0, |span| span.own.end)..self.tokens.len();
            if is_alone {
                self.batch.spans.push(Span { seen: start..start, own });
            } else if !own.is_empty() {
                self.batch.spans.push(Span { seen: prompt.clone(), own });
            }
        }
        Ok(())
    }

    /// An answer after its prompt, whose last token is at `last` of the wanted ones. Its own last token is predicted, but
    /// nothing from it.
    fn answer(&mut self, answer: &Answer, prompt: &Range<usize>, last: u32) -> Result<()> {
        let Answer { ids, weights } = answer;
        let Some((_, read)) = ids.split_last().filter(|_| ids.len() == weights.len()) else {
            let reason = format!("an answer has {} tokens and {} weights", ids.len(), weights.len());
            return Err(Error::Features(reason));
        };
        let begin = self.tokens.len();
        self.text(read, begin - prompt.len());
        let batch = &mut self.batch;
        batch.from.push(last);
        batch.from.extend((batch.wanted.len()..).take(read.len()).map(|at| at as u32));
        batch.wanted.extend((begin..self.tokens.len()).map(|at| at as u32));
        batch.answers.push(batch.targets.len()..batch.targets.len() + ids.len());
        batch.targets.extend(ids);
        batch.weights.extend(weights);
        Ok(())
    }

    /// Adds tokens of text; a token at `start` would be the first of its sequence.
    fn text(&mut self, ids: &[u32], start: usize) {
        for &id in ids {
            self.batch.positions.push((self.tokens.len() - start) as u32);
            self.tokens.push(Token::Text(self.batch.ids.len() as u32));
            self.batch.ids.push(id);
        }
    }

    fn image(&mut self, image: usize, start: usize) {
        let place = self.images.iter().position(|&own| own == image).unwrap_or_else(|| {
            self.images.push(image);
            self.images.len() - 1
        });
        for token in 0..self.shape.tokens {
            let row = (place * self.shape.tokens + token) as u32;
            self.batch.positions.push((self.tokens.len() - start) as u32);
            self.batch.image_at.push(self.tokens.len() as u32);
            self.batch.image_rows.push(row);
            self.tokens.push(Token::Image(row));
        }
    }

    fn finish(self, features: impl Fn(usize) -> Result<Vec<f32>>) -> Result<Batch> {
        let Self { mut batch, shape, tokens, images } = self;
        let texts = batch.ids.len() as u32;
        let row = |token: Token| match token {
            Token::Text(row) => row,
            Token::Image(row) => texts + row,
        };
        batch.order = tokens.into_iter().map(row).collect();
        if !images.is_empty() {
            let size = shape.tokens * shape.channels;
            let mut values = Vec::with_capacity(images.len() * size);
            for &image in &images {
                let own = features(image)?;
                if own.len() != size {
                    return Err(Error::Features(format!(
                        "image {image} has {} values of features, but the model reads {size}",
                        own.len()
                    )));
                }
                values.extend(own);
            }
            let shape = (images.len(), shape.tokens, shape.channels);
            batch.features = Some(Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { tokens: 2, channels: 3 };

    fn features(image: usize) -> Result<Vec<f32>> {
        let is_there = (image < 10).then(|| vec![image as f32; 6]);
        is_there.ok_or_else(|| Error::Features(format!("there is no image {image}")))
    }

    fn sequence(images: &[usize], answers: &[&[u32]]) -> Sequence {
        let patches =
            (0..images.len()).flat_map(|i| [Segment::Patch(i), Segment::Tokens(vec![20 + i as u32])]);
        Sequence {
            prompt: std::iter::once(Segment::Tokens(vec![10])).chain(patches).collect(),
            images: images.to_vec(),
            answers: answers.iter().map(|ids| Answer::new(ids.to_vec())).collect(),
        }
    }

    #[test]
    fn tokens_images_and_targets_stand_where_they_belong() {
        let sequences = [sequence(&[7, 5], &[&[1, 2, 3]]), sequence(&[5], &[&[4], &[6, 8]])];
        let batch = Batch::new(&sequences, SHAPE, features).unwrap();
        // 10 image image 20 image image 21 | 1 2 and 10 image image 20 | nothing | 6
        assert_eq!(batch.ids, [10, 20, 21, 1, 2, 10, 20, 6]);
        assert_eq!(batch.order, [0, 8, 9, 1, 10, 11, 2, 3, 4, 5, 10, 11, 6, 7]);
        assert_eq!((batch.image_at, batch.image_rows), (vec![1, 2, 4, 5, 10, 11], vec![0, 1, 2, 3, 2, 3]));
        assert_eq!(batch.positions, [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4]);
        let span = |seen: Range<usize>, own: Range<usize>| Span { seen, own };
        assert_eq!(batch.spans, [span(0..0, 0..9), span(9..9, 9..13), span(9..13, 13..14)]);
        assert_eq!((batch.wanted, batch.from), (vec![6, 7, 8, 12, 13], vec![0, 1, 2, 3, 3, 4]));
        assert_eq!((batch.targets, batch.answers), (vec![1, 2, 3, 4, 6, 8], vec![0..3, 3..4, 4..6]));
        let rows = batch.features.unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows, [[7.0; 6], [5.0; 6]]);
    }

    #[test]
    fn targets_know_their_answer_and_sequences_their_length() {
        let sequences = [sequence(&[7, 5], &[&[1, 2, 3]]), sequence(&[], &[&[4], &[6, 8]])];
        let batch = Batch::new(&sequences, SHAPE, features).unwrap();
        assert_eq!(batch.answer_of(), [0, 0, 0, 1, 2, 2]);
        assert_eq!(batch.tokens(), 11);
        assert_eq!((sequences[0].prompt_len(2), sequences[0].longest(2)), (7, 10));
        assert_eq!(batch.clone().at_temperature(0.7).temperature, 0.7);
        assert_eq!(batch.at_temperature(0.0).temperature, 1.0);
    }

    #[test]
    fn what_cannot_be_a_batch_is_refused_in_a_sentence() {
        let refused = |sequence: Sequence, shape: ImageShape| {
            Batch::new(&[sequence], shape, features).unwrap_err().to_string()
        };
        let missing = Sequence { images: vec![7], ..sequence(&[7, 5], &[&[1]]) };
        assert!(refused(missing, SHAPE).contains("patch 2, but its row only 1 images"));
        assert!(refused(sequence(&[7], &[&[]]), SHAPE).contains("0 tokens"));
        assert!(refused(sequence(&[7], &[]), SHAPE).contains("no answer"));
        assert!(refused(Sequence { prompt: vec![], ..sequence(&[], &[&[1]]) }, SHAPE).contains("no tokens"));
        assert!(refused(sequence(&[70], &[&[1]]), SHAPE).contains("no image 70"));
        let wide = ImageShape { tokens: 2, channels: 4 };
        assert!(refused(sequence(&[7], &[&[1]]), wide).contains("image 7 has 6 values"));
    }

    #[test]
    fn parts_keep_to_their_size_and_give_every_worker_something() {
        let sequences: Vec<Sequence> =
            [1, 1, 4, 4, 1].map(|answers| sequence(&[], &vec![&[1][..]; answers])).to_vec();
        assert_eq!(parts(&sequences, 0, 1), std::slice::from_ref(&(0..5)));
        assert_eq!(parts(&sequences, 4, 1), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(parts(&sequences, 0, 2), [0..3, 3..5]);
        assert_eq!(parts(&sequences, 1, 1), [0..1, 1..2, 2..3, 3..4, 4..5]);
        assert!(parts(&[], 4, 2).is_empty());
    }
}
