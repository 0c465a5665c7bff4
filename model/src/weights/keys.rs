//! The two ways in which the tensors of a Qwen2.5-VL are named in published files, as one: `visual.…` and `model.layers.…`
//! (transformers before 4.52, and the files on the Hub), and `model.visual.…` and `model.language_model.layers.…` since
//! then. Adapters and files of the language model alone follow either.

use crate::package::VisionSpec;

/// The decoder's own name of a tensor, as a Llama has it (`model.layers.0.…`, `lm_head.weight`); `None` for the tower's.
pub(crate) fn decoder(name: &str) -> Option<String> {
    if tower(name).is_some() {
        return None;
    }
    let inner = ["model.language_model.", "language_model.model.", "language_model."];
    let rest = inner.iter().find_map(|prefix| name.strip_prefix(*prefix));
    Some(match rest {
        Some(rest) if rest.starts_with("lm_head.") => rest.to_owned(),
        Some(rest) => format!("model.{rest}"),
        None => name.to_owned(),
    })
}

/// The vision tower's own name of a tensor, without `visual.`; `None` for the decoder's.
pub(crate) fn tower(name: &str) -> Option<String> {
    VisionSpec::own_name(name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_have_one_name() {
        for name in ["model.layers.3.mlp.up_proj.weight", "model.language_model.layers.3.mlp.up_proj.weight"]
        {
            assert_eq!(decoder(name).as_deref(), Some("model.layers.3.mlp.up_proj.weight"));
            assert_eq!(tower(name), None);
        }
        for name in ["visual.merger.ln_q.weight", "model.visual.merger.ln_q.weight"] {
            assert_eq!((decoder(name), tower(name).as_deref()), (None, Some("merger.ln_q.weight")));
        }
        assert_eq!(decoder("lm_head.weight").as_deref(), Some("lm_head.weight"));
        assert_eq!(decoder("model.norm.weight").as_deref(), Some("model.norm.weight"));
    }
}
