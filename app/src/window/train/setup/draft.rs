//! The draft of a configuration as a value that need not be valid: reading and changing one setting by its key, undoing and
//! redoing.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::SetupState;

/// Changes that can be undone.
const MOST: usize = 100;
/// Changes of one setting that follow each other sooner than this are one: somebody types.
const TYPING: Duration = Duration::from_secs(2);

/// The value of a setting, named as in `grpo.data.0.folder`.
pub(super) fn get<'a>(draft: &'a Value, key: &str) -> Option<&'a Value> {
    let mut value = draft;
    for part in key.split('.') {
        value = match value {
            Value::Object(table) => table.get(part)?,
            Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Sets a setting; `Null` takes it away, and the place just behind the end of a list adds to it. Tables that are not there yet are
/// made.
///
/// # Errors
/// A sentence, where the key leads to no place.
pub(super) fn put(draft: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let parts: Vec<&str> = key.split('.').collect();
    put_at(draft, &parts, value).map_err(|reason| format!("`{key}` cannot be set: {reason}."))
}

fn put_at(place: &mut Value, parts: &[&str], value: Value) -> Result<(), String> {
    let Some((first, rest)) = parts.split_first() else {
        *place = value;
        return Ok(());
    };
    match place {
        Value::Object(table) => {
            if rest.is_empty() && value.is_null() {
                table.retain(|key, _| key != first);
                return Ok(());
            }
            if value.is_null() && !table.contains_key(*first) {
                return Ok(());
            }
            let inner = table.entry(*first).or_insert_with(|| Value::Object(Map::new()));
            if inner.is_null() {
                *inner = Value::Object(Map::new());
            }
            put_at(inner, rest, value)
        }
        Value::Array(list) => {
            let count = list.len();
            let at = first.parse::<usize>().ok().filter(|at| *at <= count);
            let Some(at) = at else {
                return Err(format!("`{first}` is no place in a list of {count}, counted from 0"));
            };
            match (at == count, rest.is_empty(), value.is_null()) {
                (true, _, true) => {}
                (false, true, true) => drop(list.remove(at)),
                (true, _, false) => {
                    let mut new = Value::Object(Map::new());
                    put_at(&mut new, rest, value)?;
                    list.push(new);
                }
                (false, _, _) => return put_at(&mut list[at], rest, value),
            }
            Ok(())
        }
        _ => Err(format!("`{first}` would lie below a setting that is no table")),
    }
}

/// Keeps the draft as it is before a change, so that it can come back. `typed` names a setting that is being typed, whose changes
/// are one as long as they follow each other.
pub(super) fn keep(setup: &mut SetupState, typed: Option<&str>, now: Instant) {
    let goes_on = setup
        .typing
        .as_ref()
        .is_some_and(|(key, at)| Some(key.as_str()) == typed && now.saturating_duration_since(*at) < TYPING);
    if !goes_on {
        if setup.undo.len() >= MOST {
            setup.undo.remove(0);
        }
        setup.undo.push(setup.draft.clone());
    }
    setup.redo.clear();
    setup.typing = typed.map(|key| (key.to_owned(), now));
}

/// Takes the last change back; false where there is none.
pub(super) fn undo(setup: &mut SetupState) -> bool {
    let Some(before) = setup.undo.pop() else { return false };
    let now = std::mem::replace(&mut setup.draft, before);
    setup.redo.push(now);
    setup.typing = None;
    true
}

/// Makes the change again that was taken back last; false where there is none.
pub(super) fn redo(setup: &mut SetupState) -> bool {
    let Some(after) = setup.redo.pop() else { return false };
    let now = std::mem::replace(&mut setup.draft, after);
    setup.undo.push(now);
    setup.typing = None;
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(key: &str, value: Value) -> Result<Value, String> {
        let mut draft = json!({
            "seed": 1,
            "grpo": { "data": [{ "folder": "a" }, { "folder": "b" }], "samples": 4 },
        });
        put(&mut draft, key, value).map(|()| draft)
    }

    #[test]
    fn a_setting_is_changed_by_its_key_also_within_lists_and_tables_that_are_not_there() {
        let draft = changed("grpo.data.1.folder", json!("c")).unwrap();
        assert_eq!(get(&draft, "grpo.data.1.folder"), Some(&json!("c")));
        assert_eq!(get(&draft, "grpo.data.0.folder"), Some(&json!("a")));
        let draft = changed("grpo.reward.gaming.repetition", json!(1.0)).unwrap();
        assert_eq!(get(&draft, "grpo.reward.gaming.repetition"), Some(&json!(1.0)));
        let draft = changed("grpo.data.2", json!({ "folder": "c" })).unwrap();
        assert_eq!(get(&draft, "grpo.data.2.folder"), Some(&json!("c")));
        assert_eq!(get(&draft, "grpo.data.9.folder"), None);
        assert_eq!(get(&draft, "seed.more"), None);
    }

    #[test]
    fn null_takes_a_setting_or_an_element_away_and_makes_nothing() {
        let draft = changed("grpo.data.0", Value::Null).unwrap();
        assert_eq!(get(&draft, "grpo.data"), Some(&json!([{ "folder": "b" }])));
        let draft = changed("grpo.samples", Value::Null).unwrap();
        assert_eq!(get(&draft, "grpo.samples"), None);
        let same = changed("grpo.reward.gaming.repetition", Value::Null).unwrap();
        assert_eq!(get(&same, "grpo.reward"), None);
        assert_eq!(changed("grpo", Value::Null).unwrap(), json!({ "seed": 1 }));
    }

    #[test]
    fn a_key_that_leads_nowhere_is_refused_in_a_sentence() {
        for key in ["seed.more", "grpo.data.5.folder", "grpo.data.x"] {
            let error = changed(key, json!(1)).unwrap_err();
            assert!(error.starts_with(&format!("`{key}` cannot be set: ")), "{error}");
        }
    }

    #[test]
    fn what_is_typed_is_undone_at_once_and_other_changes_one_by_one() {
        let mut setup = SetupState { draft: json!({ "name": "" }), ..SetupState::default() };
        let start = Instant::now();
        let change = |setup: &mut SetupState, typed: Option<&str>, name: &str, ms: u64| {
            keep(setup, typed, start + Duration::from_millis(ms));
            put(&mut setup.draft, "name", json!(name)).unwrap();
        };
        change(&mut setup, Some("name"), "a", 0);
        change(&mut setup, Some("name"), "ab", 300);
        change(&mut setup, Some("name"), "abc", 600);
        change(&mut setup, None, "preset", 700);
        change(&mut setup, Some("name"), "x", 800);
        change(&mut setup, Some("name"), "xy", 9000);
        let mut seen = Vec::new();
        while undo(&mut setup) {
            seen.push(setup.draft["name"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, ["x", "preset", "abc", ""]);
        while redo(&mut setup) {}
        assert_eq!(setup.draft["name"], "xy");
        assert!(undo(&mut setup));
        change(&mut setup, None, "other", 10_000);
        assert!(!redo(&mut setup), "a new change ends what was undone");
    }

    #[test]
    fn a_hundred_changes_can_be_undone() {
        let mut setup = SetupState { draft: json!(0), ..SetupState::default() };
        for n in 1..=150 {
            keep(&mut setup, None, Instant::now());
            setup.draft = json!(n);
        }
        while undo(&mut setup) {}
        assert_eq!(setup.draft, json!(50));
        assert_eq!(setup.redo.len(), MOST);
    }
}
