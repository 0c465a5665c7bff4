//! An answer that is written already, read instead of generated (teacher forcing): what the model makes of each of its
//! tokens, and where its sentences look.
//!
//! For answers that were kept without their maps, or that somebody else wrote. The text is tokenised anew: a model that
//! did not write its tokens as the tokenizer would cut them is read in other tokens than it wrote.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Tensor;

use super::{Prepared, Question, Said, Writer};
use crate::attribution::{Trace, log_probability};
use crate::event::{AskEvent, Finished, Stop};
use crate::generate::{Prefix, read, splice};
use crate::images::Spliced;
use crate::llama::KvCache;
use crate::reinpath::{Error, ReinPath};
use crate::request::Sampling;
use crate::sampler::Drawn;

/// Tokens whose logits are held at a time: those of a whole answer would be hundreds of megabytes for a large vocabulary.
const LOGITS: usize = 32;

/// What was read of a text.
struct Reading {
    tokens: Vec<Drawn>,
    /// As [`Trace::hidden`].
    hidden: Vec<Tensor>,
    /// With the prompt and the text but for its last token.
    cache: KvCache,
}

impl ReinPath {
    /// Reads `written`, headings included, as the answer to a question: the same events as from
    /// [`ReinPath::answer_traced`] tell of it, with the log-probability of each token, how likely each option is, and in
    /// `trace` what its maps are made from. Nothing is drawn, so that there is no seed.
    ///
    /// # Errors
    /// Where the text is empty or longer than what the model can read after the question. A cancel is no error: the
    /// answer ends with [`Stop::Cancelled`].
    pub fn read_traced(
        &self,
        question: &Question,
        prepared: &Prepared,
        written: &str,
        cancel: &AtomicBool,
        trace: Option<&mut Trace>,
        events: &mut dyn FnMut(AskEvent),
    ) -> Result<Finished, Error> {
        let ids = self.tokenizer.encode(written)?;
        if ids.is_empty() {
            return Err(Error::Question("there is no answer to read".to_owned()));
        }
        let x = splice(&self.llama, &prepared.prompt, &self.images(&prepared.seen)?)?;
        let (len, limit) = (x.tokens()?, self.llama.config.max_position_embeddings);
        if len + ids.len() > limit {
            return Err(Error::Question(format!(
                "the answer to be read has {} tokens, but after its question the model reads at most {}",
                ids.len(),
                limit - len
            )));
        }
        let mut writer = Writer::new(self, events);
        let room = self.options_room(&question.choices)?;
        let sampling = Sampling { max_tokens: ids.len(), ..Sampling::default() };
        let read = self.with_room(self.demand(prepared, &x, &sampling, room)?, || {
            let prefix = self.read_patches(prepared, &x, cancel)?;
            self.read_written(&x, prefix.as_deref(), &ids, room, cancel)
        });
        let (reading, stop) = match read {
            Err(Error::Cancelled) => (None, Stop::Cancelled),
            read => (Some(read?), Stop::End),
        };
        let first = Some(Instant::now());
        let (mut hidden, mut cache) = (Vec::new(), None);
        if let Some(reading) = reading {
            reading.tokens.iter().try_for_each(|&token| writer.push(token))?;
            (hidden, cache) = (reading.hidden, Some(reading.cache));
        }
        writer.finish()?;
        let said = Said { stop, cache, prompt: &x, first };
        let finished = self.finished(question, prepared, &writer, said, &ids, cancel)?;
        if let Some(trace) = trace {
            *trace = if stop == Stop::Cancelled { Trace::default() } else { Trace { hidden, ids } };
        }
        Ok(finished)
    }

    /// Reads a prompt, whose beginning may have been read already, and the text after it; `room`
    /// tokens fit into the cache after that.
    fn read_written(
        &self,
        prompt: &Spliced,
        prefix: Option<&Prefix>,
        ids: &[u32],
        room: usize,
        cancel: &AtomicBool,
    ) -> Result<Reading, Error> {
        let Self { llama, .. } = self;
        let Spliced { x, course } = prompt;
        let (len, last) = (prompt.tokens()?, ids.len() - 1);
        let capacity = (len + ids.len() + room).min(llama.config.max_position_embeddings);
        let mut cache = KvCache::new(&llama.config, 1, capacity, llama.dtype(), x.device())?;
        if let Some(prefix) = prefix {
            cache.begin_with(&prefix.cache)?;
        }
        let mut rest = x.narrow(1, cache.len(), len - cache.len())?;
        if last > 0 {
            let text = llama.embed(&Tensor::from_slice(&ids[..last], (1, last), x.device())?)?;
            rest = Tensor::cat(&[&rest, &text], 1)?;
        }
        let states = read(llama, &rest, course, &mut cache, cancel)?;
        let states = match prefix {
            Some(prefix) => Tensor::cat(&[&prefix.hidden, &states], 1)?,
            None => states,
        };
        let mut tokens = Vec::with_capacity(ids.len());
        for (block, ids) in ids.chunks(LOGITS).enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            // Each token is predicted where the one before it stands.
            let predicting = states.narrow(1, len - 1 + block * LOGITS, ids.len())?.contiguous()?;
            let logits = llama.logits(&predicting)?.squeeze(0)?.to_vec2::<f32>()?;
            for (logits, &id) in logits.iter().zip(ids) {
                let logprob = log_probability(logits, id)? as f32;
                tokens.push(Drawn { id, logprob, tempered: logprob });
            }
        }
        let mut hidden = vec![states.narrow(1, 0, len)?];
        for at in 0..last {
            hidden.push(states.narrow(1, len + at, 1)?);
        }
        Ok(Reading { tokens, hidden, cache })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::fixture::{CONTEXT, Family, STAGED, Speech, model, model_of, patch};
    use crate::llama::Positions;
    use crate::request::{Exchange, SentenceMap};

    fn question() -> Question {
        Question {
            patches: vec![patch(0, 32), patch(1, 48)],
            question: "What is it?".to_owned(),
            choices: vec!["nests".to_owned(), "glands".to_owned()],
            ..Question::default()
        }
    }

    fn read_it(model: &ReinPath, question: &Question, text: &str) -> (Vec<AskEvent>, Finished, Trace) {
        let prepared = model.prepare(question).unwrap();
        let (cancel, mut trace, mut events) = (AtomicBool::new(false), Trace::default(), Vec::new());
        let finished = model
            .read_traced(question, &prepared, text, &cancel, Some(&mut trace), &mut |e| events.push(e))
            .unwrap();
        (events, finished, trace)
    }

    fn written_anew(model: &ReinPath, question: &Question) -> (Vec<AskEvent>, Finished, Trace) {
        let prepared = model.prepare(question).unwrap();
        let (cancel, mut trace, mut events) = (AtomicBool::new(false), Trace::default(), Vec::new());
        let sampling = Sampling::default();
        let finished = model
            .answer_traced(question, &prepared, &sampling, &cancel, Some(&mut trace), &mut |e| events.push(e))
            .unwrap();
        (events, finished, trace)
    }

    fn maps(model: &ReinPath, question: &Question, trace: &Trace) -> Vec<(SentenceMap, Vec<f32>)> {
        let prepared = model.prepare(question).unwrap();
        model.maps(question, &prepared, trace, 0, std::time::Duration::MAX, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn what_greedy_wrote_is_read_with_the_same_tokens_probabilities_options_and_maps() {
        let model = model(Speech::Script(&STAGED));
        let question = question();
        let (written, wrote, kept) = written_anew(&model, &question);
        let (read, finished, trace) = read_it(&model, &question, &STAGED.concat());
        assert_eq!(trace.ids, kept.ids);
        assert_eq!(read.len(), written.len());
        for (read, written) in read.iter().zip(&written) {
            match (read, written) {
                (
                    AskEvent::Token { index, stage, text, logprob },
                    AskEvent::Token { index: i, stage: s, text: t, logprob: l },
                ) => {
                    assert_eq!((index, stage, text), (i, s, t));
                    assert!((logprob - l).abs() < 1e-4, "{logprob} and {l}");
                }
                (read, written) => assert_eq!(read, written),
            }
        }
        assert_eq!((&finished.answer, &finished.choice), (&wrote.answer, &wrote.choice));
        assert_eq!((finished.stop, finished.tokens), (Stop::End, wrote.tokens));
        assert_eq!(finished.options.len(), 2);
        for (read, written) in finished.options.iter().zip(&wrote.options) {
            assert!((read.logprob - written.logprob).abs() < 1e-4, "{read:?} and {written:?}");
        }
        let (read, written) = (maps(&model, &question, &trace), maps(&model, &question, &kept));
        assert_eq!(read.len(), 3 * 2 * 3);
        for ((head, grid), (head_written, grid_written)) in read.iter().zip(&written) {
            assert_eq!((head, grid.len()), (head_written, grid_written.len()));
            assert!(grid.iter().zip(grid_written).all(|(a, b)| (a - b).abs() < 1e-4), "{}", head.sentence);
        }
    }

    #[test]
    fn any_text_is_read_with_the_probabilities_of_one_pass_over_all_of_it() {
        for family in Family::ALL {
            as_in_one_pass(&model_of(family, Speech::Babble(4)));
        }
    }

    fn as_in_one_pass(model: &ReinPath) {
        let question = question();
        let text = "[Observation]\nGlands of some size.\n[Analysis]\nSo.\n[Conclusion]\nB) glands";
        // Twice: then what stands before the question is not read again.
        for _ in 0..2 {
            let (events, finished, trace) = read_it(model, &question, text);
            assert_eq!((finished.answer.to_text().as_str(), finished.raw.as_str()), (text, text));
            let prepared = model.prepare(&question).unwrap();
            let images = model.images(&prepared.seen).unwrap();
            let prompt = splice(&model.llama, &prepared.prompt, &images).unwrap();
            let ids = Tensor::from_slice(&trace.ids, (1, trace.ids.len()), &Device::Cpu).unwrap();
            let x = Tensor::cat(&[&prompt.x, &model.llama.embed(&ids).unwrap()], 1).unwrap();
            let (len, all) = (prompt.tokens().unwrap(), x.dim(1).unwrap());
            let at = Positions::along(&prompt.course, 0, all);
            let states = model.llama.forward(&x, &at, None).unwrap();
            let logits = model.llama.logits(&states).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
            let whole: Vec<f64> = (trace.ids.iter().enumerate())
                .map(|(i, &id)| log_probability(&logits[len - 1 + i], id).unwrap())
                .collect();
            assert!(whole.len() > LOGITS, "more than one block of logits");
            for event in &events {
                let AskEvent::Token { index, logprob, .. } = event else { continue };
                assert!((f64::from(*logprob) - whole[*index]).abs() < 1e-4, "token {index}");
            }
            let kept: Vec<usize> = trace.hidden.iter().map(|states| states.dim(1).unwrap()).collect();
            assert_eq!((kept[0], kept.len()), (len, trace.ids.len()));
            let at = trace.hidden[5].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let same = states.narrow(1, len + 4, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(at.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }

    #[test]
    fn a_conversation_before_the_question_changes_what_the_model_makes_of_the_answer() {
        let model = model(Speech::Babble(4));
        let text = "[Observation]\nGlands.\n[Conclusion]\nB) glands";
        let exchange = |answer: &str| Exchange {
            question: "What?".to_owned(),
            choices: Vec::new(),
            answer: answer.to_owned(),
        };
        let told = |history: Vec<Exchange>| {
            let question = Question { history, ..question() };
            let (events, _, trace) = read_it(&model, &question, text);
            (events, maps(&model, &question, &trace))
        };
        let alone = told(Vec::new());
        let after = told(vec![exchange("Nests are seen.")]);
        assert_ne!(alone.0, after.0);
        assert_ne!(after.0, told(vec![exchange("Fat is seen.")]).0, "a kept beginning is of its own words");
        assert_eq!(after, told(vec![exchange("Nests are seen.")]));
        assert_eq!(alone, told(Vec::new()));
        let heads = |maps: &[(SentenceMap, Vec<f32>)]| {
            maps.iter()
                .map(|(head, grid)| (head.sentence.clone(), head.patch, grid.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(heads(&alone.1), heads(&after.1), "maps lie over the patches alone");
    }

    #[test]
    fn what_cannot_be_read_is_one_sentence_and_a_cancel_ends_it() {
        let model = model(Speech::Babble(4));
        let question = question();
        let prepared = model.prepare(&question).unwrap();
        let refused = |text: &str| {
            let going = AtomicBool::new(false);
            model.read_traced(&question, &prepared, text, &going, None, &mut |_| {}).unwrap_err().to_string()
        };
        assert_eq!(refused(""), "there is no answer to read");
        let long = refused(&"a".repeat(CONTEXT));
        assert!(long.starts_with("the answer to be read has 50000 tokens, but"), "{long}");
        let (cancel, mut trace, mut events) = (AtomicBool::new(true), Trace::default(), Vec::new());
        let ended = model
            .read_traced(&question, &prepared, "x", &cancel, Some(&mut trace), &mut |e| events.push(e))
            .unwrap();
        assert_eq!((ended.stop, ended.tokens), (Stop::Cancelled, 0));
        assert!(events.is_empty() && trace.ids.is_empty());
    }
}
