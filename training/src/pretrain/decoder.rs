//! A base decoder alone, for a comparison of decoders: trained as stage 0 does, with a tokenizer that is there already.

use std::path::Path;

use reinpath_model::package::PackageWriter;
use reinpath_model::prompt::ChatTokenizer;

use super::subjects::Subjects;
use super::text;
use crate::config::PretrainConfig;
use crate::error::{Error, Result};
use crate::event::EventSink;
use crate::package_writer::write_vars;

/// Names of the decoder's files in its folder; the second is written last.
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const CONFIG: &str = "config.json";

/// Trains a decoder and writes its weights and configuration into a folder, where the events of its training go too.
/// Where it is there already, nothing is done.
pub(crate) fn train(config: &PretrainConfig, tokenizer: &ChatTokenizer, folder: &Path) -> Result<()> {
    let done = folder.join(CONFIG);
    if done.is_file() {
        return Ok(());
    }
    let mut sink = EventSink::create(folder)?;
    let language = text::train(config, tokenizer, &Subjects::default(), &mut sink)?;
    let mut writer = PackageWriter::create(folder)?;
    write_vars(&mut writer, WEIGHTS, &language.vars, "")?;
    let json = serde_json::to_string_pretty(&language.config)
        .map_err(|e| Error::Config { reason: e.to_string(), path: done.clone() })?;
    let part = folder.join(format!("{CONFIG}.part"));
    std::fs::write(&part, json).map_err(Error::io(&part))?;
    std::fs::rename(&part, &done).map_err(Error::io(&done))
}
