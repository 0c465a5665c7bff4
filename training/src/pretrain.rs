//! Stage 0: encoders, a text-only base decoder and a text encoder made from nothing, on phantom tissue and, where a
//! folder is named, on labelled patches of real tissue. Ours, not the paper's: it stands in for the published CONCH, UNI,
//! Llama and sentence encoder where nothing is downloaded. The decoder never sees a staged answer.

pub(crate) mod alone;
mod attributes;
mod contrast;
mod decoder_start;
mod patches;
mod sentence;
pub(crate) mod subjects;
mod teacher;
mod text;
mod texture;
pub(crate) mod tokenizer;
mod view;

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device};
use candle_nn::{VarBuilder, VarMap};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_model::package::{
    Architecture, ChatTemplate, FORMAT, Fusion, Generation, GridRule, Instructions, Knows, LanguageKind,
    LanguageSpec, Manifest, PackageWriter, ProjectorSpec,
};
use reinpath_model::projector::Projector;
use reinpath_model::prompt::{ChatTokenizer, END_OF_TURN};

use self::patches::Patches;
pub use self::sentence::TEXT_ENCODER;
use self::subjects::Subjects;
use crate::config::{PretrainConfig, TissueConfig};
use crate::error::{Error, Result};
use crate::event::{EventSink, RunEvent};
use crate::fields::{EncoderExample, FieldPlan, draw_examples, limited_plans};
use crate::init;
use crate::package_writer::write_vars;
use crate::phantom::Limits;
use crate::tissue::{Lexicon, MeasuredPatch, read_patches};

// Files of the package.
const TOKENIZER: &str = "language/tokenizer.json";
const DECODER: &str = "language/model.safetensors";
const DECODER_CONFIG: &str = "language/config.json";

/// What every part of stage 0 works with.
struct Base<'a> {
    config: &'a PretrainConfig,
    plans: Vec<FieldPlan>,
    examples: Vec<EncoderExample>,
    tokenizer: ChatTokenizer,
    /// Real patches, where there are any.
    patches: Option<Patches<'a>>,
}

/// The real tissue that a configuration names.
struct Tissue<'a> {
    config: &'a TissueConfig,
    folder: &'a Path,
    /// What is learnt from.
    patches: Vec<MeasuredPatch>,
}

impl<'a> Tissue<'a> {
    /// Reads what is known of the patches; `None` where no folder is named.
    fn read(config: &'a PretrainConfig) -> Result<Option<Self>> {
        let Some(tissue) = &config.tissue else { return Ok(None) };
        let Some(folder) = tissue.folder.as_deref() else { return Ok(None) };
        tissue.check(config.encoders.len())?;
        let patches = read_patches(folder, &tissue.splits)?;
        if patches.is_empty() {
            let reason = format!("there are no patches to learn from: {}", folder.display());
            return Err(Error::Setting(reason));
        }
        Ok(Some(Self { config: tissue, folder, patches }))
    }
}

/// Runs stage 0 in a run folder; returns the folder of the package, whose projector is untrained.
pub fn pretrain(config: &PretrainConfig, run: &Path) -> Result<PathBuf> {
    let begin = Instant::now();
    let mut sink = EventSink::create(run)?;
    let json = serde_json::to_value(config)
        .map_err(|e| Error::Config { reason: e.to_string(), path: run.to_owned() })?;
    sink.send(&RunEvent::Started { config: json })?;
    // Before hours of work, whether what it needs is there.
    let tissue = Tissue::read(config)?;
    let subjects = tissue.as_ref().map_or_else(Subjects::default, |tissue| {
        let described = tissue.patches.iter().map(|patch| patch.described.clone());
        Subjects::new(described, tissue.config.texts)
    });
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let package = run.join("package");
    let mut writer = PackageWriter::create(&package)?;

    let tokenizer = tokenizer::make(&config.tokenizer, &subjects, &mut rng)?;
    let tokenizer_path = writer.path(TOKENIZER)?;
    tokenizer.save(&tokenizer_path, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
    let tokenizer = ChatTokenizer::read(&tokenizer_path, ChatTemplate::Llama3)?;

    if let Some(from) = &config.decoder_from {
        take_decoder(from, &tokenizer_path, &mut writer)?;
    } else {
        let subjects = subjects.within(Limits::without(config.without));
        let language = text::train(config, &tokenizer, &subjects, &mut sink)?;
        write_vars(&mut writer, DECODER, &language.vars, "")?;
        let json = serde_json::to_string_pretty(&language.config)
            .map_err(|e| Error::Config { reason: e.to_string(), path: run.to_owned() })?;
        writer.text(DECODER_CONFIG, &json)?;
    }

    let plans = limited_plans(config.fields, Limits::without(config.without), &mut rng);
    sink.send(&RunEvent::Stage { stage: "drawing".to_owned(), steps: config.fields })?;
    let examples = draw_examples(&plans, config.patch, &config.encoders, &|_| {})?;
    let patches = tissue.as_ref().map(|tissue| Patches::read(tissue, &config.encoders));
    let base = Base { config, plans, examples, tokenizer, patches: patches.transpose()? };
    let first = contrast::train(&base, &mut sink)?;
    attributes::train_further(&base, &first, &mut sink)?;
    let encoders = [first, attributes::train(&base, &mut sink)?];
    for (encoder, spec) in encoders.iter().zip(&config.encoders) {
        write_vars(&mut writer, &spec.weights[0], encoder, "encoder.")?;
    }

    if let Some(settings) = &config.sentence {
        let encoder =
            sentence::train(settings, config.seed + sentence::SEED, &base.tokenizer, &subjects, &mut sink)?;
        encoder.write(&mut writer, &base.tokenizer)?;
    }

    let projector = VarMap::new();
    let mut manifest = manifest(config, tissue.as_ref());
    let vb = VarBuilder::from_varmap(&projector, DType::F32, &Device::Cpu);
    let (fused, hidden) = (manifest.fused_width(), config.language.hidden_size);
    Projector::load(&vb.pp("model.mm_projector"), fused, manifest.projector.hidden, hidden)?;
    init::seed(&projector, config.seed + 13)?;
    write_vars(&mut writer, &manifest.projector.weights, &projector, "model.mm_projector.")?;
    manifest.files = writer.records()?;
    writer.manifest(&manifest)?;
    sink.send(&RunEvent::Finished { package: package.clone(), secs: begin.elapsed().as_secs_f64() })?;
    Ok(package)
}

/// Copies the decoder of a package whose tokenizer is the one at `tokenizer`.
fn take_decoder(package: &Path, tokenizer: &Path, writer: &mut PackageWriter) -> Result<()> {
    let read = |path: &Path| std::fs::read(path).map_err(Error::io(path));
    if read(&package.join(TOKENIZER))? != read(tokenizer)? {
        let reason =
            format!("`decoder_from` has another tokenizer than these settings make: {}", package.display());
        return Err(Error::Setting(reason));
    }
    for name in [DECODER, DECODER_CONFIG] {
        writer.copy(&package.join(name), name)?;
    }
    Ok(())
}

fn manifest(config: &PretrainConfig, tissue: Option<&Tissue<'_>>) -> Manifest {
    let mut tissues = vec!["phantom tissue".to_owned()];
    let withheld = Limits::without(config.without).in_words();
    let mut provenance =
        format!("reinpath-train pretrain, seed {}, {} phantom fields{withheld}", config.seed, config.fields);
    if config.decoder_from.is_some() {
        provenance.push_str(", decoder of an earlier run");
    }
    let mut made_from = "phantom tissue alone".to_owned();
    if let Some(tissue) = tissue {
        let name = &tissue.config.name;
        let Lexicon { source, licence, .. } = Lexicon::shipped();
        let count = tissue.patches.len();
        provenance = format!("{provenance}, {count} patches of {name} from {source}, {licence}");
        made_from = format!("phantom tissue and patches of {name}");
        tissues.push(name.clone());
    }
    Manifest {
        format: FORMAT,
        name: config.name.clone(),
        description: format!(
            "Encoders and a base decoder made from {made_from}; the projector is not trained."
        ),
        licence: "MIT OR Apache-2.0".to_owned(),
        languages: vec!["en".to_owned()],
        created: String::new(),
        provenance,
        architecture: Architecture::ReinPath,
        patch: config.patch,
        encoders: config.encoders.clone(),
        fusion: Fusion { grid: GridRule::Pooled, pool: config.pool },
        projector: ProjectorSpec {
            weights: "projector.safetensors".to_owned(),
            hidden: config.language.hidden_size,
            prefix: String::new(),
        },
        vision: None,
        instructions: Instructions::default(),
        terms: None,
        language: LanguageSpec {
            kind: LanguageKind::Llama,
            weights: vec![DECODER.to_owned()],
            config: DECODER_CONFIG.to_owned(),
            tokenizer: TOKENIZER.to_owned(),
            chat_template: ChatTemplate::Llama3,
            template: None,
            precision: "f16".to_owned(),
        },
        adapters: Vec::new(),
        generation: Generation {
            max_tokens: 200,
            stop: vec![END_OF_TURN.to_owned(), "<|end_of_text|>".to_owned()],
            ..Generation::default()
        },
        knows: Knows { tissues, declared: true, feature_range: None },
        files: std::collections::BTreeMap::new(),
    }
}
