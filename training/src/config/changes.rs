//! Changes to a configuration from outside its file: `--set grpo.kl_weight=0.01`, or the arms of an ablation.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::{Error, Result};

/// Reads a configuration with changes, each `key=value` in which the key names a setting by the tables it lies in, with
/// dots between them (`alignment.data.0.limit=100`), and the value is TOML, or a text where it is no TOML.
pub fn read_changed<T: DeserializeOwned>(path: &Path, changes: &[String]) -> Result<T> {
    let table = read_table(path)?;
    let not_valid =
        |e: toml::de::Error| Error::Config { reason: e.message().to_owned(), path: path.to_owned() };
    changed(table, changes)?.try_into().map_err(not_valid)
}

/// The configuration before it is known what kind it is.
pub fn read_table(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    text.parse()
        .map_err(|e: toml::de::Error| Error::Config { reason: e.message().to_owned(), path: path.to_owned() })
}

/// A table with changes, each `key=value`. Tables that are not there yet are made.
pub fn changed(table: Table, changes: &[String]) -> Result<Value> {
    let mut whole = Value::Table(table);
    for change in changes {
        let wrong = |reason: String| Error::Setting(format!("`{change}` changes no setting: {reason}"));
        let (key, value) = change.split_once('=').ok_or_else(|| wrong("it has no `=`".to_owned()))?;
        let parts: Vec<&str> = key.trim().split('.').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong("a part of its key is empty".to_owned()));
        }
        let value = value.trim();
        let value = value.parse().unwrap_or_else(|_: toml::de::Error| Value::String(value.to_owned()));
        put(&mut whole, &parts, value).map_err(wrong)?;
    }
    Ok(whole)
}

fn put(place: &mut Value, key: &[&str], value: Value) -> std::result::Result<(), String> {
    let Some((first, rest)) = key.split_first() else {
        *place = value;
        return Ok(());
    };
    let inner = match place {
        Value::Table(table) => table.entry(*first).or_insert_with(|| Value::Table(Table::new())),
        Value::Array(list) => {
            let count = list.len();
            match first.parse::<usize>() {
                Ok(at) if at < count => &mut list[at],
                _ => return Err(format!("`{first}` is no place in a list of {count}, counted from 0")),
            }
        }
        _ => return Err(format!("`{first}` would lie below a setting that is no table")),
    };
    put(inner, rest, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Optimisation, RunConfig};

    const FILE: &str = r#"
        name = "a"
        seed = 1
        base = "b"
        [cold_start]
        data = [{ folder = "x" }, { folder = "y", limit = 5 }]
        [cold_start.optimisation]
        batch = 8
    "#;

    fn read(changes: &[&str]) -> Result<RunConfig> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        read_changed(file.path(), &changes.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_setting_is_changed_wherever_it_lies() {
        let config = read(&[
            "seed=7",
            "base = runs/other/package",
            "name=\"b = c\"",
            "cold_start.data.1.limit=9",
            "cold_start.optimisation.learning_rate=1e-3",
            "compute.recompute=true",
            "trouble.not_a_number=warn",
            "evaluation.data=[{folder='z', split='test'}]",
        ])
        .unwrap();
        assert_eq!((config.seed, config.name.as_str()), (7, "b = c"));
        assert_eq!(config.base, Path::new("runs/other/package"));
        let cold_start = config.cold_start.unwrap();
        assert_eq!((cold_start.data[0].limit, cold_start.data[1].limit), (0, 9));
        let Optimisation { batch, learning_rate, .. } = cold_start.optimisation;
        assert_eq!((batch, learning_rate), (8, 1e-3));
        assert!(config.compute.recompute);
        assert_eq!(config.trouble.not_a_number, crate::config::OnTrouble::Warn);
        assert_eq!(config.evaluation.data[0].folder, Path::new("z"));
    }

    #[test]
    fn the_last_of_two_changes_holds() {
        assert_eq!(read(&["seed=7", "seed=8"]).unwrap().seed, 8);
    }

    #[test]
    fn what_changes_nothing_is_refused_in_a_sentence() {
        let refused = |change: &str| read(&[change]).unwrap_err().to_string();
        assert!(refused("seed").contains("no `=`"));
        assert!(refused("cold_start..select=1").contains("empty"));
        assert!(refused("cold_start.data.2.limit=1").contains("no place in a list of 2"));
        assert!(refused("seed.more=1").contains("no table"));
        assert!(refused("sead=1").contains("sead"));
        assert!(refused("cold_start.optimisation.batsh=1").contains("batsh"));
        assert!(refused("seed=many").contains("many"));
    }
}
