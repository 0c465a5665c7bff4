//! One open slide of either kind, inside the child: OpenSlide's or a plain image.

use std::fs::File;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::direct::read_exact_at;
use super::openslide::{OpenSlideReader, Refusal};
use super::plain::PlainReader;
use super::{
    Error, Jpeg2000Tile, Level, Pixels, Region, Request, SlideInfo, TILE_PX, TileId, dicom, hash, identify,
    resample, signs,
};

/// Largest picture that one request may ask for or cause to be read, in pixels.
const MOST_PIXELS: u64 = 120_000_000;
/// The largest colour profile that is passed on.
const MOST_PROFILE_BYTES: usize = 16 << 20;
/// Rows are read in bands of about this many pixels, so that OpenSlide's 4-byte pixels never need much memory at once.
const BAND_PIXELS: u64 = 8_000_000;

/// An open slide; threads may read from it at the same time.
pub(super) struct Source {
    reader: Reader,
    /// For tiles that are decoded by themselves.
    file: File,
    info: SlideInfo,
}

enum Reader {
    OpenSlide(OpenSlideReader),
    Plain(PlainReader),
}

/// A request that is being answered.
struct Reading<'a> {
    request: &'a Request,
    /// Told after each band of rows.
    alive: &'a dyn Fn(),
}

impl Source {
    /// Opens the slide at `path`; everything in its info is known but the hash. `alive` is called while that takes long.
    pub(super) fn open(path: &Path, alive: &(dyn Fn() + Sync)) -> Result<Self, Error> {
        let file_error =
            |error: std::io::Error| Error::File { reason: file_reason(&error), path: path.to_path_buf() };
        let not_a_slide = |what: String| Error::NotASlide { what: one_line(&what), path: path.to_path_buf() };
        let metadata = std::fs::metadata(path).map_err(file_error)?;
        if metadata.is_dir() {
            return Err(not_a_slide("a folder, not a slide file".to_string()));
        }
        if !metadata.is_file() {
            return Err(not_a_slide("no regular file".to_string()));
        }
        let kind = identify::identify(path).map_err(file_error)?;
        let file = File::open(path).map_err(file_error)?;
        match OpenSlideReader::open(path) {
            Ok((reader, info)) => return Ok(Self { reader: Reader::OpenSlide(reader), file, info }),
            Err(Refusal::Failed { format, reason }) => {
                return Err(not_a_slide(format!(
                    "{format} that cannot be opened ({})",
                    without_path(&reason, path)
                )));
            }
            Err(Refusal::NotRecognised) => {}
        }
        let kind = kind.map_err(not_a_slide)?;
        let decoded = signs::while_busy(alive, || PlainReader::open(path, kind)).map_err(file_error)?;
        let (reader, info) = decoded.map_err(not_a_slide)?;
        Ok(Self { reader: Reader::Plain(reader), file, info })
    }

    pub(super) fn info(&self) -> &SlideInfo {
        &self.info
    }

    pub(super) fn set_hash(&mut self, hash: String) {
        self.info.hash = hash;
    }

    /// The files whose contents make up the slide.
    pub(super) fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        let path = &self.info.path;
        let series = dicom::header(path).map(|header| header.series);
        hash::files_of_slide(path, self.info.vendor.as_deref(), series.as_deref())
    }

    /// Answers one request for pixels; `alive` is called now and then while that takes long.
    pub(super) fn read(&self, request: &Request, alive: &dyn Fn()) -> Result<Pixels, Error> {
        let reading = Reading { request, alive };
        match request {
            Request::Tile(tile) => self.tile(*tile, &reading),
            Request::Region { level, x, y, w, h } => {
                let image = self.region(*level, (*x, *y), (*w, *h), &reading)?;
                Ok(Pixels { image, level: *level, mpp: self.mpp_of(*level) })
            }
            Request::Jpeg2000 { tile, level, region } => self.tile_of_file(tile, *level, *region, &reading),
            Request::AtMpp { region, mpp } => self.at_mpp(*region, *mpp, &reading),
            Request::Associated { name } => self.associated(name, &reading),
            Request::IccProfile => Err(self.bad_request(&reading, "a colour profile has no pixels")),
        }
    }

    /// The slide's colour profile as it stands in its file.
    pub(super) fn icc_profile(&self) -> Result<Option<Vec<u8>>, Error> {
        let reading = Reading { request: &Request::IccProfile, alive: &|| () };
        let profile = match &self.reader {
            Reader::OpenSlide(reader) => {
                reader.icc_profile().map_err(|reason| self.failed(&reading, &reason))?
            }
            Reader::Plain(reader) => reader.icc_profile().map(<[u8]>::to_vec),
        };
        if profile.as_ref().is_some_and(|profile| profile.len() > MOST_PROFILE_BYTES) {
            return Err(self.failed(&reading, "it is larger than any profile is"));
        }
        Ok(profile)
    }

    fn tile(&self, tile: TileId, reading: &Reading<'_>) -> Result<Pixels, Error> {
        let found = self.level(tile.level, reading)?;
        let (left, top) =
            (u64::from(tile.column) * u64::from(TILE_PX), u64::from(tile.row) * u64::from(TILE_PX));
        if left >= u64::from(found.width) || top >= u64::from(found.height) {
            return Err(self.bad_request(reading, "the level has no such tile"));
        }
        let size = (TILE_PX.min(found.width - left as u32), TILE_PX.min(found.height - top as u32));
        let origin =
            ((left as f64 * found.downsample).round() as i64, (top as f64 * found.downsample).round() as i64);
        let image = self.region(tile.level, origin, size, reading)?;
        Ok(Pixels { image, level: tile.level, mpp: self.mpp_of(tile.level) })
    }

    /// The tile, cut to the region's size; the region, where the tile cannot be read or is not understood.
    fn tile_of_file(
        &self,
        tile: &Jpeg2000Tile,
        level: u32,
        Region { x, y, w, h }: Region,
        reading: &Reading<'_>,
    ) -> Result<Pixels, Error> {
        let mut bytes = vec![0; tile.length as usize];
        let decoded = read_exact_at(&self.file, tile.offset, &mut bytes)
            .map_err(|error| error.to_string())
            .and_then(|()| tile.decode(&bytes));
        let image = match decoded {
            Ok(whole) if (w, h) == whole.dimensions() => whole,
            Ok(whole) if w <= tile.width && h <= tile.height => {
                image::imageops::crop_imm(&whole, 0, 0, w, h).to_image()
            }
            _ => self.region(level, (x, y), (w, h), reading)?,
        };
        Ok(Pixels { image, level, mpp: self.mpp_of(level) })
    }

    fn at_mpp(&self, region: Region, mpp: Option<f64>, reading: &Reading<'_>) -> Result<Pixels, Error> {
        if region.w == 0 || region.h == 0 {
            return Err(self.bad_request(reading, "it asks for no pixels"));
        }
        let plan = resample::plan(&self.info.levels, self.info.mpp, region, mpp);
        if u64::from(plan.width) * u64::from(plan.height) > MOST_PIXELS {
            return Err(self.bad_request(reading, "it asks for more pixels than can be held in memory"));
        }
        let image = self.region(plan.level, (plan.x, plan.y), (plan.w, plan.h), reading)?;
        let image = resample::resize(image, plan.crop, plan.width, plan.height)
            .map_err(|reason| self.failed(reading, &reason))?;
        Ok(Pixels { image, level: plan.level, mpp: plan.mpp })
    }

    fn associated(&self, name: &str, reading: &Reading<'_>) -> Result<Pixels, Error> {
        let path = || self.info.path.clone();
        let names = || self.info.associated.iter().map(|image| image.name.as_str()).collect::<Vec<_>>();
        let reader = match &self.reader {
            Reader::OpenSlide(reader) if names().contains(&name) => reader,
            _ => {
                let known = if names().is_empty() {
                    ", the slide has none".to_string()
                } else {
                    format!(", only {}", names().join(", "))
                };
                return Err(Error::NoAssociatedImage { name: name.to_string(), known, path: path() });
            }
        };
        let image = reader.read_associated(name).map_err(|reason| self.failed(reading, &reason))?;
        Ok(Pixels { image, level: 0, mpp: None })
    }

    /// Reads in bands and checks level and size, for both kinds of reader.
    fn region(
        &self,
        level: u32,
        origin: (i64, i64),
        size: (u32, u32),
        reading: &Reading<'_>,
    ) -> Result<RgbImage, Error> {
        let found = self.level(level, reading)?;
        let ((x, y), (w, h)) = (origin, size);
        if w == 0 || h == 0 {
            return Err(self.bad_request(reading, "it asks for no pixels"));
        }
        if u64::from(w) * u64::from(h) > MOST_PIXELS {
            return Err(self.bad_request(reading, "it asks for more pixels than can be held in memory"));
        }
        let reader = match &self.reader {
            Reader::OpenSlide(reader) => reader,
            Reader::Plain(reader) => return Ok(reader.read_region(level, x, y, w, h)),
        };
        let band = (BAND_PIXELS / u64::from(w)).clamp(1, u64::from(h)) as u32;
        let mut rows = Vec::with_capacity(w as usize * h as usize * 3);
        for top in (0..h).step_by(band as usize) {
            let band_y = y.saturating_add((f64::from(top) * found.downsample).round() as i64);
            let image = reader
                .read_region(level, x, band_y, w, band.min(h - top))
                .map_err(|reason| self.failed(reading, &reason))?;
            rows.extend_from_slice(image.as_raw());
            (reading.alive)();
        }
        RgbImage::from_raw(w, h, rows).ok_or_else(|| self.failed(reading, "the bands do not add up"))
    }

    fn level(&self, level: u32, reading: &Reading<'_>) -> Result<Level, Error> {
        let count = self.info.levels.len();
        self.info
            .levels
            .get(level as usize)
            .copied()
            .ok_or_else(|| self.bad_request(reading, &format!("the slide has {count} levels")))
    }

    fn mpp_of(&self, level: u32) -> Option<super::Mpp> {
        let downsample = self.info.levels.get(level as usize)?.downsample;
        Some(self.info.mpp?.scaled(downsample))
    }

    fn bad_request(&self, reading: &Reading<'_>, reason: &str) -> Error {
        Error::BadRequest {
            place: reading.request.to_string(),
            reason: reason.to_string(),
            path: self.info.path.clone(),
        }
    }

    fn failed(&self, reading: &Reading<'_>, reason: &str) -> Error {
        let reason =
            format!("the slide is damaged or truncated there ({})", without_path(reason, &self.info.path));
        Error::Read { place: reading.request.to_string(), reason, path: self.info.path.clone() }
    }
}

/// OpenSlide names the file in some of its messages; ours name it once, at the end.
fn without_path(reason: &str, path: &Path) -> String {
    let path = path.to_string_lossy();
    let reason = reason.replace(&format!("Reading {path}: "), "");
    one_line(reason.replace(&*path, "the file").trim_end_matches('.'))
}

/// Libraries break lines in their messages; ours are one sentence each.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" )", ")")
}

fn file_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string(),
    }
}
