//! In which settings runs differ, key by key.

use reinpath_training::config::RunConfig;
use serde_json::Value;

/// A group of so many settings, or fewer, is written out where another run lacks it.
const FEW: usize = 8;
/// Stands for a larger one.
const SET: &str = "set";

/// A setting in which runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As in `grpo.kl_weight`.
    pub key: String,
    /// Of each run, in their order; `None` where it has none.
    pub values: Vec<Option<String>>,
}

/// What a run has at a key.
#[derive(Clone, Copy, PartialEq)]
enum Place<'a> {
    /// It lacks the group that the key belongs to, which was said of the group.
    Beyond,
    Absent,
    Present(&'a Value),
}

/// The settings in which configurations differ, in the order of the settings. A group that some lack, such as a stage, is one
/// difference; what is in it is compared between those that have it.
pub fn differences(configs: &[&RunConfig]) -> Vec<Difference> {
    // A configuration is always JSON: its floats are finite or become null, and its keys are texts.
    let values: Vec<Value> =
        configs.iter().map(|config| serde_json::to_value(config).unwrap_or_default()).collect();
    let mut found = Vec::new();
    walk(String::new(), &values.iter().map(Place::Present).collect::<Vec<_>>(), &mut found);
    found
}

fn walk(key: String, places: &[Place<'_>], found: &mut Vec<Difference>) {
    let mut known = places.iter().filter(|place| **place != Place::Beyond);
    let Some(first) = known.next() else { return };
    if known.all(|place| place == first) {
        return;
    }
    let present = |place: &Place<'_>| matches!(place, Place::Present(Value::Object(_) | Value::Array(_)));
    let is_group = places.iter().all(|place| !matches!(place, Place::Present(_)) || present(place));
    if !is_group || are_plain_lists(places) {
        found.push(Difference { key, values: places.iter().map(|place| in_words(place, false)).collect() });
        return;
    }
    if places.contains(&Place::Absent) {
        let values = places.iter().map(|place| in_words(place, true)).collect();
        found.push(Difference { key: key.clone(), values });
    }
    for child in children(places) {
        let inner: Vec<Place<'_>> = places.iter().map(|place| below(place, &child)).collect();
        let key = if key.is_empty() { child } else { format!("{key}.{child}") };
        walk(key, &inner, found);
    }
}

/// Whether all that is there are lists without groups in them, which are read as one value.
fn are_plain_lists(places: &[Place<'_>]) -> bool {
    places.iter().all(|place| match place {
        Place::Present(Value::Array(list)) => list.iter().all(|value| !value.is_object()),
        Place::Present(_) => false,
        Place::Absent | Place::Beyond => true,
    })
}

/// The keys of groups, or the places of lists, in the order in which they first come.
fn children(places: &[Place<'_>]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for place in places {
        let own: Vec<String> = match place {
            Place::Present(Value::Object(group)) => group.keys().cloned().collect(),
            Place::Present(Value::Array(list)) => (0..list.len()).map(|at| at.to_string()).collect(),
            _ => Vec::new(),
        };
        for key in own {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

fn below<'a>(place: &Place<'a>, child: &str) -> Place<'a> {
    let inner = match *place {
        Place::Present(Value::Object(group)) => group.get(child),
        Place::Present(Value::Array(list)) => child.parse().ok().and_then(|at: usize| list.get(at)),
        _ => return Place::Beyond,
    };
    // An option that is not set is written as null, or not at all.
    inner.filter(|value| !value.is_null()).map_or(Place::Absent, Place::Present)
}

/// A value in words; of a large group only that it is there, where `is_group` says that its settings are compared one by one.
fn in_words(place: &Place<'_>, is_group: bool) -> Option<String> {
    match place {
        Place::Present(value) if is_group && leaves(value) > FEW => Some(SET.to_owned()),
        Place::Present(value) => Some(value_in_words(value)),
        Place::Absent | Place::Beyond => None,
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Object(group) => group.values().map(leaves).sum(),
        Value::Array(list) => list.iter().map(leaves).sum(),
        _ => 1,
    }
}

/// As in TOML, without quotation marks: `folder = rows, split = train`.
fn value_in_words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(value_in_words).collect::<Vec<_>>().join(", "),
        Value::Object(group) => {
            let pairs = group.iter().filter(|(_, value)| !value.is_null());
            let words = pairs.map(|(key, value)| format!("{key} = {}", value_in_words(value)));
            words.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH_GRPO: &str = r#"
        name = "a"
        seed = 1
        base = "b"
        [cold_start]
        data = [{ folder = "answers" }]
        optimisation = { learning_rate = 0.001 }
        [grpo]
        data = [{ folder = "questions" }]
        optimisation = {}
    "#;

    fn config(text: &str) -> RunConfig {
        toml::from_str(text).unwrap()
    }

    fn told(a: &str, b: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let found = differences(&[&config(a), &config(b)]);
        found.into_iter().map(|one| (one.key, one.values[0].clone(), one.values[1].clone())).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "the values it is compared with may be missing")]
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn equal_runs_and_a_run_alone_differ_in_nothing() {
        assert!(told(WITH_GRPO, WITH_GRPO).is_empty());
        assert!(differences(&[&config(WITH_GRPO)]).is_empty());
        assert!(differences(&[]).is_empty());
    }

    #[test]
    fn a_nested_setting_is_named_by_all_of_its_key() {
        let other = WITH_GRPO.replace("0.001", "0.002").replace("seed = 1", "seed = 7");
        let expected = [
            ("seed".to_owned(), some("1"), some("7")),
            ("cold_start.optimisation.learning_rate".to_owned(), some("0.001"), some("0.002")),
        ];
        assert_eq!(told(WITH_GRPO, &other), expected);
    }

    #[test]
    fn a_stage_that_a_run_lacks_is_one_difference() {
        let without = &WITH_GRPO[..WITH_GRPO.find("[grpo]").unwrap()];
        assert_eq!(told(WITH_GRPO, without), [("grpo".to_owned(), some("set"), None)]);
        let third = WITH_GRPO.replace("optimisation = {}", "optimisation = {}\nsamples = 8");
        let all = differences(&[&config(WITH_GRPO), &config(without), &config(&third)]);
        let keys: Vec<&str> = all.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["grpo", "grpo.samples"]);
        assert_eq!(all[1].values, [some("4"), None, some("8")]);
    }

    #[test]
    fn a_small_group_that_a_run_lacks_is_written_out() {
        let with = format!("{WITH_GRPO}reward = {{ overlong = {{ cache = 16, weight = 0.5 }} }}\n");
        let expected = ("grpo.reward.overlong".to_owned(), None, some("cache = 16, weight = 0.5"));
        assert_eq!(told(WITH_GRPO, &with), [expected]);
    }

    #[test]
    fn data_sets_are_compared_one_by_one_and_plain_lists_whole() {
        let more = WITH_GRPO.replace(
            r#"data = [{ folder = "answers" }]"#,
            r#"data = [{ folder = "other", kinds = ["choice", "open"] }, { folder = "second" }]"#,
        );
        let found = told(WITH_GRPO, &more);
        let expected = [
            ("cold_start.data.0.folder".to_owned(), some("answers"), some("other")),
            ("cold_start.data.0.kinds".to_owned(), some("none"), some("choice, open")),
        ];
        assert_eq!(found[..2], expected);
        let (key, first, second) = &found[2];
        assert_eq!((key.as_str(), first), ("cold_start.data.1", &None));
        assert!(second.as_ref().unwrap().starts_with("folder = second, split = train"), "{second:?}");
        assert_eq!(found.len(), 3);
    }
}
