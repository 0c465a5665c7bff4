//! Parts of stage 0 alone, for ablations: a base decoder and a text encoder, with a tokenizer that is there already. The
//! events of their training go into the folder that they go into. What is there already is not made again.

use std::path::{Path, PathBuf};

use reinpath_model::package::PackageWriter;
use reinpath_model::prompt::ChatTokenizer;

use super::sentence::TEXT_ENCODER;
use super::subjects::Subjects;
use super::{sentence, text};
use crate::config::PretrainConfig;
use crate::error::{Error, Result};
use crate::event::EventSink;
use crate::package_writer::write_vars;

/// Names of a decoder's files in its folder; the second is written last.
pub(crate) const DECODER_WEIGHTS: &str = "model.safetensors";
pub(crate) const DECODER_CONFIG: &str = "config.json";

/// Trains a decoder and writes its weights and configuration into a folder.
pub(crate) fn decoder(config: &PretrainConfig, tokenizer: &ChatTokenizer, folder: &Path) -> Result<()> {
    let done = folder.join(DECODER_CONFIG);
    if done.is_file() {
        return Ok(());
    }
    let mut sink = EventSink::create(folder)?;
    let language = text::train(config, tokenizer, &Subjects::default(), &mut sink)?;
    let mut writer = PackageWriter::create(folder)?;
    write_vars(&mut writer, DECODER_WEIGHTS, &language.vars, "")?;
    let json = serde_json::to_string_pretty(&language.config)
        .map_err(|e| Error::Config { reason: e.to_string(), path: done.clone() })?;
    let part = folder.join(format!("{DECODER_CONFIG}.part"));
    std::fs::write(&part, json).map_err(Error::io(&part))?;
    std::fs::rename(&part, &done).map_err(Error::io(&done))
}

/// Trains a text encoder and writes it into the folder `text-encoder` of a folder; returns that.
pub(crate) fn text_encoder(
    config: &PretrainConfig,
    tokenizer: &ChatTokenizer,
    folder: &Path,
) -> Result<PathBuf> {
    let done = folder.join(TEXT_ENCODER);
    if done.is_dir() {
        return Ok(done);
    }
    let missing = || Error::Setting("this configuration of stage 0 has no [sentence]".to_owned());
    let settings = config.sentence.as_ref().ok_or_else(missing)?;
    let mut sink = EventSink::create(folder)?;
    let seed = config.seed + sentence::SEED;
    let encoder = sentence::train(settings, seed, tokenizer, &Subjects::default(), &mut sink)?;
    let unfinished = folder.join("unfinished");
    encoder.write(&mut PackageWriter::create(&unfinished)?, tokenizer)?;
    std::fs::rename(unfinished.join(TEXT_ENCODER), &done).map_err(Error::io(&done))?;
    std::fs::remove_dir(&unfinished).map_err(Error::io(&unfinished))?;
    Ok(done)
}
