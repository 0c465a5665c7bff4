//! A Llama, or the language model of a Qwen2.5-VL, of random weights at any size, as a GGUF file: to measure speed and
//! memory with where nobody has the published weights. It says nothing; other programs read it too.

use std::path::Path;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Error;
use super::gguf::stored_name;
use super::quantise::{Recipe, compute, full, names, write};
use crate::llama::LlamaConfig;

/// Values that are quantised, of each kind; all matrices are made of their blocks.
const POOL: usize = 1 << 16;
/// Blocks that are taken from there together.
const RUN: usize = 32;
/// Largest weight, of even distribution: the deviation of a Llama's first weights, 0.02, times the root of three.
const LARGEST: f32 = 0.034_641;

/// Writes the language model of `config` with random weights. The same seed makes the same file.
pub fn write_seeded(config: &LlamaConfig, recipe: Recipe, seed: u64, path: &Path) -> Result<(), Error> {
    let mut weights = Seeded { rng: ChaCha8Rng::seed_from_u64(seed), pools: Vec::new() };
    let tensors = names(config).into_iter().map(|(name, shape)| {
        let made = match shape.as_slice() {
            &[rows, columns] => weights.matrix(recipe.kind(&name, columns, config), rows, columns),
            _ if name.rsplit('.').next() == Some("bias") => weights.vector(&shape).and_then(|bias| full(&bias)),
            _ => Tensor::ones(shape.as_slice(), DType::F32, &Device::Cpu).and_then(|ones| full(&ones)),
        };
        made.map(|made| (stored_name(&name), made)).map_err(|e| compute(&e))
    });
    write(tensors.collect::<Result<_, Error>>()?, config, recipe, path)
}

struct Seeded {
    rng: ChaCha8Rng,
    /// Bytes of quantised blocks, by their kind.
    pools: Vec<(GgmlDType, Vec<u8>)>,
}

impl Seeded {
    fn vector(&mut self, shape: &[usize]) -> candle_core::Result<Tensor> {
        let values = self.values(shape.iter().product());
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.rng.random_range(-LARGEST..LARGEST)).collect()
    }

    fn matrix(&mut self, kind: GgmlDType, rows: usize, columns: usize) -> candle_core::Result<QTensor> {
        if !self.pools.iter().any(|(of, _)| *of == kind) {
            let values = Tensor::from_vec(self.values(POOL), (1, POOL), &Device::Cpu)?;
            self.pools.push((kind, QTensor::quantize(&values, kind)?.data()?.into_owned()));
        }
        let pool = self.pools.iter().find(|(of, _)| *of == kind).map(|(_, bytes)| bytes.as_slice());
        let pool = pool.expect("it was made above");
        let (size, runs) = (kind.type_size(), POOL / kind.block_size() / RUN);
        let length = rows * columns / kind.block_size() * size;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let start = self.rng.random_range(0..runs) * RUN * size;
            bytes.extend_from_slice(&pool[start..][..(RUN * size).min(length - bytes.len())]);
        }
        QTensor::new(QStorage::from_data(bytes.into(), &Device::Cpu, kind)?, (rows, columns))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::llama::{Llama, Positions};
    use crate::weights::gguf::Gguf;

    #[test]
    fn the_same_seed_writes_the_same_model_and_it_computes() {
        let config = LlamaConfig {
            hidden_size: 256,
            intermediate_size: 512,
            num_hidden_layers: 2,
            num_attention_heads: 8,
            num_key_value_heads: 2,
            head_dim: 32,
            vocab_size: 300,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rope_factors: None,
            attention_bias: false,
            mrope_section: None,
            max_position_embeddings: 64,
            tie_word_embeddings: true,
        };
        let folder = tempfile::tempdir().unwrap();
        for recipe in Recipe::ALL {
            let files = [3, 3, 4].map(|seed| {
                let path = folder.path().join("model.gguf");
                write_seeded(&config, *recipe, seed, &path).unwrap();
                std::fs::read(path).unwrap()
            });
            assert!(files[0] == files[1] && files[0] != files[2]);
            let gguf = Arc::new(Gguf::open(&folder.path().join("model.gguf")).unwrap());
            let read = gguf.config().unwrap();
            assert_eq!(LlamaConfig { rms_norm_eps: config.rms_norm_eps, ..read.clone() }, config);
            let (llama, size) =
                gguf.build(&Device::Cpu, &read, |tensors| Llama::load(tensors, &read)).unwrap();
            assert!(size.memory <= files[2].len() as u64);
            let logits = |ids: &[u32]| {
                let x = llama.embed(&Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?)?;
                llama
                    .logits(&llama.forward(&x, &Positions::after(0, 1, ids.len()), None)?)?
                    .flatten_all()?
                    .to_vec1()
            };
            let row: Vec<f32> = logits(&[1, 2, 299]).unwrap();
            assert!(row.iter().all(|value| value.is_finite()) && row[0] != row[1]);
        }
    }
}
