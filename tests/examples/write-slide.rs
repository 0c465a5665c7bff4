//! Writes a large slide for measurements: `cargo run --release -p reinpath-tests --example write-slide -- OUT [KIND]`.
//!
//! KIND: `jpeg` (the usual one), `jp2k`, or `generic` (a pyramid of tiled TIFF with 9 levels instead of an SVS file).

use std::path::PathBuf;

use anyhow::bail;
use reinpath_tests::slide_writer::{SlideSpec, write};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next().map(PathBuf::from) else { bail!("say where to write the slide") };
    let spec = match arguments.next().as_deref() {
        None | Some("jpeg") => SlideSpec::large_jpeg(),
        Some("jp2k") => SlideSpec::large_jp2k(),
        Some("generic") => SlideSpec { aperio: false, levels: 9, is_big: true, ..SlideSpec::large_jpeg() },
        Some(other) => bail!("“{other}” is no kind of slide: jpeg, jp2k or generic"),
    };
    write(&path, &spec)
}
