//! Variables as a package's weights: in f16.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use candle_nn::VarMap;
use reinpath_model::package::PackageWriter;

use crate::error::Result;
use crate::init::sorted_vars;

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

/// Writes tensors as they are.
pub(crate) fn write_tensors(
    writer: &mut PackageWriter,
    name: &str,
    tensors: &HashMap<String, Tensor>,
) -> Result<()> {
    Ok(candle_core::safetensors::save(tensors, writer.path(name)?)?)
}
