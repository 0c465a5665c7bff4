//! A package of a Qwen2.5-VL: a folder as it is downloaded from the Hugging Face Hub, or a GGUF with its vision file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::language::{
    Found, each_once, generation, gguf_files, in_file, is_vision, kind, precision, source,
};
use super::{Error, Source, open, origin, processor};
use crate::llama::LlamaConfig;
use crate::package::{
    AnswerForm, ChatTemplate, Generation, Instructions, Known, LanguageKind, LanguageSpec, OptionMark,
    Package, STAGED, THINK, VisionSpec,
};
use crate::prompt::{ChatTokenizer, user_text};
use crate::reinpath::read_json;
use crate::template::Template;
use crate::tokenizer;
use crate::weights::gguf::Gguf;
use crate::weights::{keys, mmproj};

/// What `config.json` says of such a model, and a GGUF file (of both Qwen2-VL and Qwen2.5-VL: their vision files tell them
/// apart).
const KIND: &str = "qwen2_5_vl";
const ARCHITECTURE: &str = "qwen2vl";
/// The folder of a vision file in a package.
const VISION: &str = "vision";
/// The chat template in a package.
pub(super) const TEMPLATE: &str = "language/chat_template.jinja";
/// Tokens that end an answer, where the tokenizer has them.
const STOP: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];
/// Longest answer in tokens of a model that thinks first (Patho-R1's README).
const MAX_THOUGHTS: usize = 2048;

/// A model that was found.
pub(super) struct Qwen {
    pub(super) files: Vec<Source>,
    pub(super) language: LanguageSpec,
    pub(super) vision: VisionSpec,
    pub(super) generation: Generation,
    pub(super) instructions: Instructions,
    /// The published model that it is, or is made from.
    pub(super) known: Option<&'static Known>,
    /// The chat template, which is written into the package as a file of its own.
    pub(super) template: String,
}

/// Whether the language model at `path` is a Qwen2.5-VL's, by its `config.json` or its GGUF metadata.
pub(super) fn is_here(path: &Path) -> bool {
    let Ok(found) = Found::at(path) else {
        // Its weights may be what is wrong.
        return kind(&path.join("config.json")).is_some_and(|kind| kind == KIND);
    };
    match gguf(&found) {
        Some(file) => {
            Gguf::open(file).is_ok_and(|gguf| gguf.text("general.architecture") == Some(ARCHITECTURE))
        }
        None => kind(&found.config).is_some_and(|kind| kind == KIND),
    }
}

/// The file of a model that is one GGUF file.
fn gguf(found: &Found) -> Option<&Path> {
    Some(found.config.as_path()).filter(|config| config.extension().is_some_and(|own| own == "gguf"))
}

/// What the files tell of all but the language model.
struct Told {
    /// The chat template, if there is one, and the file that it is in.
    template: Option<String>,
    template_path: PathBuf,
    vision: VisionSpec,
    /// The tower's own file.
    vision_file: Option<Source>,
    /// What the model calls itself, and what its tower's own file calls that.
    name: Option<String>,
    tower_name: Option<String>,
}

impl Qwen {
    /// Finds the model at `path`, its vision file at `vision` where it has one that is not beside it, with another
    /// `tokenizer` than its own where one is named.
    pub(super) fn find(path: &Path, vision: Option<&Path>, tokenizer: Option<&Path>) -> Result<Self, Error> {
        let found = Found::at(path)?;
        let tokenizer_path = found.tokenizer(path, tokenizer)?;
        let weights = found.weights.iter().map(|path| source(path)).collect::<Result<Vec<_>, _>>()?;
        let (config, tokenizer_file) = (source(&found.config)?, source(&tokenizer_path)?);
        let told = match gguf(&found) {
            Some(file) => Told::in_gguf(file, vision)?,
            None => Told::in_folder(&found, &weights, path, vision)?,
        };
        let (chat, template) = chat(&told, &tokenizer_path, path)?;
        let own = origin::known(origin::names(path).into_iter().chain(told.name));
        // The terms of a tower hold for what sees with it; how a model answers was learned by its decoder.
        let tower = told.vision_file.as_ref().map(|file| origin::names(&file.path));
        let tower = origin::known(tower.into_iter().flatten().chain(told.tower_name));
        let known = Known::strictest(own.into_iter().chain(tower));
        let thinks = own.is_some_and(|known| known.thinks);
        let mut generation = generation(&found.config, &chat, &STOP)?;
        if thinks {
            generation.max_tokens = MAX_THOUGHTS;
        }
        let language = LanguageSpec {
            kind: LanguageKind::Qwen25Vl,
            weights: weights.iter().map(|file| file.name.clone()).collect(),
            config: config.name.clone(),
            tokenizer: tokenizer_file.name.clone(),
            chat_template: ChatTemplate::File,
            template: Some(TEMPLATE.to_owned()),
            precision: precision(&found.weights[0])?,
        };
        let files = weights.into_iter().chain([config, tokenizer_file]).chain(told.vision_file);
        Ok(Self {
            files: each_once(files)?,
            language,
            vision: told.vision,
            generation,
            instructions: instructions(thinks),
            known,
            template,
        })
    }
}

impl Told {
    fn in_gguf(file: &Path, vision: Option<&Path>) -> Result<Self, Error> {
        let gguf = Gguf::open(file)?;
        gguf.config()?;
        let (vision, vision_file, tower_name) = in_vision_file(file, vision)?;
        Ok(Self {
            template: gguf.text("tokenizer.chat_template").map(str::to_owned),
            template_path: file.to_owned(),
            vision,
            vision_file: Some(vision_file),
            name: gguf.text("general.name").map(str::to_owned),
            tower_name,
        })
    }

    fn in_folder(
        found: &Found,
        weights: &[Source],
        folder: &Path,
        vision: Option<&Path>,
    ) -> Result<Self, Error> {
        if let Some(named) = vision {
            let reason = "--vision is for GGUF files: this model's weights hold its vision tower";
            return Err(Error::Unfit { reason: reason.to_owned(), path: named.to_owned() });
        }
        let (template, template_path) = template_in(folder)?;
        let vision = in_shards(found, weights)?;
        Ok(Self { template, template_path, vision, vision_file: None, name: None, tower_name: None })
    }
}

/// The tokenizer of the model at `path` with its chat template, which asked a question, and the template's text.
fn chat(told: &Told, tokenizer: &Path, path: &Path) -> Result<(ChatTokenizer, String), Error> {
    let no_template = || Error::Unfit {
        reason: "there is no chat template here (chat_template.jinja, chat_template.json or in \
                 tokenizer_config.json)"
            .to_owned(),
        path: path.to_owned(),
    };
    let text = told.template.clone().ok_or_else(no_template)?;
    let template = Template::new(text.clone(), &told.template_path)?;
    let chat =
        ChatTokenizer::with_template(tokenizer::read(tokenizer)?, template, told.template_path.clone())
            .map_err(|error| in_file(error, tokenizer))?;
    // What would fail on every question.
    chat.prompt(&user_text(1, "", "?", &[])).map_err(|error| in_file(error, tokenizer))?;
    Ok((chat, text))
}

/// What the model is told before a question.
fn instructions(thinks: bool) -> Instructions {
    if thinks {
        Instructions { system: THINK.to_owned(), form: AnswerForm::Think, options: OptionMark::Stop }
    } else {
        Instructions { system: STAGED.to_owned(), form: AnswerForm::Staged, options: OptionMark::Bracket }
    }
}

/// The tower beside the language model, in Hugging Face's files; `sources` are those of the weights.
fn in_shards(found: &Found, sources: &[Source]) -> Result<VisionSpec, Error> {
    let config: Value = read_json(&found.config)?;
    LlamaConfig::of_qwen(&config).map_err(|reason| Error::Unfit {
        reason: format!("the file is not as expected, {reason}"),
        path: found.config.clone(),
    })?;
    let folder = found.config.parent().unwrap_or(Path::new("."));
    let mut spec = VisionSpec { weights: Vec::new(), ..processor::tower(folder, &config)? };
    for (path, source) in found.weights.iter().zip(sources) {
        let weights = open(path)?;
        let tower = weights.shapes().map(|(name, _)| name).find(|name| keys::tower(name).is_some());
        if let Some(name) = tower {
            spec.weights.push(source.name.clone());
            spec.precision = weights.precision(name).unwrap_or_default();
        }
    }
    if spec.weights.is_empty() {
        let reason = "there is no vision tower in the weights (visual.patch_embed.proj.weight)".to_owned();
        return Err(Error::Unfit { reason, path: folder.to_owned() });
    }
    Ok(spec)
}

/// The tower in a GGUF file of its own, which is the one that is named or the only one beside the language model, and what
/// that calls it.
fn in_vision_file(
    language: &Path,
    named: Option<&Path>,
) -> Result<(VisionSpec, Source, Option<String>), Error> {
    let unfit = |reason: &str| Error::Unfit { reason: reason.to_owned(), path: language.to_owned() };
    let file = if let Some(named) = named {
        named.to_owned()
    } else {
        let folder = language.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut files = gguf_files(folder.unwrap_or(Path::new(".")))?;
        files.retain(|file| is_vision(file));
        match <[PathBuf; 1]>::try_from(files) {
            Ok([only]) => only,
            Err(files) if files.is_empty() => {
                return Err(unfit(
                    "this model sees with a second file (mmproj); put it beside or name it with --vision",
                ));
            }
            Err(_several) => {
                return Err(unfit(
                    "there are several vision files (mmproj) beside it: name one with --vision",
                ));
            }
        }
    };
    let source = Source::new(VISION, &file)?;
    let gguf = Gguf::open(&file)?;
    let spec = mmproj::vision(&gguf, &source.name)?;
    Package::check_vision(&spec).map_err(|reason| Error::Unfit { reason, path: file })?;
    Ok((spec, source, gguf.text("general.name").map(str::to_owned)))
}

/// A chat template, where it is beside the weights, and the file that it is in.
fn template_in(folder: &Path) -> Result<(Option<String>, PathBuf), Error> {
    #[derive(Deserialize)]
    struct Holder {
        chat_template: Option<Templates>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Templates {
        One(String),
        Many(Vec<Named>),
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
        template: String,
    }
    let own = folder.join("chat_template.jinja");
    if own.is_file() {
        return Ok((Some(Template::read(&own)?.source().to_owned()), own));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let Holder { chat_template } = read_json(&path)?;
        let template = match chat_template {
            None => continue,
            Some(Templates::One(template)) => Some(template),
            Some(Templates::Many(all)) => {
                all.into_iter().find(|named| named.name == "default").map(|named| named.template)
            }
        };
        return Ok((template, path));
    }
    Ok((None, own))
}
