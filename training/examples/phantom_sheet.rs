//! Draws a contact sheet of phantom fields: a row per pattern, a column per variant, a last row of blurred and
//! blank fields; for looking at by eye.
//!
//! `cargo run --release -p reinpath-training --no-default-features --example phantom_sheet -- OUT.png [half] [SEED]`

use std::io::Write as _;
use std::time::Instant;

use anyhow::Context as _;
use image::{RgbImage, imageops};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use reinpath_training::phantom::{Pattern, Quality, Truth, draw};

const COLUMNS: u32 = 8;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("name the PNG to write")?;
    let half = arguments.next().is_some_and(|a| a == "half");
    let seed: u64 = arguments.next().map_or(Ok(1), |s| s.parse())?;
    let side = if half { 112 } else { 224 };
    let mut sheet = RgbImage::new(COLUMNS * (side + 4), (Pattern::ALL.len() as u32 + 1) * (side + 4));
    let mut out = std::io::stdout().lock();
    let mut spent = 0.0;
    for row in 0..=Pattern::ALL.len() {
        for column in 0..COLUMNS {
            let seed = seed * 1000 + row as u64 * 20 + u64::from(column);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let truth = match Pattern::ALL.get(row) {
                Some(&pattern) => Truth::sample_with(pattern, Quality::Sharp, &mut rng),
                None if column < 6 => {
                    Truth::sample_with(Pattern::ALL[column as usize], Quality::Blurred, &mut rng)
                }
                None => Truth::sample_with(Pattern::FibrousStroma, Quality::Blank, &mut rng),
            };
            let begin = Instant::now();
            let field = draw(&truth, 224, seed);
            spent += begin.elapsed().as_secs_f64();
            writeln!(out, "{row},{column}: {truth:?}")?;
            let small = if half {
                imageops::resize(&field.rgb, 112, 112, imageops::FilterType::Triangle)
            } else {
                field.rgb
            };
            imageops::replace(
                &mut sheet,
                &small,
                i64::from(column * (side + 4)),
                (row as u32 * (side + 4)).into(),
            );
        }
    }
    writeln!(
        out,
        "{:.2} ms a field",
        1000.0 * spent / ((Pattern::ALL.len() + 1) as f64 * f64::from(COLUMNS))
    )?;
    sheet.save(&path).with_context(|| format!("cannot write {path}"))
}
