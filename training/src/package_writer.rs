//! Variables as a package's weights: in f16.

use std::collections::HashMap;

use candle_core::{DType, Tensor, Var};
use candle_nn::VarMap;
use reinpath_model::package::PackageWriter;
use safetensors::tensor::{SafeTensorError, serialize_to_file};

use crate::config::LoraSettings;
use crate::error::{Error, Result};
use crate::init::sorted_vars;

/// What stands before the names of adapters (PEFT's layout) and of the projector's tensors (LLaVA's).
pub(crate) const ADAPTER_NAMES: &str = "base_model.";
pub(crate) const PROJECTOR_NAMES: &str = "model.mm_projector.";

/// PEFT's `adapter_config.json` of adapters on every linear layer of the language model but its head.
pub(crate) fn adapter_config(lora: &LoraSettings) -> String {
    let config = serde_json::json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": null,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    });
    format!("{config:#}\n")
}

/// Writes the variables whose names begin with `prefix`, without it, in f16.
pub(crate) fn write_vars(writer: &mut PackageWriter, name: &str, vars: &VarMap, prefix: &str) -> Result<()> {
    let tensors: HashMap<String, Tensor> = sorted_vars(vars)
        .into_iter()
        .filter_map(|(name, var)| {
            let name = name.strip_prefix(prefix)?.to_owned();
            Some(var.to_dtype(DType::F16).map(|t| (name, t)))
        })
        .collect::<candle_core::Result<_>>()?;
    write_tensors(writer, name, &tensors)
}

/// Writes the variables whose names begin with `prefix`, in f16, with `shown` in its place.
pub(crate) fn write_named(
    writer: &mut PackageWriter,
    name: &str,
    vars: &[(String, Var)],
    prefix: &str,
    shown: &str,
) -> Result<()> {
    let chosen = vars.iter().filter_map(|(name, var)| Some((name.strip_prefix(prefix)?, var)));
    let tensors: HashMap<String, Tensor> = chosen
        .map(|(name, var)| Ok((format!("{shown}{name}"), var.to_dtype(DType::F16)?)))
        .collect::<candle_core::Result<_>>()?;
    write_tensors(writer, name, &tensors)
}

/// Writes tensors as they are.
pub(crate) fn write_tensors(
    writer: &mut PackageWriter,
    name: &str,
    tensors: &HashMap<String, Tensor>,
) -> Result<()> {
    let path = writer.path(name)?;
    // As candle's `save`, which would not name the file that finds the disk full.
    serialize_to_file(tensors, None, &path).map_err(|error| match error {
        SafeTensorError::IoError(error) => Error::io(&path)(error),
        other => candle_core::Error::from(other).into(),
    })
}
