//! Phantom fields written to a folder: images, truth, and rows with captions and questions.

use std::io::Write as _;
use std::path::Path;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::phantom::{Truth, balanced_set, caption, draw};
use crate::rows::{Row, write_rows};

/// Side of a field in pixels at 0.5 µm per pixel.
const SIDE_PX: u32 = 224;

/// Writes `count` fields, each with a caption and a question (equal numbers of the three kinds), as `img/*.png`,
/// `rows.jsonl`, and `truth.jsonl` with what was drawn.
pub fn write(count: usize, seed: u64, folder: &Path) -> Result<()> {
    let images = folder.join("img");
    std::fs::create_dir_all(&images).map_err(Error::io(&images))?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Vec::new();
    let mut fields: Vec<(String, Truth, u64)> = Vec::new();
    for (i, (truth, item)) in balanced_set(&mut rng, count).into_iter().enumerate() {
        let image = format!("img/{i:06}.png");
        rows.push(Row::from_caption(format!("caption-{i:06}"), &image, caption(&truth, &mut rng)));
        rows.push(Row::from_item(format!("question-{i:06}"), &image, &item));
        fields.push((image, truth, rng.random()));
    }
    fields.par_iter().try_for_each(|(image, truth, seed)| {
        let path = folder.join(image);
        draw(truth, SIDE_PX, *seed).rgb.save(&path).map_err(|e| Error::io(&path)(std::io::Error::other(e)))
    })?;
    let path = folder.join("rows.jsonl");
    write_rows(&path, &rows).map_err(|e| Error::io(&path)(std::io::Error::other(e)))?;
    let path = folder.join("truth.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(Error::io(&path))?);
    for (image, truth, _) in &fields {
        let line = serde_json::json!({"image": image, "truth": truth});
        writeln!(file, "{line}").map_err(Error::io(&path))?;
    }
    file.flush().map_err(Error::io(&path))
}
