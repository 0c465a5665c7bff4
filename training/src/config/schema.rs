//! The settings of a run as a JSON schema, made from the types themselves: names, kinds, defaults, and their comments as
//! descriptions. The window makes its forms from it, so that no setting is described twice.

use serde_json::Value;

use super::RunConfig;

/// The schema (draft 2020-12) of [`RunConfig`]; settings stand in the order of the source.
pub fn schema() -> Value {
    schemars::schema_for!(RunConfig).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_described_by_its_own_comment_and_stands_where_the_source_has_it() {
        let schema = schema();
        let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names[..3], ["name", "description", "seed"]);
        let text = schema["$defs"]["GrpoConfig"]["properties"]["samples"].clone();
        assert_eq!(text["default"], 4);
        assert!(text["description"].as_str().unwrap().starts_with("Answers to each question"), "{text}");
    }
}
