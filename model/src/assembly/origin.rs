//! Where parts come from, and under which licences, as far as their folders tell: Hugging Face's model cards begin with
//! it, and its cache names the repository.

use std::path::{Component, Path};

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
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
        let card = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        Self { part: part.to_owned(), from: repository(path), licence: licence(&card) }
    }
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

/// The licence in the lines between `---` that a model card begins with.
fn licence(card: &str) -> Option<String> {
    let mut lines = card.lines();
    lines.next().filter(|line| line.trim_end() == "---")?;
    let of = |key: &'static str| {
        move |line: &str| {
            let value = line.strip_prefix(key)?.strip_prefix(':')?.trim().trim_matches(['"', '\'']);
            (!value.is_empty()).then(|| value.to_owned())
        }
    };
    let head: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    let find = |key: &'static str| head.iter().copied().find_map(of(key));
    // `license: other` is told apart by a name.
    find("license_name").or_else(|| find("license"))
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
}
