//! Where parts come from, and under which licences, as far as their folders tell: Hugging Face's model cards begin with
//! it, and its cache names the repository.

use std::path::{Component, Path};

use serde::Deserialize;

use crate::package::{ADAPTER_CONFIG, Known};
use crate::reinpath::read_json;

/// A part of a package, where it comes from and its licence.
pub(super) struct Origin {
    part: String,
    from: String,
    /// As in the model card, such as `llama3` or `cc-by-nc-nd-4.0`.
    licence: Option<String>,
}

impl Origin {
    /// What the files at `path` tell.
    pub(super) fn of(part: &str, path: &Path) -> Self {
        Self { part: part.to_owned(), from: repository(path), licence: licence(&card(path)) }
    }

    /// The same where a licence is known that the model card does not tell.
    pub(super) fn under(self, licence: Option<&str>) -> Self {
        Self { licence: self.licence.or_else(|| licence.map(str::to_owned)), ..self }
    }
}

/// The published model that is meant by names such as those of [`names`], the one with the stricter terms where there are
/// several: a model that was made from another has this one's, too.
pub(super) fn known(names: impl IntoIterator<Item = String>) -> Option<&'static Known> {
    Known::strictest(names.into_iter().filter_map(|name| Known::named(&name)))
}

/// What may name the published model at `path`, or that which an adapter there was trained on: its repository in Hugging
/// Face's cache or its own name and its folder's, its model card's heading and what that says it was made from, and what its
/// configuration calls it or its base. A base that is a path is known by the names in the path; nothing is read there.
pub(super) fn names(path: &Path) -> Vec<String> {
    let folder = folder(path);
    let card = card(path);
    let heading = body(&card).find(|line| line.starts_with("# ")).map(str::to_owned);
    let own = [repository(path), repository(folder)];
    own.into_iter().chain(heading).chain(bases(&card)).chain(configured(folder)).collect()
}

/// What the configurations of a model and of an adapter in a folder name.
fn configured(folder: &Path) -> impl Iterator<Item = String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "_name_or_path")]
        own: Option<String>,
        #[serde(rename = "base_model_name_or_path")]
        base: Option<String>,
    }
    ["config.json", ADAPTER_CONFIG]
        .into_iter()
        .filter_map(move |file| read_json::<Config>(&folder.join(file)).ok())
        .flat_map(|config| [config.own, config.base])
        .flatten()
}

/// The folder at `path`, or that of the file.
fn folder(path: &Path) -> &Path {
    if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) }
}

/// The model card beside the files at `path`; empty where there is none.
fn card(path: &Path) -> String {
    std::fs::read_to_string(folder(path).join("README.md")).unwrap_or_default()
}

/// `language: llama3; conch: not stated`.
pub(super) fn licences(origins: &[Origin]) -> String {
    let of = |o: &Origin| format!("{}: {}", o.part, o.licence.as_deref().unwrap_or("not stated"));
    origins.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// `reinpath model add: language from meta-llama/Meta-Llama-3-8B; conch from pytorch_model.bin`.
pub(super) fn provenance(origins: &[Origin]) -> String {
    let of = |o: &Origin| format!("{} from {}", o.part, o.from);
    format!("reinpath model add: {}", origins.iter().map(of).collect::<Vec<_>>().join("; "))
}

/// The repository's name in Hugging Face's cache (`models--owner--name/snapshots/revision`), with the revision; elsewhere
/// the file's or folder's own, so that nothing of this machine goes into the package.
fn repository(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_no_current_folder| path.to_owned());
    let names: Vec<&str> = whole
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let in_cache = names.windows(3).find_map(|names| {
        let &[repository, "snapshots", revision] = names else { return None };
        let repository = repository.strip_prefix("models--")?.replace("--", "/");
        Some(format!("{repository} at {revision}"))
    });
    in_cache.unwrap_or_else(|| names.last().map_or_else(String::new, |&name| name.to_owned()))
}

/// The lines between `---` that a model card begins with.
fn head(card: &str) -> impl Iterator<Item = &str> {
    let has_one = card.lines().next().is_some_and(|line| line.trim_end() == "---");
    let lines = card.lines().skip(1).take_while(|line| line.trim_end() != "---");
    lines.filter(move |_| has_one)
}

/// The lines that follow.
fn body(card: &str) -> impl Iterator<Item = &str> {
    let head = head(card).count();
    card.lines().skip(if head == 0 { 0 } else { head + 2 })
}

/// The licence in a model card's head.
fn licence(card: &str) -> Option<String> {
    let find = |key: &str| {
        head(card).find_map(|line| {
            let value = line.strip_prefix(key)?.strip_prefix(':')?.trim().trim_matches(['"', '\'']);
            (!value.is_empty()).then(|| value.to_owned())
        })
    };
    // `license: other` is told apart by a name.
    find("license_name").or_else(|| find("license"))
}

/// The models that one was made from, by its card's head: one in the line, or a list in those that follow.
fn bases(card: &str) -> Vec<String> {
    let (mut bases, mut is_list) = (Vec::new(), false);
    for line in head(card) {
        let item = line.trim_start().strip_prefix("- ").filter(|_| is_list);
        let named = line.strip_prefix("base_model:");
        is_list = named.is_some() || item.is_some();
        bases.extend(named.or(item).map(|base| base.trim().to_owned()));
    }
    bases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_cards_and_the_cache_tell_where_a_part_comes_from() {
        assert_eq!(licence("---\nlanguage:\n- en\nlicense: llama3\n---\nlicense: mit\n").unwrap(), "llama3");
        let named = "---\nlicense: other\nlicense_name: \"llama3.2\"\n---\n";
        assert_eq!(licence(named).unwrap(), "llama3.2");
        for none in ["", "license: mit", "---\nlicense:\n---\n", "---\ntags: x\n---\nlicense: mit"] {
            assert_eq!(licence(none), None, "{none}");
        }
        let cached = Path::new("cache/hub/models--MahmoodLab--conch/snapshots/f9ca9f8/pytorch_model.bin");
        assert_eq!(repository(cached), "MahmoodLab/conch at f9ca9f8");
        assert_eq!(repository(Path::new("weights/uni")), "uni");
    }

    #[test]
    fn a_model_is_known_by_what_it_was_made_from_and_by_the_stricter_of_two() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tuned");
        std::fs::create_dir(&folder).unwrap();
        let named = || known(names(&folder)).map(|known| known.name);
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        assert_eq!(named(), None);
        write("config.json", r#"{"_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct"}"#);
        assert_eq!(named(), Some("Qwen2.5-VL-3B-Instruct"));
        write("README.md", "---\nbase_model:\n- Qwen/Qwen2.5-VL-7B-Instruct\n---\n# Mine\n");
        assert_eq!(named(), Some("Qwen2.5-VL-7B-Instruct"));
        for card in [
            "---\ntags: x\nbase_model: WenchuanZhang/Patho-R1-7B\n---\n# Mine\n",
            "---\nbase_model:\n- a/b\n- WenchuanZhang/Patho-R1-7B\ntags:\n- x\n---\n",
            "# Patho-R1-7B\n",
        ] {
            write("README.md", card);
            assert_eq!(named(), Some("Patho-R1-7B"), "{card}");
        }
        // What a card tells beside that is no name.
        write("README.md", "---\ntags:\n- Patho-R1-7B\n---\n# Mine\nBetter than Patho-R1-7B.\n");
        assert_eq!(named(), Some("Qwen2.5-VL-3B-Instruct"));
        for base in ["WenchuanZhang/Patho-R1-7B", "/models/Patho-R1-7B/merged", "C:\\models\\Patho-R1-7B"] {
            let config = serde_json::json!({ "base_model_name_or_path": base });
            write(ADAPTER_CONFIG, &config.to_string());
            assert_eq!(named(), Some("Patho-R1-7B"), "{base}");
        }
        for none in [r#"{"base_model_name_or_path": null}"#, "no JSON"] {
            write(ADAPTER_CONFIG, none);
            assert_eq!(named(), Some("Qwen2.5-VL-3B-Instruct"), "{none}");
        }
        let file = home.path().join("Patho-R1-3B.Q4_K_M.gguf");
        assert_eq!(known(names(&file)).map(|known| known.name), Some("Patho-R1-3B"));
        let unknown = Origin::of("language", &folder).under(Some("Apache-2.0"));
        assert_eq!(licences(&[unknown]), "language: Apache-2.0");
        write("README.md", "---\nlicense: mit\n---\n");
        assert_eq!(licences(&[Origin::of("language", &folder).under(Some("x"))]), "language: mit");
    }
}
