//! The language model in a Qwen2.5-VL's `config.json`, as transformers 4 writes it (its fields beside `vision_config`) and
//! as transformers 5 does (in `text_config`).

use serde_json::Value;

use super::LlamaConfig;

impl LlamaConfig {
    /// The configuration of the language model of a Qwen2.5-VL.
    ///
    /// # Errors
    /// A sentence's end where the file is of another family, scales its positions in another way, or uses what is not
    /// there (a sliding window).
    pub fn of_qwen(file: &Value) -> Result<Self, String> {
        let _ = file;
        todo!("share B")
    }
}
