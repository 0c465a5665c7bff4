//! The language model's files, in whichever layout they are, and how its answers end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{Error, Source, open};
use crate::package::{ChatTemplate, Generation, LanguageKind, LanguageSpec};
use crate::prompt::ChatTokenizer;
use crate::reinpath::read_json;
use crate::weights::gguf::Gguf;
use crate::weights::mmproj;

/// The folder of the language model in a package.
const PART: &str = "language";
/// Tokens that end an answer of any Llama 3, where the tokenizer has them (`generation_config.json` of its instruct
/// models).
const STOP: [&str; 3] = ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"];
/// Longest answer in tokens, unless the question says otherwise.
const MAX_TOKENS: usize = 512;

/// A language model that was found.
pub(super) struct Language {
    pub(super) files: Vec<Source>,
    pub(super) spec: LanguageSpec,
    pub(super) generation: Generation,
    pub(super) hidden_size: usize,
}

/// Hugging Face's `generation_config.json`, as far as it matters here.
#[derive(Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Ids>,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

/// An index of several weight files (`model.safetensors.index.json`).
#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

/// The files of a language model, where they lie.
pub(super) struct Found {
    pub(super) weights: Vec<PathBuf>,
    pub(super) config: PathBuf,
    /// Where its tokenizer lies, if it has one.
    tokenizer: Option<PathBuf>,
}

impl Language {
    /// Finds the language model at `path`, with another `tokenizer` than its own where one is named.
    pub(super) fn find(path: &Path, tokenizer: Option<&Path>) -> Result<Self, Error> {
        let found = Found::at(path)?;
        if let Some(other) = kind(&found.config).filter(|kind| kind != "llama") {
            let reason = format!("this is a model of the kind '{other}', not a Llama and not a Qwen2.5-VL");
            return Err(Error::Unfit { reason, path: found.config });
        }
        let tokenizer_path = found.tokenizer(path, tokenizer)?;
        let weights = found.weights.iter().map(|path| source(path)).collect::<Result<Vec<_>, _>>()?;
        let (config, tokenizer) = (source(&found.config)?, source(&tokenizer_path)?);
        let chat = ChatTokenizer::read(&tokenizer_path, ChatTemplate::Llama3)
            .map_err(|error| in_file(error, &tokenizer_path))?;
        let spec = LanguageSpec {
            kind: LanguageKind::Llama,
            weights: weights.iter().map(|file| file.name.clone()).collect(),
            config: config.name.clone(),
            tokenizer: tokenizer.name.clone(),
            chat_template: ChatTemplate::Llama3,
            template: None,
            precision: precision(&found.weights[0])?,
        };
        let generation = generation(&found.config, &chat, &STOP)?;
        let hidden_size = hidden_size(&found.config)?;
        let files = each_once(weights.into_iter().chain([config, tokenizer]))?;
        Ok(Self { files, spec, generation, hidden_size })
    }
}

/// A file of the language model, in its folder of the package.
pub(super) fn source(path: &Path) -> Result<Source, Error> {
    Source::new(PART, path)
}

/// Files, of which one may have been named twice.
pub(super) fn each_once(sources: impl IntoIterator<Item = Source>) -> Result<Vec<Source>, Error> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for Source { name, path } in sources {
        if files.get(&name).is_some_and(|other| *other != path) {
            let reason = "another file of the language model has the same name".to_owned();
            return Err(Error::Unfit { reason, path });
        }
        files.insert(name, path);
    }
    Ok(files.into_iter().map(|(name, path)| Source { name, path }).collect())
}

/// What a `config.json` says of which kind its model is.
pub(super) fn kind(config: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
    }
    // A GGUF file may be longer than the memory.
    config.extension().filter(|extension| *extension == "json")?;
    let Kind { model_type } = read_json(config).ok()?;
    model_type
}

impl Found {
    /// The tokenizer of the model at `path`: the one that is named, or its own.
    pub(super) fn tokenizer(&self, path: &Path, named: Option<&Path>) -> Result<PathBuf, Error> {
        named.or(self.tokenizer.as_deref()).map(Path::to_owned).ok_or_else(|| Error::Unfit {
            reason: "there is no tokenizer here: name one with --tokenizer".to_owned(),
            path: path.to_owned(),
        })
    }

    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        let unfit = |reason: &str| Error::Unfit { reason: reason.to_owned(), path: path.to_owned() };
        if path.is_file() {
            return match path.extension() {
                Some(extension) if extension == "gguf" => Ok(Self::gguf(path)),
                _ => Err(unfit("a language model is a folder or a file that ends in .gguf")),
            };
        }
        if !path.is_dir() {
            return Err(unfit("there is no such file or folder"));
        }
        if path.join("config.json").is_file() {
            return Self::hugging_face(path);
        }
        if path.join("params.json").is_file() {
            return Self::meta(path);
        }
        // A vision tower in a file of its own is no language model.
        let (_, files): (Vec<PathBuf>, Vec<PathBuf>) =
            gguf_files(path)?.into_iter().partition(|file| is_vision(file));
        match files.as_slice() {
            [only] => Ok(Self::gguf(only)),
            [] => Err(unfit("there is no config.json (Hugging Face), params.json (Meta) or GGUF file here")),
            _ => Err(unfit("there are several GGUF files here: name one")),
        }
    }

    fn gguf(file: &Path) -> Self {
        let file = || file.to_owned();
        Self { weights: vec![file()], config: file(), tokenizer: Some(file()) }
    }

    fn hugging_face(folder: &Path) -> Result<Self, Error> {
        let mut weights = Vec::new();
        for name in ["model.safetensors", "pytorch_model.bin"] {
            let (index, single) = (folder.join(format!("{name}.index.json")), folder.join(name));
            if index.is_file() {
                weights = shards(folder, &index)?;
            } else if single.is_file() {
                weights = vec![single];
            }
            if !weights.is_empty() {
                break;
            }
        }
        if weights.is_empty() {
            let reason =
                "there is no model.safetensors or pytorch_model.bin here, in one file or several".to_owned();
            return Err(Error::Unfit { reason, path: folder.to_owned() });
        }
        Ok(Self { weights, config: folder.join("config.json"), tokenizer: tokenizer(folder) })
    }

    fn meta(folder: &Path) -> Result<Self, Error> {
        let mut weights: Vec<String> = names(folder)?;
        weights.retain(|name| {
            name.starts_with("consolidated.") && Path::new(name).extension().is_some_and(|e| e == "pth")
        });
        // Their numbers have as many digits each.
        weights.sort();
        if weights.is_empty() {
            let reason = "there is no consolidated.00.pth here".to_owned();
            return Err(Error::Unfit { reason, path: folder.to_owned() });
        }
        let weights = weights.iter().map(|name| folder.join(name)).collect();
        Ok(Self { weights, config: folder.join("params.json"), tokenizer: tokenizer(folder) })
    }
}

/// The GGUF files in a folder.
pub(super) fn gguf_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let named = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "gguf");
    let mut files = names(folder)?;
    files.retain(named);
    files.sort();
    Ok(files.into_iter().map(|name| folder.join(name)).collect())
}

/// Whether a GGUF file holds a vision tower alone.
pub(super) fn is_vision(file: &Path) -> bool {
    Gguf::open(file).is_ok_and(|gguf| mmproj::is_mmproj(&gguf))
}

/// The names in a folder that are text.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let unreadable = |e: std::io::Error| Error::Unfit {
        reason: format!("the folder cannot be read, {e}"),
        path: folder.to_owned(),
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        names.extend(entry.map_err(unreadable)?.file_name().into_string().ok());
    }
    Ok(names)
}

fn tokenizer(folder: &Path) -> Option<PathBuf> {
    ["tokenizer.json", "tokenizer.model"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|file| file.is_file())
}

/// The files that an index names.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, Error> {
    let Index { weight_map } = read_json(index)?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    let unfit = |reason: String| Error::Unfit { reason, path: index.to_owned() };
    for name in &names {
        let mut parts = Path::new(name).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(unfit(format!("it names '{name}', which is no file beside it")));
        }
        if !folder.join(name).is_file() {
            return Err(unfit(format!("it names {name}, which is not there")));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// An error about a tokenizer, with its file.
pub(super) fn in_file(error: crate::prompt::Error, path: &Path) -> Error {
    match error {
        crate::prompt::Error::MissingToken(_) | crate::prompt::Error::Encode(_) => {
            Error::Unfit { reason: error.to_string(), path: path.to_owned() }
        }
        error => error.into(),
    }
}

/// How answers end, and how they are drawn where the files say so; `ends` end them, too, where the tokenizer has them.
pub(super) fn generation(
    config: &Path,
    tokenizer: &ChatTokenizer,
    ends: &[&str],
) -> Result<Generation, Error> {
    let path = config.with_file_name("generation_config.json");
    let stated: GenerationConfig =
        if path.is_file() { read_json(&path)? } else { GenerationConfig::default() };
    let ids = match stated.eos_token_id {
        None => Vec::new(),
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Many(ids)) => ids,
    };
    let mut stop: BTreeSet<String> = BTreeSet::new();
    for id in ids {
        let unknown = || Error::Unfit {
            reason: format!("it ends answers with the token {id}, which the tokenizer has not"),
            path: path.clone(),
        };
        stop.insert(tokenizer.tokenizer().id_to_token(id).ok_or_else(unknown)?);
    }
    stop.extend(ends.iter().filter(|token| tokenizer.token(token).is_ok()).map(|&token| token.to_owned()));
    let samples = stated.do_sample == Some(true);
    Ok(Generation {
        temperature: stated.temperature.filter(|_| samples).unwrap_or(0.0),
        top_k: stated.top_k.filter(|_| samples).unwrap_or(0),
        top_p: stated.top_p.filter(|_| samples).unwrap_or(1.0),
        repetition_penalty: stated.repetition_penalty.unwrap_or(1.0),
        max_tokens: MAX_TOKENS,
        stop: stop.into_iter().collect(),
    })
}

/// Channels of the language model, for a projector that has to be made.
fn hidden_size(config: &Path) -> Result<usize, Error> {
    #[derive(Deserialize)]
    struct Size {
        #[serde(alias = "dim")]
        hidden_size: usize,
    }
    if config.extension().is_some_and(|extension| extension == "gguf") {
        return Ok(Gguf::open(config)?.config()?.hidden_size);
    }
    let Size { hidden_size } = read_json(config)?;
    Ok(hidden_size)
}

/// The precision of the embeddings, or what a GGUF file says of itself.
pub(super) fn precision(weights: &Path) -> Result<String, Error> {
    if weights.extension().is_some_and(|extension| extension == "gguf") {
        return Ok(Gguf::open(weights)?.file_type().to_owned());
    }
    let weights_of = open(weights)?;
    // The first file of several may hold other tensors: all of a model are of one kind.
    let names =
        ["model.embed_tokens.weight", "model.language_model.embed_tokens.weight", "tok_embeddings.weight"];
    let named = names.iter().find_map(|name| weights_of.precision(name));
    let any = || weights_of.shapes().next().and_then(|(name, _)| weights_of.precision(name));
    Ok(named.or_else(any).unwrap_or_default())
}
