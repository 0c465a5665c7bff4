//! A slide's ICC profile as a table from its colours to sRGB.
//!
//! The profile is read by moxcms, Rust alone, so in this process; a file of a stranger's may still be anything: it is bounded, and
//! a panic is an error like others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use moxcms::{
    ColorProfile, DataColorSpace, Layout, ParsingOptions, ProfileText, RenderingIntent, TransformOptions,
};

use super::{ColourTable, corners};

/// Bytes of a profile at the most; the largest of printers have about four million.
const MOST_BYTES: usize = 16 << 20;
/// Characters of a description that are shown at the most.
const MOST_CHARACTERS: usize = 60;
/// By how much the table may differ from its input, of 255, for the profile to count as sRGB.
const SAME: u8 = 1;

/// What a profile says.
#[derive(Clone, Debug, PartialEq)]
pub struct IccProfile {
    /// Its own name, made fit for one line.
    pub description: String,
    /// `None`: the slide's colours are sRGB already.
    pub table: Option<Arc<ColourTable>>,
}

/// Why a profile cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("The slide's ICC profile is damaged: {reason}.")]
    Damaged { reason: String },
    #[error("The slide's ICC profile is for {space} pictures, and the slide's pixels are RGB.")]
    NotRgb { space: String },
    #[error("The slide's ICC profile cannot be used: {reason}.")]
    NotUsable { reason: String },
}

/// Reads a profile, and works out its table.
///
/// # Errors
/// What is wrong with it, as one sentence; the slide is then shown as it is.
pub fn read(bytes: &[u8]) -> Result<IccProfile, Error> {
    let whole = catch_unwind(AssertUnwindSafe(|| read_unguarded(bytes)));
    whole.unwrap_or_else(|_panic| {
        Err(Error::Damaged { reason: "its contents contradict each other".to_owned() })
    })
}

fn read_unguarded(bytes: &[u8]) -> Result<IccProfile, Error> {
    let options = ParsingOptions { max_profile_size: MOST_BYTES + 1, ..ParsingOptions::default() };
    let profile = ColorProfile::new_from_slice_with_options(bytes, options)
        .map_err(|error| Error::Damaged { reason: lower_case(&error.to_string()) })?;
    if profile.color_space != DataColorSpace::Rgb {
        return Err(Error::NotRgb { space: format!("{:?}", profile.color_space) });
    }
    let description = description(profile.description.as_ref());
    let rgb: Vec<f32> = corners().flatten().collect();
    let mut converted = vec![0.0; rgb.len()];
    let options = TransformOptions {
        rendering_intent: intent(&profile),
        prefer_fixed_point: false,
        ..TransformOptions::default()
    };
    profile
        .create_transform_f32(Layout::Rgb, &ColorProfile::new_srgb(), Layout::Rgb, options)
        .and_then(|transform| transform.transform(&rgb, &mut converted))
        .map_err(|error| Error::NotUsable { reason: lower_case(&error.to_string()) })?;
    let table = ColourTable::from_list(&converted);
    let is_srgb = table.is_nearly(&rgb, SAME);
    Ok(IccProfile { description, table: (!is_srgb).then(|| Arc::new(table)) })
}

/// Relative colorimetric, as pathology's viewers use; perceptual where a table for that is all there is.
fn intent(profile: &ColorProfile) -> RenderingIntent {
    let has_only_perceptual =
        profile.lut_a_to_b_colorimetric.is_none() && profile.lut_a_to_b_perceptual.is_some();
    if has_only_perceptual { RenderingIntent::Perceptual } else { RenderingIntent::RelativeColorimetric }
}

fn description(text: Option<&ProfileText>) -> String {
    let text = match text {
        Some(ProfileText::PlainString(text)) => text.as_str(),
        Some(ProfileText::Localizable(all)) => {
            let english = all.iter().find(|text| text.language == "en");
            english.or(all.first()).map_or("", |text| text.value.as_str())
        }
        Some(ProfileText::Description(text)) if text.ascii_string.is_empty() => text.unicode_string.as_str(),
        Some(ProfileText::Description(text)) => text.ascii_string.as_str(),
        None => "",
    };
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line: String = words.iter().filter(|word| !word.is_empty()).fold(String::new(), |line, word| {
        if line.is_empty() { (*word).to_owned() } else { format!("{line} {word}") }
    });
    if line.is_empty() {
        "a profile without a name".to_owned()
    } else {
        line.chars().take(MOST_CHARACTERS).collect()
    }
}

/// A message in the middle of a sentence.
fn lower_case(message: &str) -> String {
    let message = message.trim_end_matches('.');
    let mut characters = message.chars();
    match (characters.next(), characters.clone().next()) {
        // Not of an abbreviation.
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), characters.as_str())
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::ColourLook;
    use super::*;

    /// What `app/tests/golden/icc.py` writes.
    #[derive(Deserialize)]
    struct Golden {
        profiles: Vec<GoldenProfile>,
    }

    #[derive(Deserialize)]
    struct GoldenProfile {
        file: String,
        description: String,
        is_srgb: bool,
        colours: Vec<GoldenColour>,
    }

    #[derive(Deserialize)]
    struct GoldenColour {
        slide: [u8; 3],
        srgb: [u8; 3],
    }

    fn folder() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/icc")
    }

    fn golden() -> Golden {
        serde_json::from_slice(&std::fs::read(folder().join("icc.json")).unwrap()).unwrap()
    }

    #[test]
    fn colours_are_those_that_lcms_gives() {
        let golden = golden();
        assert!(golden.profiles.len() >= 4);
        for profile in golden.profiles {
            let read = read(&std::fs::read(folder().join(&profile.file)).unwrap()).unwrap();
            assert_eq!(read.description, profile.description, "{}", profile.file);
            assert_eq!(read.table.is_none(), profile.is_srgb, "{}", profile.file);
            let look = ColourLook { table: read.table, ..ColourLook::default() };
            for colour in profile.colours {
                let shown = look.apply(colour.slide);
                let apart = shown.iter().zip(colour.srgb).map(|(a, b)| a.abs_diff(b)).max();
                // Where sRGB ends, what cannot be shown is cut off: a kink in the middle of a table's cell. No stain is so colourful.
                let is_at_end = colour.srgb.iter().any(|value| *value < 40 || *value == 255);
                let most = if is_at_end { 10 } else { 2 };
                assert!(
                    apart <= Some(most),
                    "{}: {:?} becomes {shown:?}, with lcms {:?}",
                    profile.file,
                    colour.slide,
                    colour.srgb
                );
            }
        }
    }

    #[test]
    fn srgb_itself_needs_no_table() {
        let read = read(&ColorProfile::new_srgb().encode().unwrap()).unwrap();
        assert_eq!(read, IccProfile { description: "sRGB IEC61966-2.1".to_owned(), table: None });
    }

    #[test]
    fn a_wide_profile_changes_saturated_colours_and_leaves_greys_grey() {
        let read = read(&ColorProfile::new_display_p3().encode().unwrap()).unwrap();
        let look = ColourLook { table: read.table, ..ColourLook::default() };
        let [red, green, blue] = look.apply([128; 3]);
        assert!(red.abs_diff(128) <= 2 && green.abs_diff(128) <= 2 && blue.abs_diff(128) <= 2);
        let [red, green, _] = look.apply([180, 80, 80]);
        assert!(red > 185 && green < 77, "{red} {green}: more colourful in sRGB's numbers");
    }

    #[test]
    fn what_is_no_profile_and_what_is_for_other_colours_is_refused_in_one_sentence() {
        for bytes in [&b""[..], b"not a profile", &[0; 128], &[255; 4096]] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.starts_with("The slide's ICC profile") && error.ends_with('.'), "{error}");
        }
        let grey = ColorProfile::new_gray_with_gamma(2.2).encode().unwrap();
        assert_eq!(read(&grey), Err(Error::NotRgb { space: "Gray".to_owned() }));
    }

    #[test]
    fn a_profile_that_was_cut_or_changed_anywhere_is_a_sentence_or_a_table() {
        let whole = ColorProfile::new_adobe_rgb().encode().unwrap();
        for length in (0..whole.len()).step_by(7) {
            let _either = read(&whole[..length]).is_ok();
        }
        for at in (0..whole.len()).step_by(5) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _either = read(&damaged).is_ok();
        }
    }

    #[test]
    fn descriptions_become_one_short_line() {
        let plain = |text: &str| description(Some(&ProfileText::PlainString(text.to_owned())));
        assert_eq!(plain("  Scanner\0\n  profile \0"), "Scanner profile");
        assert_eq!(plain(&"x".repeat(500)).len(), MOST_CHARACTERS);
        assert_eq!(plain("\0"), "a profile without a name");
        assert_eq!(description(None), "a profile without a name");
    }
}
