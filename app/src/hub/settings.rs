//! Where the Hub is, who asks, and where its files lie, by the environment variables that all of its tools read.
//!
//! See <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;

/// An access token. It is sent to the endpoint alone, and never shown.
#[derive(Clone)]
pub struct Token {
    value: String,
    /// Where it comes from: a variable or a file.
    pub origin: String,
}

impl Token {
    /// `None` where there is nothing but white space.
    fn checked(text: &str, origin: String) -> Result<Option<Self>, Error> {
        let value = text.trim();
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Token { origin });
        }
        Ok((!value.is_empty()).then(|| Self { value: value.to_owned(), origin }))
    }

    pub(super) fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What the environment says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_TOKEN`, or what the file holds into which Hugging Face's own tools write it.
    pub token: Option<Token>,
    /// That file, `token` in `HF_HOME` unless `HF_TOKEN_PATH` names another.
    pub token_file: PathBuf,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`: ask nobody.
    pub is_offline: bool,
}

impl Settings {
    pub fn from_environment() -> Result<Self, Error> {
        let folders = directories::BaseDirs::new();
        Self::read(variable, folders.as_ref().map(directories::BaseDirs::home_dir))
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Result<Self, Error> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let words = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let base = set("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(set("XDG_CACHE_HOME")?).join("huggingface")))
            .or_else(|| Some(home?.join(".cache").join("huggingface")))
            .ok_or(Error::NoHome)?;
        let endpoint = words("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Error::Endpoint { endpoint });
        }
        let token_file = set("HF_TOKEN_PATH").map_or_else(|| base.join("token"), PathBuf::from);
        let token = match words("HF_TOKEN") {
            Some(text) => Token::checked(&text, "HF_TOKEN".to_owned())?,
            None => token_in(&token_file)?,
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token,
            token_file,
            cache: set("HF_HUB_CACHE").map_or_else(|| base.join("hub"), PathBuf::from),
            is_offline: words("HF_HUB_OFFLINE").is_some_and(|text| is_yes(&text)),
        })
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The token in a file; `None` where there is no such file.
fn token_in(path: &Path) -> Result<Option<Token>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Token::checked(&text, path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Error::read(reason, path)),
    }
}

/// As huggingface_hub reads its switches.
fn is_yes(text: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Settings::read(find, Some(Path::new("nowhere")))
    }

    #[test]
    fn the_cache_is_where_the_other_tools_have_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).unwrap().cache;
        assert_eq!(cache(&[]), Path::new("nowhere/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "x")]), Path::new("x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "x"), ("HF_HOME", "h")]), Path::new("h/hub"));
        assert_eq!(cache(&[("HF_HOME", "h"), ("HF_HUB_CACHE", "c")]), Path::new("c"));
        assert!(matches!(Settings::read(|_| None, None), Err(Error::NoHome)));
    }

    #[test]
    fn the_variable_goes_before_the_file_and_neither_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let of_file = settings(&[("HF_HOME", home)]).unwrap();
        assert_eq!(of_file.token.as_ref().unwrap().value(), "hf_file");
        assert!(!format!("{of_file:?}").contains("hf_file"));
        let of_variable =
            settings(&[("HF_HOME", home), ("HF_TOKEN", " hf_variable ")]).unwrap().token.unwrap();
        assert_eq!((of_variable.value(), of_variable.origin.as_str()), ("hf_variable", "HF_TOKEN"));
        let wrong = settings(&[("HF_TOKEN", "two words")]).unwrap_err().to_string();
        assert!(wrong.contains("HF_TOKEN") && !wrong.contains("two words"), "{wrong}");
    }

    #[test]
    fn the_endpoint_and_the_switch_are_read() {
        assert_eq!(settings(&[]).unwrap().endpoint, "https://huggingface.co");
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror/")]).unwrap().endpoint, "http://mirror");
        assert!(matches!(settings(&[("HF_ENDPOINT", "mirror")]), Err(Error::Endpoint { .. })));
        for (text, is_offline) in [("1", true), ("true", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", text)]).unwrap().is_offline, is_offline, "{text}");
        }
    }
}
