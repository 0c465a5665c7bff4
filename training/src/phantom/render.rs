//! Drawing phantom tissue: from a truth to an H&E-like field with its mask.
//!
//! The steps: a plan translates the truth into measures and is calibrated so that what comes out meets its levels
//! (`plan`); outlines and nuclei are functions of position (`shape`, `layout`, `epithelium`); dye is laid down per pixel
//! (`canvas`, `nuclei`) and exposed with a stain that says nothing about the truth (`stain`). A field is a plane of
//! one district; the demo slide (`world`) is a plane of many, drawn by the same code. This imitates the look of
//! tissue far enough for a demonstration; it is no model of tissue.

mod blur;
mod canvas;
mod epithelium;
mod fibre;
mod layout;
mod noise;
mod nuclei;
mod plan;
mod shape;
mod stain;
mod world;

use image::RgbImage;

pub use self::world::{District, World};

use self::canvas::{Canvas, Ground};
use self::noise::Dice;
use self::plan::{Plan, Window};
use self::stain::Stain;
use crate::phantom::{Quality, Truth};

/// A field as drawn.
#[derive(Clone, Debug)]
pub struct Field {
    /// Square, at 0.5 µm per pixel.
    pub rgb: RgbImage,
    /// Row-major [`Component`] of each pixel.
    pub mask: Vec<u8>,
}

macro_rules! components {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What a pixel of a field shows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Component { $($(#[$doc])* $name),+ }

        impl Component {
            /// Every component; the position is the class id in a mask.
            pub const ALL: &[Self] = &[$(Self::$name),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
        }
    };
}

components! {
    /// Background without tissue.
    Glass,
    /// Fibrous tissue, and whatever lies between cells of a lymphoid aggregate or fat.
    Stroma,
    /// Cytoplasm of benign glands.
    BenignEpithelium,
    /// Cytoplasm of tumour cells.
    TumourEpithelium,
    Lumen,
    Necrosis,
    Mucin,
    /// The empty inside of fat cells.
    Fat,
    EpithelialNucleus,
    StromalNucleus,
    Lymphocyte,
    Mitosis,
}

/// A plane of one district.
struct Single {
    plan: Plan,
}

impl Ground for Single {
    fn district_at(&self, _: f32, _: f32) -> Option<usize> {
        (self.plan.truth.quality != Quality::Blank).then_some(0)
    }

    fn plan(&self, _: usize) -> &Plan {
        &self.plan
    }
}

/// Draws a square field of `side_px` pixels of 0.5 µm; the same arguments give the same pixels.
///
/// At the standard side of 224 px the counts of nuclei, lymphocytes and mitoses and the shares of stroma and
/// necrosis meet the truth's levels; other sides have the same densities.
pub fn draw(truth: &Truth, side_px: u32, seed: u64) -> Field {
    let mut dice = Dice::at(seed, 0, 0, 0);
    let stain = Stain::draw(dice.next_u64());
    let corner = |dice: &mut Dice| (dice.next_u64() % 2048) as i32 * shape::STEP;
    let window = Window { x: corner(&mut dice), y: corner(&mut dice), w: side_px, h: side_px };
    let sigma = if truth.quality == Quality::Blurred { dice.between(4.5, 6.0) } else { stain.sigma };
    let plan = planned(*truth, window, &mut dice);
    let ground = Single { plan };
    let margin = (3.0 * sigma).ceil().max(1.0) as i32;
    let wide = window.grown(margin);
    let nuclei = match truth.quality {
        Quality::Blank => layout::specks(window, &mut dice),
        _ => layout::place_single(&ground.plan, wide.grown(layout::REACH)),
    };
    let canvas = Canvas::paint(&ground, &nuclei, wide);
    let haematoxylin = blur::blurred(&canvas.haematoxylin, wide.w as usize, margin as usize, sigma);
    let eosin = blur::blurred(&canvas.eosin, wide.w as usize, margin as usize, sigma);
    let rgb = RgbImage::from_raw(
        side_px,
        side_px,
        stain.expose(&haematoxylin, &eosin, window, truth.quality == Quality::Sharp),
    )
    .expect("the stain exposes every pixel of the window");
    let mask = canvas
        .mask
        .chunks_exact(wide.w as usize)
        .skip(margin as usize)
        .take(side_px as usize)
        .flat_map(|row| &row[margin as usize..margin as usize + side_px as usize])
        .copied()
        .collect();
    Field { rgb, mask }
}

/// A plan calibrated for the window, drawn anew until what comes out agrees with the truth.
fn planned(truth: Truth, window: Window, dice: &mut Dice) -> Plan {
    const ATTEMPTS: usize = 16;
    let mut plan = Plan::new(truth, dice.next_u64());
    if truth.quality == Quality::Blank {
        return plan;
    }
    for _ in 0..ATTEMPTS {
        plan.calibrate(window);
        let standard = (window.area() - plan::FIELD_AREA).abs() < 1.0;
        if !standard || plan.accepts(&layout::census(&layout::place_single(&plan, window), window)) {
            break;
        }
        plan = Plan::new(truth, dice.next_u64());
    }
    plan
}

#[cfg(test)]
mod tests;
