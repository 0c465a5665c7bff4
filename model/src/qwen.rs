//! The vision tower of Qwen2.5-VL, from pixels to image tokens (`modeling_qwen2_5_vl.py`, transformers at 00b676f8f048).
//!
//! Pre-norm blocks with rotary positions of rows and columns, whose attention sees a window of 112 × 112 pixels, in a few
//! blocks the whole image; then squares of four cells become one token each. Its language model is `llama.rs`.
//! Nothing is trained here, and there are no videos.

mod block;
mod merger;
mod windows;

use candle_core::{Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use self::block::Block;
use self::merger::Merger;
pub use self::windows::Windows;
use crate::ops;
use crate::package::{Grid, VisionSpec};

/// A vision tower with its merger.
#[derive(Clone, Debug)]
pub struct Tower {
    /// (width, 3 · frames · patch · patch): the convolution as a product.
    patch_weight: Tensor,
    blocks: Vec<Block>,
    merger: Merger,
    spec: VisionSpec,
}

impl Tower {
    /// Reads the tensors that `spec` implies; `vb` stands at `visual`.
    pub fn load(vb: &VarBuilder<'_>, spec: &VisionSpec) -> Result<Self> {
        Self::load_watched(vb, spec, &mut |_| Ok(()))
    }

    /// The same; `watch` gets the share that is done before each block, and an error from it ends the loading.
    pub fn load_watched(
        vb: &VarBuilder<'_>,
        spec: &VisionSpec,
        watch: &mut dyn FnMut(f32) -> Result<()>,
    ) -> Result<Self> {
        let (width, patch, frames) =
            (spec.width, spec.patch_size as usize, spec.temporal_patch_size as usize);
        let small = Init::Randn { mean: 0.0, stdev: 0.02 };
        let embed = vb.pp("patch_embed.proj");
        let patch_weight = embed.get_with_hints((width, 3, frames, patch, patch), "weight", small)?;
        Ok(Self {
            patch_weight: patch_weight.reshape((width, 3 * frames * patch * patch))?,
            blocks: (0..spec.layers)
                .map(|i| {
                    watch(i as f32 / spec.layers as f32)?;
                    Block::load(&vb.pp(format!("blocks.{i}")), spec)
                })
                .collect::<Result<_>>()?,
            merger: Merger::load(&vb.pp("merger"), spec)?,
            spec: spec.clone(),
        })
    }

    /// Its sizes, and those of what it is given.
    pub fn spec(&self) -> &VisionSpec {
        &self.spec
    }

    /// Lays the weights out for products: for a model that is trained no further.
    pub fn pack(&mut self) -> Result<()> {
        self.blocks.iter_mut().try_for_each(Block::pack)?;
        self.merger.pack()
    }

    /// Image tokens (tokens, out_width), row by row, of one image's cells (cells, 3 · frames · patch · patch), which come
    /// in the processor's order: token by token, the four cells of each together. `watch` is called between blocks, and an
    /// error from it ends the pass.
    pub fn forward(
        &self,
        cells: &Tensor,
        grid: Grid,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        let x = self.after(self.blocks.len(), cells, grid, watch)?;
        watch()?;
        let tokens = ops::as_a_worker(|| self.merger.forward(&x))?;
        let windows = Windows::of(grid, &self.spec);
        tokens.index_select(&Tensor::new(windows.inverse.as_slice(), tokens.device())?, 0)
    }

    /// What the cells are after so many blocks, (cells, width), in the order of [`Windows`]; of what
    /// [`Self::forward`] is given.
    pub fn after(
        &self,
        blocks: usize,
        cells: &Tensor,
        grid: Grid,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        let spec = &self.spec;
        let unit = (spec.merge_size as usize).pow(2);
        let (count, tokens) = (cells.dim(0)?, grid.tokens());
        if tokens == 0 || count != tokens * unit {
            bail!("an image of {} × {} tokens got {count} cells", grid.rows, grid.cols);
        }
        let windows = Windows::of(grid, spec);
        let rotation = windows.rotation(grid, spec);
        let apart: Vec<usize> = windows.tokens.iter().map(|tokens| tokens * unit).collect();
        let whole = [count];
        let order = Tensor::new(windows.order.as_slice(), cells.device())?;
        let cells = cells.to_dtype(self.patch_weight.dtype())?;
        let x = ops::linear(&cells, &self.patch_weight, None)?;
        // The cells of a token move together.
        let x = x.reshape((tokens, unit * spec.width))?.index_select(&order, 0)?;
        let mut x = x.reshape((count, spec.width))?;
        for (i, block) in self.blocks.iter().take(blocks).enumerate() {
            watch()?;
            let lengths = if spec.full_attention.contains(&i) { &whole[..] } else { &apart[..] };
            x = ops::as_a_worker(|| block.forward(&x, &rotation, lengths))?;
        }
        Ok(x)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, HashMap};

    use candle_core::{DType, Device};
    use candle_nn::VarMap;

    use super::*;

    /// Values for every tensor of a tower, no two tensors alike, which f16 holds as they are; by names below `visual.`.
    pub(crate) fn tensors(spec: &VisionSpec) -> Result<BTreeMap<String, Tensor>> {
        let vars = VarMap::new();
        Tower::load(&VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu), spec)?;
        let vars = vars.data().lock().expect("nobody else has it");
        let shapes: BTreeMap<String, Vec<usize>> =
            vars.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        let of = |(seed, (name, shape)): (usize, (String, Vec<usize>))| -> Result<(String, Tensor)> {
            let tensor = sample(&shape, seed as f64)?;
            // Norms are about one.
            let tensor =
                if name.contains("norm") || name.contains("ln_q") { (tensor + 1.0)? } else { tensor };
            Ok((name, tensor.to_dtype(DType::F16)?.to_dtype(DType::F32)?))
        };
        shapes.into_iter().enumerate().map(of).collect()
    }

    /// Values between -0.5 and 0.5 that are the same every time.
    pub(crate) fn sample(shape: &[usize], seed: f64) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let value = |i: usize| ((i as f64 * 12.9898 + seed * 78.233).sin() * 43758.547).fract() as f32 * 0.5;
        Tensor::from_vec((0..count).map(value).collect::<Vec<_>>(), shape, &Device::Cpu)
    }

    fn tower(spec: &VisionSpec) -> Result<Tower> {
        let tensors: HashMap<String, Tensor> = tensors(spec)?.into_iter().collect();
        Tower::load(&VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), spec)
    }

    fn cells(grid: Grid) -> Result<Tensor> {
        sample(&[grid.tokens() * 4, 1176], 0.5)
    }

    fn off(a: &Tensor, b: &Tensor) -> Result<f32> {
        (a - b)?.abs()?.max_all()?.to_scalar::<f32>()
    }

    /// Tokens that are not the same in both.
    fn changed(a: &Tensor, b: &Tensor) -> Result<Vec<usize>> {
        let (a, b) = (a.to_vec2::<f32>()?, b.to_vec2::<f32>()?);
        Ok((0..a.len()).filter(|&i| a[i] != b[i]).collect())
    }

    #[test]
    fn a_cell_changes_its_window_until_a_block_sees_the_whole_image() -> Result<()> {
        let grid = Grid { rows: 6, cols: 7 };
        let cells = cells(grid)?;
        // A cell of the token in row 5 and column 2, whose window has rows 4 and 5 and columns 0 to 3.
        let cell = (5 * 7 + 2) * 4 + 1;
        let mut values = cells.to_vec2::<f32>()?;
        values[cell].iter_mut().for_each(|value| *value += 1.0);
        let other = Tensor::new(values, &Device::Cpu)?;
        let spec = VisionSpec { layers: 1, full_attention: Vec::new(), ..VisionSpec::for_tests() };
        let tower = tower(&spec)?;
        let see = |tower: &Tower, cells: &Tensor| tower.forward(cells, grid, &mut || Ok(()));
        let (seen, seen_other) = (see(&tower, &cells)?, see(&tower, &other)?);
        assert_eq!(seen.dims(), [42, 12]);
        assert_eq!(changed(&seen, &seen_other)?, [28, 29, 30, 31, 35, 36, 37, 38]);
        let whole = Tower { spec: VisionSpec { full_attention: vec![0], ..spec }, ..tower };
        let (seen, seen_other) = (see(&whole, &cells)?, see(&whole, &other)?);
        assert_eq!(changed(&seen, &seen_other)?, (0..42).collect::<Vec<usize>>());
        Ok(())
    }

    #[test]
    fn cells_in_another_place_are_seen_otherwise_and_packed_weights_give_the_same() -> Result<()> {
        let mut tower = tower(&VisionSpec::for_tests())?;
        let (wide, tall) = (Grid { rows: 3, cols: 5 }, Grid { rows: 5, cols: 3 });
        let cells = cells(wide)?;
        let seen = tower.forward(&cells, wide, &mut || Ok(()))?;
        assert!(off(&seen, &tower.forward(&cells, tall, &mut || Ok(()))?)? > 1e-3);
        tower.pack()?;
        let packed = tower.forward(&cells, wide, &mut || Ok(()))?;
        let size = seen.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off(&seen, &packed)? < 5e-5 * size, "{}", off(&seen, &packed)?);
        Ok(())
    }

    #[test]
    fn a_pass_can_be_watched_and_ended_and_wrong_grids_are_refused() -> Result<()> {
        let spec = VisionSpec::for_tests();
        let tower = tower(&spec)?;
        let enough = || candle_core::Error::Msg("enough".to_owned());
        let grid = Grid::square(2);
        let cells = cells(grid)?;
        let mut looks = 0;
        tower.forward(&cells, grid, &mut || {
            looks += 1;
            Ok(())
        })?;
        assert_eq!(looks, spec.layers + 1);
        let ended = tower.forward(&cells, grid, &mut || Err(enough())).expect_err("it is ended");
        assert!(ended.to_string().contains("enough"), "{ended}");
        for grid in [Grid::square(3), Grid { rows: 0, cols: 4 }] {
            assert!(tower.forward(&cells, grid, &mut || Ok(())).is_err());
        }
        assert_eq!(tower.after(0, &cells, grid, &mut || Ok(()))?.dims(), [16, 16]);
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let mut watch = |done: f32| if done < 0.4 { Ok(()) } else { Err(enough()) };
        let ended = Tower::load_watched(&vb, &spec, &mut watch);
        assert!(ended.is_err());
        Ok(())
    }
}
