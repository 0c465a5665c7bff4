//! A byte-level BPE tokenizer from the plain texts of stage 0, with Llama 3's special tokens.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::prompt::SPECIAL_TOKENS;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use crate::config::TokenizerConfig;
use crate::error::{Error, Result};
use crate::pretrain::subjects::Subjects;

/// Texts the merges are counted on.
const TEXTS: usize = 20_000;

/// Trains the tokenizer.
pub(crate) fn make(config: &TokenizerConfig, subjects: &Subjects, rng: &mut ChaCha8Rng) -> Result<Tokenizer> {
    let failed = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
    let mut rng = ChaCha8Rng::from_rng(rng);
    let mut texts: Vec<String> = (0..TEXTS).map(|_| subjects.text(&mut rng).text).collect();
    // The words of prompts and headings, as words: no staged answer is among the texts.
    texts.extend(vec![
        "user assistant Context: Observation Analysis Conclusion [ ] True False".to_owned();
        200
    ]);
    let specials: Vec<AddedToken> = SPECIAL_TOKENS.iter().map(|t| AddedToken::from(*t, true)).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(config.vocabulary)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(specials.clone())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(byte_level))
        .build()
        .map_err(failed)?;
    tokenizer.train(&mut trainer, texts.into_iter()).map_err(failed)?;
    let mut tokenizer = Tokenizer::from(
        TokenizerBuilder::new()
            .with_model(tokenizers::ModelWrapper::from(tokenizer.get_model().clone()))
            .with_normalizer(None::<tokenizers::NormalizerWrapper>)
            .with_pre_tokenizer(Some(tokenizers::PreTokenizerWrapper::from(byte_level)))
            .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
            .with_decoder(Some(tokenizers::DecoderWrapper::from(byte_level)))
            .build()
            .map_err(failed)?,
    );
    tokenizer.add_special_tokens(specials).map_err(failed)?;
    Ok(tokenizer)
}
