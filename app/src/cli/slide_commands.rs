//! `reinpath slide` and `reinpath tile`: what a slide file is, and a region of it as a PNG.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use image::RgbImage;

use super::Failure;
use crate::slide::{MppOrigin, Region, SlideHandle, SlideInfo};

/// Arguments of `reinpath slide`.
#[derive(Debug, Args)]
pub(super) struct SlideArguments {
    slide: PathBuf,
    /// One JSON object, {"type": "slide", "data": {…}}
    #[arg(long)]
    json: bool,
    /// Write this associated image (label, macro, thumbnail …) as a PNG
    #[arg(long, value_name = "NAME", requires = "output")]
    associated: Option<String>,
    /// Where to write the associated image
    #[arg(short, long, value_name = "OUT.png", requires = "associated")]
    output: Option<PathBuf>,
}

/// Arguments of `reinpath tile`.
#[derive(Debug, Args)]
pub(super) struct TileArguments {
    slide: PathBuf,
    /// Level-0 pixels; may reach past the slide
    #[arg(long, value_name = "X,Y,W,H", allow_hyphen_values = true)]
    region: RegionArgument,
    /// Wanted microns per pixel (default: level-0 pixels as they are)
    #[arg(long, value_name = "M")]
    mpp: Option<f64>,
    /// Where to write the picture
    #[arg(short, long, value_name = "OUT.png")]
    output: PathBuf,
}

/// `X,Y,W,H` in level-0 pixels, of which X and Y may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegionArgument(pub Region);

impl FromStr for RegionArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let &[x, y, w, h] = parts.as_slice() else { return Err("a region is X,Y,W,H".to_string()) };
        let origin = |text: &str| {
            text.parse::<i64>().map_err(|_not_a_number| format!("“{text}” is no whole number of pixels"))
        };
        let size = |text: &str| match text.parse::<u32>() {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(format!("“{text}” is no width or height in pixels")),
        };
        Ok(Self(Region { x: origin(x)?, y: origin(y)?, w: size(w)?, h: size(h)? }))
    }
}

pub(super) fn slide(arguments: &SlideArguments) -> Result<(), Failure> {
    let handle = SlideHandle::open(&arguments.slide)?;
    if let (Some(name), Some(output)) = (&arguments.associated, &arguments.output) {
        write_png(&handle.read_associated(name)?.image, output)?;
    }
    let mut text = if arguments.json {
        let data = serde_json::to_value(handle.info())
            .context("the slide's properties cannot be written as JSON")?;
        serde_json::json!({"type": "slide", "data": data}).to_string()
    } else {
        in_words(handle.info())
    };
    text.push('\n');
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(())
}

pub(super) fn tile(arguments: &TileArguments) -> Result<(), Failure> {
    if arguments.mpp.is_some_and(|mpp| !mpp.is_finite() || mpp <= 0.0) {
        return Err(Failure::Usage("--mpp must be more than 0".to_string()));
    }
    let handle = SlideHandle::open(&arguments.slide)?;
    let pixels = handle.read_at_mpp(arguments.region.0, arguments.mpp)?;
    write_png(&pixels.image, &arguments.output)?;
    let scale = match pixels.mpp {
        Some(mpp) => format!("{:.4} µm per pixel", mpp.mean()),
        None => "level-0 pixels, the slide's scale is unknown".to_string(),
    };
    let (width, height) = pixels.image.dimensions();
    writeln!(io::stderr().lock(), "{width} × {height} pixels from level {}, {scale}", pixels.level)
        .context("cannot write to stderr")?;
    Ok(())
}

fn write_png(image: &RgbImage, path: &Path) -> anyhow::Result<()> {
    image
        .save_with_format(path, image::ImageFormat::Png)
        .map_err(|error| anyhow::anyhow!("Cannot write the picture, {error}: {}", path.display()))
}

fn in_words(info: &SlideInfo) -> String {
    let mut lines =
        vec![format!("file        {}", info.path.display()), format!("format      {}", info.format)];
    for (index, level) in info.levels.iter().enumerate() {
        lines.push(format!(
            "level {index:<5} {} × {} pixels, downsample {:.4}",
            level.width, level.height, level.downsample
        ));
    }
    let origin = match info.mpp_origin {
        MppOrigin::Trusted => "trusted",
        MppOrigin::Inferred => "inferred",
        MppOrigin::Missing => "missing",
    };
    lines.push(match info.mpp {
        Some(mpp) => format!("µm/pixel    {} × {} ({origin}: {})", mpp.x, mpp.y, info.mpp_source),
        None => format!("µm/pixel    {origin} ({})", info.mpp_source),
    });
    lines.push(match info.objective_power {
        Some(power) => format!("objective   {power}×"),
        None => "objective   unknown".to_string(),
    });
    let [red, green, blue] = info.background;
    lines.push(format!("background  #{red:02X}{green:02X}{blue:02X}"));
    lines.push(format!("ICC profile {}", if info.icc_profile { "yes" } else { "no" }));
    lines.push(format!("hash        {}", info.hash));
    lines.extend(
        info.associated
            .iter()
            .map(|image| format!("associated  {}, {} × {} pixels", image.name, image.width, image.height)),
    );
    lines.extend(info.notes.iter().map(|note| format!("note        {note}")));
    lines.extend(
        info.properties.iter().map(|(name, value)| format!("{name} = {}", value.replace(['\r', '\n'], " "))),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_four_numbers() {
        let region = "-5, 6,7,8".parse::<RegionArgument>().unwrap().0;
        assert_eq!(region, Region { x: -5, y: 6, w: 7, h: 8 });
        for wrong in ["", "1,2,3", "1,2,3,4,5", "1,2,0,4", "1,2,-3,4", "a,2,3,4", "1.5,2,3,4"] {
            assert!(wrong.parse::<RegionArgument>().is_err(), "{wrong}");
        }
    }
}
