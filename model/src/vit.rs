//! The vision transformer of both encoders, with timm's tensor names (`vision_transformer.py`, timm 1.0.15).
//!
//! Pre-norm blocks, exact GELU, a class token, learned positions, LayerScale where the encoder has it (UNI). The result
//! keeps the grid's order; CONCH's unordered caption queries are not used. Any input size of whole cells is read, its
//! positions resized as timm does with `dynamic_img_size`.

mod positions;

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::layers::{LayerNorm, Linear};
use crate::ops::{self, RowCount};
use crate::package::EncoderSpec;

/// timm's epsilon for vision transformers.
const EPS: f64 = 1e-6;

/// A vision transformer.
#[derive(Clone, Debug)]
pub struct Vit {
    /// (width, 3 · patch · patch): the patch embedding's convolution as a product.
    patch_weight: Tensor,
    patch_bias: Tensor,
    /// (1, 1, width)
    cls_token: Tensor,
    /// (1, 1 + cells, width), of a grid of `trained` rows and columns.
    pos_embed: Tensor,
    trained: usize,
    blocks: Vec<Block>,
    norm: LayerNorm,
    patch_size: usize,
    width: usize,
}

impl Vit {
    /// Reads the tensors that `spec` implies; `vb` stands at the encoder's prefix.
    pub fn load(vb: &VarBuilder<'_>, spec: &EncoderSpec) -> Result<Self> {
        let (width, patch) = (spec.width, spec.patch_size as usize);
        let trained = (spec.trained_size() / spec.patch_size) as usize;
        let small = Init::Randn { mean: 0.0, stdev: 0.02 };
        let embed = vb.pp("patch_embed.proj");
        let fan_in = (3 * patch * patch) as f64;
        let patch_init = Init::Randn { mean: 0.0, stdev: fan_in.powf(-0.5) };
        let patch_weight = embed.get_with_hints((width, 3, patch, patch), "weight", patch_init)?;
        Ok(Self {
            patch_weight: patch_weight.reshape((width, 3 * patch * patch))?,
            patch_bias: embed.get_with_hints(width, "bias", Init::Const(0.0))?,
            cls_token: vb.get_with_hints((1, 1, width), "cls_token", small)?,
            pos_embed: vb.get_with_hints((1, 1 + trained * trained, width), "pos_embed", small)?,
            trained,
            blocks: (0..spec.layers)
                .map(|i| Block::load(&vb.pp(format!("blocks.{i}")), spec))
                .collect::<Result<_>>()?,
            norm: LayerNorm::load(&vb.pp("norm"), width, EPS)?,
            patch_size: patch,
            width,
        })
    }

    /// Puts LayerScale into the weights beside it: for a model that is trained no further, so that it costs nothing.
    pub fn fold_scales(&mut self) -> Result<()> {
        for block in &mut self.blocks {
            for (layer, scale) in [(&mut block.proj, &mut block.scale1), (&mut block.fc2, &mut block.scale2)]
            {
                if let Some(scale) = scale.take() {
                    layer.fold(&scale)?;
                }
            }
        }
        Ok(())
    }

    /// Lays the weights out for products: for a model that is trained no further, after [`Self::fold_scales`].
    pub fn pack(&mut self) -> Result<()> {
        for Block { qkv, proj, fc1, fc2, .. } in &mut self.blocks {
            [qkv, proj, fc1, fc2].into_iter().try_for_each(|layer| layer.pack(RowCount::Many))?;
        }
        Ok(())
    }

    /// Resizes the positions once and for all to the size that the encoder is given.
    pub fn fit_positions(&mut self, image_size: u32) -> Result<()> {
        let side = image_size as usize / self.patch_size;
        self.pos_embed = positions::resized(&self.pos_embed, (self.trained, self.trained), (side, side))?;
        self.trained = side;
        Ok(())
    }

    /// `pixels` (batch, 3, height, width), normalised, to (batch, 1 + cells, width): the class token, then the grid row
    /// by row, after the final norm.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.forward_watched(pixels, &mut || Ok(()))
    }

    /// The same; `watch` is called time and again, and an error from it ends the pass.
    pub fn forward_watched(&self, pixels: &Tensor, watch: &mut dyn FnMut() -> Result<()>) -> Result<Tensor> {
        // Images have nothing to do with each other: each thread takes its own through the whole model.
        ops::in_shares(pixels, watch, |pixels, watch| self.forward_share(pixels, None, watch))
    }

    /// The same of some cells alone, since training may leave others out (PatchDropout, Liu et al. 2023): `chosen` are
    /// places in the grid, counted row by row from 0, the same for every image. To (batch, 1 + chosen, width).
    pub fn forward_cells(&self, pixels: &Tensor, chosen: &[u32]) -> Result<Tensor> {
        self.forward_share(pixels, Some(chosen), &mut || Ok(()))
    }

    fn forward_share(
        &self,
        pixels: &Tensor,
        chosen: Option<&[u32]>,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tensor> {
        let (batch, _, height, width) = pixels.dims4()?;
        let patch = self.patch_size;
        let (rows, columns) = (height / patch, width / patch);
        if (rows * patch, columns * patch) != (height, width) || rows * columns == 0 {
            candle_core::bail!("an encoder with cells of {patch} px got {width} × {height} px");
        }
        let mut cells = pixels
            .reshape(vec![batch, 3, rows, patch, columns, patch])?
            .permute(vec![0, 2, 4, 1, 3, 5])? // (batch, row, column, channel, y, x)
            .reshape((batch, rows * columns, 3 * patch * patch))?;
        let mut positions =
            positions::resized(&self.pos_embed, (self.trained, self.trained), (rows, columns))?;
        if let Some(chosen) = chosen {
            cells = cells.index_select(&Tensor::new(chosen, pixels.device())?, 1)?;
            // The class token stands before the cells.
            let places: Vec<u32> = std::iter::once(0).chain(chosen.iter().map(|cell| cell + 1)).collect();
            positions = positions.index_select(&Tensor::new(places.as_slice(), pixels.device())?, 1)?;
        }
        let cells = ops::linear(&cells, &self.patch_weight, Some(&self.patch_bias))?;
        let cls = self.cls_token.broadcast_as((batch, 1, self.width))?;
        let mut x = Tensor::cat(&[&cls, &cells], 1)?.broadcast_add(&positions)?;
        for block in &self.blocks {
            watch()?;
            x = block.forward(&x)?;
        }
        self.norm.forward(&x)
    }
}

#[derive(Clone, Debug)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    scale1: Option<Tensor>,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    scale2: Option<Tensor>,
    heads: usize,
}

impl Block {
    fn load(vb: &VarBuilder<'_>, spec: &EncoderSpec) -> Result<Self> {
        let width = spec.width;
        // Published encoders were trained from 1e-5; four layers trained for minutes learn faster from 1.
        let scale = |name: &str| {
            spec.layer_scale.then(|| vb.pp(name).get_with_hints(width, "gamma", Init::Const(1.0))).transpose()
        };
        Ok(Self {
            norm1: LayerNorm::load(&vb.pp("norm1"), width, EPS)?,
            qkv: Linear::load_with_bias(&vb.pp("attn.qkv"), width, 3 * width)?,
            proj: Linear::load_with_bias(&vb.pp("attn.proj"), width, width)?,
            scale1: scale("ls1")?,
            norm2: LayerNorm::load(&vb.pp("norm2"), width, EPS)?,
            fc1: Linear::load_with_bias(&vb.pp("mlp.fc1"), width, spec.mlp_width)?,
            fc2: Linear::load_with_bias(&vb.pp("mlp.fc2"), spec.mlp_width, width)?,
            scale2: scale("ls2")?,
            heads: spec.heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        let qkv = qkv.reshape((batch, tokens, 3, self.heads, width / self.heads))?;
        let x = self.proj.forward_onto(x, &ops::self_attention(&qkv)?, self.scale1.as_ref())?;
        let y = self.fc1.forward_gelu(&self.norm2.forward(&x)?)?;
        self.fc2.forward_onto(&x, &y, self.scale2.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::VarMap;

    use super::*;

    fn encoder() -> Result<(Vit, VarMap, Tensor)> {
        let spec = EncoderSpec { image_size: 32, patch_size: 8, ..EncoderSpec::for_tests() };
        let vars = VarMap::new();
        let vit = Vit::load(&VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu), &spec)?;
        let pixels = Tensor::randn(0.0f32, 1.0, (2, 3, 32, 32), &Device::Cpu)?;
        Ok((vit, vars, pixels))
    }

    #[test]
    fn all_cells_are_the_whole_image_and_fewer_are_not() -> Result<()> {
        let (vit, _, pixels) = encoder()?;
        let whole = vit.forward(&pixels)?;
        let all: Vec<u32> = (0..16).collect();
        let off = (vit.forward_cells(&pixels, &all)? - &whole)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off < 1e-5, "{off}");
        let some = vit.forward_cells(&pixels, &[3, 0, 9])?;
        assert_eq!(some.dims(), [2, 4, whole.dim(2)?]);
        assert!(vit.forward_cells(&pixels, &[16]).is_err(), "there are 16 cells");
        Ok(())
    }

    #[test]
    fn what_is_left_out_changes_nothing_and_gets_no_gradient() -> Result<()> {
        let (vit, vars, pixels) = encoder()?;
        let cells = [5u32, 6];
        // Cells 5 and 6 lie in the second row of four, from the second column on.
        let mut other = pixels.zeros_like()?.flatten_all()?.to_vec1::<f32>()?;
        let values = pixels.flatten_all()?.to_vec1::<f32>()?;
        for (at, value) in values.iter().enumerate() {
            let (y, x) = (at / 32 % 32, at % 32);
            other[at] = if (8..16).contains(&y) && (8..24).contains(&x) { *value } else { value + 1.0 };
        }
        let other = Tensor::from_vec(other, (2, 3, 32, 32), &Device::Cpu)?;
        let read = vit.forward_cells(&pixels, &cells)?;
        let off = (vit.forward_cells(&other, &cells)? - &read)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off < 1e-5, "{off}");
        let gradients = read.sqr()?.sum_all()?.backward()?;
        let positions = vars.data().lock().unwrap()["pos_embed"].clone();
        let gradient = gradients.get(&positions).expect("positions learn").abs()?.sum(2)?.to_vec2::<f32>()?;
        let learns: Vec<usize> = (0..17).filter(|place| gradient[0][*place] > 0.0).collect();
        assert_eq!(learns, [0, 6, 7], "the class token and the two cells");
        Ok(())
    }
}
