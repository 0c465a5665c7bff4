//! The language model in a Qwen2.5-VL's `config.json`, as transformers 4 writes it (its fields beside `vision_config`) and
//! as transformers 5 does (in `text_config`).

use serde::Deserialize;
use serde_json::Value;

use super::LlamaConfig;

/// What a whole model's file says of its kind, and that of a language model alone.
const KINDS: [&str; 2] = ["qwen2_5_vl", "qwen2_5_vl_text"];

/// The fields of the language model. Where one is missing, transformers' own value stands for it
/// (`configuration_qwen2_5_vl.py`), but for sizes.
#[derive(Deserialize)]
struct Text {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    #[serde(default = "eps")]
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    /// Where transformers 5 has put base and sections.
    rope_parameters: Option<Rope>,
    #[serde(default = "context")]
    max_position_embeddings: usize,
    #[serde(default)]
    use_sliding_window: bool,
    hidden_act: Option<String>,
}

/// How positions turn.
#[derive(Deserialize)]
struct Rope {
    #[serde(rename = "rope_type")]
    kind: Option<String>,
    /// What older files call it; some have both.
    #[serde(rename = "type")]
    older_kind: Option<String>,
    #[serde(rename = "rope_theta")]
    theta: Option<f64>,
    #[serde(rename = "mrope_section")]
    sections: Option<[usize; 3]>,
}

fn eps() -> f64 {
    1e-5
}

fn context() -> usize {
    32_768
}

impl LlamaConfig {
    /// The configuration of the language model of a Qwen2.5-VL.
    ///
    /// # Errors
    /// A sentence's end where the file is of another family, scales its positions in another way, or uses what is not
    /// there (a sliding window).
    pub fn of_qwen(file: &Value) -> Result<Self, String> {
        match file.get("model_type").and_then(Value::as_str) {
            Some(kind) if KINDS.contains(&kind) => {}
            Some(other) => {
                return Err(format!("this is a model of the kind '{other}', not a Qwen2.5-VL"));
            }
            None => return Err("it does not tell of which kind the model is (model_type)".to_owned()),
        }
        let text = file.get("text_config").filter(|text| text.is_object()).unwrap_or(file);
        let is_tied = |part: &Value| part.get("tie_word_embeddings").and_then(Value::as_bool) == Some(true);
        let config =
            Text::deserialize(text).map_err(|e| e.to_string())?.config(is_tied(file) || is_tied(text))?;
        config.check()?;
        Ok(config)
    }
}

impl Text {
    fn config(self, is_tied: bool) -> Result<LlamaConfig, String> {
        if self.use_sliding_window {
            return Err("a Qwen2.5-VL with a sliding window is not supported".to_owned());
        }
        if let Some(other) = self.hidden_act.as_deref().filter(|&act| act != "silu") {
            return Err(format!("a Qwen2.5-VL with the activation '{other}' is not supported"));
        }
        let ropes = [self.rope_scaling.as_ref(), self.rope_parameters.as_ref()];
        let ropes = || ropes.into_iter().flatten();
        ropes().try_for_each(Rope::check)?;
        let sections = ropes().find_map(|rope| rope.sections).ok_or(
            "it does not tell which planes of rotation turn with time, row and column (mrope_section)",
        )?;
        let heads = self.num_attention_heads;
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if heads > 0 && self.hidden_size.is_multiple_of(heads) => self.hidden_size / heads,
            None => return Err(format!("{} channels cannot be shared by {heads} heads", self.hidden_size)),
        };
        Ok(LlamaConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim,
            vocab_size: self.vocab_size,
            rms_norm_eps: self.rms_norm_eps,
            rope_theta: self.rope_theta.or(ropes().find_map(|rope| rope.theta)).unwrap_or(1_000_000.0),
            rope_scaling: None,
            rope_factors: None,
            max_position_embeddings: self.max_position_embeddings,
            tie_word_embeddings: is_tied,
            attention_bias: true,
            mrope_section: Some(sections),
        })
    }
}

impl Rope {
    /// Only the rotation of the published models is there.
    fn check(&self) -> Result<(), String> {
        let kinds = [self.kind.as_deref(), self.older_kind.as_deref()];
        match kinds.into_iter().flatten().find(|kind| !["default", "mrope"].contains(kind)) {
            None => Ok(()),
            Some(other) => Err(format!(
                "the language model scales its positions in the way '{other}', which is not supported"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As the files on the Hub have it, but for what is not read.
    fn published(sizes: [usize; 6], is_tied: bool) -> Value {
        let [hidden, inner, layers, heads, kv_heads, vocabulary] = sizes;
        json!({
            "model_type": "qwen2_5_vl", "hidden_act": "silu", "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "vocab_size": vocabulary, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
            "max_position_embeddings": 128_000, "max_window_layers": 70, "sliding_window": 32_768,
            "use_sliding_window": false, "tie_word_embeddings": is_tied,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "vision_config": {"depth": 32, "hidden_size": 1280, "tie_word_embeddings": true}
        })
    }

    fn three() -> Value {
        published([2048, 11_008, 36, 16, 2, 151_936], true)
    }

    /// The same as transformers 5 writes it.
    fn nested(mut flat: Value) -> Value {
        let fields = flat.as_object_mut().expect("an object");
        let vision = fields.remove("vision_config");
        let tied = fields.remove("tie_word_embeddings");
        let sections = fields.remove("rope_scaling").expect("it is there")["mrope_section"].take();
        let theta = fields.remove("rope_theta");
        fields.insert("model_type".to_owned(), json!("qwen2_5_vl_text"));
        fields.insert(
            "rope_parameters".to_owned(),
            json!({"rope_type": "default", "type": "default", "rope_theta": theta, "mrope_section": sections}),
        );
        json!({
            "model_type": "qwen2_5_vl", "tie_word_embeddings": tied, "text_config": flat, "vision_config": vision
        })
    }

    #[test]
    fn both_forms_of_both_published_sizes_say_the_same() {
        let seven = published([3584, 18_944, 28, 28, 4, 152_064], false);
        for (flat, is_tied, kv_heads) in [(three(), true, 2), (seven, false, 4)] {
            let config = LlamaConfig::of_qwen(&flat).unwrap();
            assert_eq!(LlamaConfig::of_qwen(&nested(flat)).unwrap(), config);
            assert_eq!((config.head_dim, config.mrope_section), (128, Some([16, 24, 24])));
            assert_eq!((config.attention_bias, config.tie_word_embeddings), (true, is_tied));
            assert_eq!((config.num_key_value_heads, config.rope_theta), (kv_heads, 1_000_000.0));
            assert_eq!((config.rms_norm_eps, config.max_position_embeddings), (1e-6, 128_000));
        }
    }

    #[test]
    fn the_head_is_tied_where_either_part_says_so() {
        let mut file = nested(published([2048, 11_008, 36, 16, 2, 151_936], false));
        assert!(!LlamaConfig::of_qwen(&file).unwrap().tie_word_embeddings);
        file["text_config"]["tie_word_embeddings"] = json!(true);
        assert!(LlamaConfig::of_qwen(&file).unwrap().tie_word_embeddings);
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        for (key, value, reason) in [
            ("model_type", json!("llava"), "a model of the kind 'llava', not a Qwen2.5-VL"),
            ("model_type", json!(null), "model_type"),
            ("use_sliding_window", json!(true), "sliding window"),
            ("hidden_act", json!("gelu"), "'gelu'"),
            ("rope_scaling", json!({"type": "yarn", "mrope_section": [16, 24, 24]}), "'yarn'"),
            ("rope_scaling", json!({"type": "mrope"}), "mrope_section"),
            ("rope_scaling", json!({"type": "mrope", "mrope_section": [16, 24, 23]}), "[16, 24, 23]"),
            ("rope_scaling", json!({"type": "mrope", "mrope_section": [16, 24]}), "length 2"),
            ("num_attention_heads", json!(0), "0 heads"),
            ("num_key_value_heads", json!(3), "for keys"),
            ("hidden_size", json!("2048"), "2048"),
        ] {
            let mut file = three();
            file[key] = value;
            let error = LlamaConfig::of_qwen(&file).unwrap_err();
            assert!(error.contains(reason), "{key}: {error}");
        }
    }
}
