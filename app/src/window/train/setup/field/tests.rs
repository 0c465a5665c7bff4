//! The tree of fields beside the configuration itself: the same settings, the same values, the same paths.

use std::collections::BTreeSet;

use reinpath_training::config::{
    Aggregation, AlignmentConfig, CheckpointRule, ColdStartConfig, Compute, DataSource, EvaluationConfig,
    GamingChecks, GrpoConfig, KlEstimator, LoraSettings, OnTrouble, Optimisation, Overlong, RatioLevel,
    RewardConfig, RunConfig, Scaling, TroubleRule,
};
use reinpath_training::rows::{RowKind, Split};
use serde_json::json;

use super::*;

fn optimisation() -> Optimisation {
    serde_json::from_value(json!({})).unwrap()
}

fn data() -> Vec<DataSource> {
    vec![DataSource {
        folder: "rows".into(),
        split: Split::Train,
        kinds: vec![RowKind::Caption],
        subtasks: vec!["necrosis".to_owned()],
        limit: 0,
        repeat: 1,
        without_stages: true,
    }]
}

/// Every setting there is. Literals, so that a setting that is added does not compile until it is here too.
fn full() -> RunConfig {
    RunConfig {
        name: "full".to_owned(),
        description: String::new(),
        seed: 1,
        base: "base".into(),
        lora: LoraSettings { rank: 8, alpha: 16.0 },
        compute: Compute {
            device: "cpu".to_owned(),
            precision: "f32".to_owned(),
            recompute: false,
            workers: 1,
        },
        alignment: Some(AlignmentConfig {
            data: data(),
            optimisation: optimisation(),
            questions: Some("questions.txt".into()),
            adapters: false,
            adapter_rate: 1.0,
            looks_rate: 1.0,
        }),
        cold_start: Some(ColdStartConfig {
            data: data(),
            optimisation: optimisation(),
            select: Some(1),
            projector_rate: 1.0,
            looks_rate: 1.0,
            conclusion_weight: 1.0,
            emphasis_weight: 1.0,
        }),
        grpo: Some(grpo()),
        evaluation: EvaluationConfig { data: data(), every: 0, max_tokens: 0 },
        checkpoints: CheckpointRule { every: 1, keep_last: 1, keep_best: true },
        trouble: TroubleRule {
            not_a_number: OnTrouble::Stop,
            image: OnTrouble::Stop,
            no_reward: OnTrouble::Warn,
            cut_off: OnTrouble::Warn,
            patience: 5,
        },
    }
}

fn grpo() -> GrpoConfig {
    GrpoConfig {
        data: data(),
        optimisation: optimisation(),
        samples: 4,
        temperature: 1.0,
        top_p: 1.0,
        max_tokens: 64,
        updates: 1,
        ratio: RatioLevel::Token,
        aggregation: Aggregation::Dapo,
        clip_low: 0.2,
        clip_high: 0.2,
        kl: KlEstimator::K1,
        kl_weight: 0.0,
        scaling: Scaling::None,
        spread_floor: 0.0,
        resample: 0,
        mask_cut_off: false,
        projector_rate: 1.0,
        looks_rate: 1.0,
        reward: RewardConfig {
            format: 0.5,
            accuracy: 2.0,
            semantic: 1.0,
            text_encoder: Some("encoder".into()),
            rescale: false,
            overlong: Some(Overlong { cache: 8, weight: 1.0 }),
            gaming: GamingChecks { minimum_words: 0, supported: false, repetition: 0.0, repetition_words: 3 },
            external: Some("score".to_owned()),
            external_weight: 1.0,
            external_timeout: 30.0,
        },
    }
}

/// Keys with dots of everything that holds no further settings; an element of a list has the key `0`.
fn keys_of_value(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                keys_of_value(value, &joined(path, key), keys);
            }
        }
        Value::Array(list) if !list.is_empty() => keys_of_value(&list[0], &joined(path, "0"), keys),
        _ => {
            keys.insert(path.to_owned());
        }
    }
}

fn keys_of_field(field: &Field, path: &str, keys: &mut BTreeSet<String>) {
    match &field.inner().kind {
        FieldKind::Group(fields) => {
            for field in fields {
                keys_of_field(field, &joined(path, &field.key), keys);
            }
        }
        FieldKind::List(element) => keys_of_field(element, &joined(path, "0"), keys),
        _ => {
            keys.insert(path.to_owned());
        }
    }
}

/// A value that the form could make of every field, other than what it starts with.
fn sample(field: &Field) -> Value {
    match &field.kind {
        FieldKind::Bool => Value::Bool(true),
        FieldKind::Integer { .. } => Value::from(3),
        FieldKind::Number => Value::from(0.5),
        FieldKind::Text => Value::from("words"),
        FieldKind::Path { .. } => Value::from("somewhere"),
        FieldKind::Choice(choices) => Value::from(choices.last().unwrap().0.clone()),
        FieldKind::Optional(inner) => sample(inner),
        FieldKind::Group(fields) => {
            Value::Object(fields.iter().map(|field| (field.key.clone(), sample(field))).collect())
        }
        FieldKind::List(element) => Value::Array(vec![sample(element)]),
    }
}

#[test]
fn every_setting_of_the_toml_is_in_the_window_and_the_reverse() {
    let toml: Value = serde_json::to_value(toml::Table::try_from(full()).unwrap()).unwrap();
    let (mut of_toml, mut of_window) = (BTreeSet::new(), BTreeSet::new());
    keys_of_value(&toml, "", &mut of_toml);
    let root = root().unwrap();
    keys_of_field(root, "", &mut of_window);
    assert_eq!(of_window, of_toml);
    assert!(of_window.contains("grpo.reward.gaming.repetition_words"), "{of_window:?}");

    let all = sample(root);
    assert_eq!(root.wrong(&all, ""), None);
    let read: RunConfig = serde_json::from_value(all.clone()).unwrap();
    let mut of_sample = BTreeSet::new();
    keys_of_value(&serde_json::to_value(read).unwrap(), "", &mut of_sample);
    assert_eq!(of_sample, of_toml, "what the form writes is what is read");
}

#[test]
fn a_setting_is_a_path_where_the_configuration_makes_it_an_absolute_one() {
    let (mut changed, mut paths) = (BTreeSet::new(), BTreeSet::new());
    let before = serde_json::to_value(full()).unwrap();
    let after = serde_json::to_value(full().absolute().unwrap()).unwrap();
    let mut keys = BTreeSet::new();
    keys_of_value(&before, "", &mut keys);
    for key in keys {
        let pointer = format!("/{}", key.replace('.', "/"));
        if before.pointer(&pointer) != after.pointer(&pointer) {
            changed.insert(key.clone());
        }
        if find(&key).is_some_and(|field| matches!(field.inner().kind, FieldKind::Path { .. })) {
            paths.insert(key);
        }
    }
    assert_eq!(paths, changed);
    assert!(paths.contains("alignment.questions"), "{paths:?}");
}

#[test]
fn a_field_says_what_the_source_says_and_its_default() {
    let samples = find("grpo.samples").unwrap();
    assert_eq!(samples.title, "Samples");
    assert_eq!(find("grpo.kl_weight").unwrap().title, "KL weight");
    assert_eq!(find("cold_start").unwrap().title, "Cold start");
    assert_eq!(samples.help_with_default(), "Answers to each question, N in the paper. Default: 4.");
    let ratio = find("grpo.ratio").unwrap();
    assert!(matches!(&ratio.kind, FieldKind::Choice(choices) if choices.len() == 3));
    let help = ratio.help_with_default();
    assert!(help.contains("sequence_mean: The whole answer, the geometric mean"), "{help}");
    assert!(help.ends_with("Default: sequence."), "{help}");
    let image = find("trouble.image").unwrap();
    assert!(matches!(&image.kind, FieldKind::Choice(choices) if choices.len() == 2));
    assert!(find("grpo.data.0.kinds.0").is_some() && find("grpo.data.x").is_none());
    assert!(find("grpo.sample").is_none());
}

#[test]
fn what_a_ticked_stage_begins_with_lacks_nothing_but_words() {
    let root = root().unwrap();
    for stage in ["alignment", "cold_start", "grpo"] {
        let field = find(stage).unwrap();
        assert!(matches!(field.kind, FieldKind::Optional(_)), "{stage}");
        let value = field.inner().start();
        assert_eq!(field.wrong(&value, stage), None);
        let empty = field.empty(&value, stage).unwrap();
        assert!(empty.contains(&format!("`{stage}.data.0.folder`")), "{empty}");
    }
    let start = root.start();
    assert_eq!(root.wrong(&start, ""), None);
    assert!(root.empty(&start, "").unwrap().contains("`name`"));
}

#[test]
fn a_wrong_value_is_named_by_its_setting() {
    let root = root().unwrap();
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(full()).unwrap();
        assert_eq!(root.wrong(&value, ""), None);
        change(&mut value);
        root.wrong(&value, "").unwrap()
    };
    let said = wrong(&|value| value["grpo"]["max_tokens"] = json!(-1));
    assert_eq!(said, "`grpo.max_tokens` must be a whole number that is not negative, not -1.");
    let said = wrong(&|value| value["grpo"]["data"][0]["limit"] = json!("all"));
    assert!(said.starts_with("`grpo.data.0.limit` must be"), "{said}");
    let said = wrong(&|value| value["trouble"]["image"] = json!("panic"));
    assert!(said.contains("one of stop, warn"), "{said}");
    let said = wrong(&|value| value["grpo"]["reward"]["gamign"] = json!({}));
    assert_eq!(said, "There is no setting `grpo.reward.gamign`.");
    let said = wrong(&|value| value["grpo"] = json!({ "data": [] }));
    assert_eq!(said, "`grpo.optimisation` is missing.");
    let said = wrong(&|value| value["base"] = json!(7));
    assert!(said.starts_with("`base` must be a path"), "{said}");
    assert!(root.wrong(&json!(3), "").is_some());
}

#[test]
fn a_value_is_changed_where_it_is_not_the_default() {
    let rate = find("cold_start.projector_rate").unwrap();
    assert!(
        !rate.is_changed(None) && !rate.is_changed(Some(&json!(1))) && !rate.is_changed(Some(&json!(1.0)))
    );
    assert!(rate.is_changed(Some(&json!(0.1))));
    let questions = find("alignment.questions").unwrap();
    assert!(!questions.is_changed(Some(&Value::Null)) && questions.is_changed(Some(&json!("q.txt"))));
    assert!(!find("name").unwrap().is_changed(Some(&json!("a"))), "there is no default to differ from");
}

#[test]
fn a_schema_that_no_form_is_known_for_is_refused_with_the_settings_name() {
    for kind in [
        json!({ "type": "null" }),
        json!({ "type": ["string", "integer"] }),
        json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }),
        json!({ "oneOf": [{ "type": "object", "properties": {} }] }),
        json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        json!({ "$ref": "#/$defs/Gone" }),
        json!(true),
    ] {
        let schema = json!({ "type": "object", "properties": { "strange": kind } });
        let error = reader::root(&schema).unwrap_err();
        assert!(error.contains("`strange`"), "{error}");
    }
    let endless = json!({ "$defs": { "A": { "type": "array", "items": { "$ref": "#/$defs/A" } } }, "$ref": "#/$defs/A" });
    assert!(reader::root(&endless).unwrap_err().contains("no end"));
}
