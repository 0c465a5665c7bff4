//! A magnification as the user types it, and the steps that buttons go through.

use crate::slide::Mpp;
use crate::viewer::overlay::objectives;

/// Steps on a slide without a scale, in per cent of its own pixels.
const PER_CENT: [f64; 4] = [10.0, 25.0, 50.0, 100.0];
/// Two scales nearer than this are the same step.
const SAME_STEP: f64 = 0.02;

/// The steps that can be chosen, from far to near: what they are called, and level-0 pixels per screen pixel.
pub fn steps(mpp: Option<Mpp>) -> Vec<(String, f64)> {
    match mpp {
        Some(mpp) => objectives(mpp).into_iter().map(|(name, scale)| (format!("{name}×"), scale)).collect(),
        None => PER_CENT.map(|percent| (format!("{percent} %"), 100.0 / percent)).to_vec(),
    }
}

/// Whether a scale is that of a step.
pub fn is_at(scale: f64, step: f64) -> bool {
    (scale / step - 1.0).abs() < SAME_STEP
}

/// The next step from `scale` level-0 pixels a screen pixel on: nearer, or further away.
pub fn next_step(mpp: Option<Mpp>, scale: f64, nearer: bool) -> Option<f64> {
    let steps = steps(mpp).into_iter().map(|(_, step)| step);
    if nearer {
        steps.filter(|step| *step < scale && !is_at(scale, *step)).reduce(f64::max)
    } else {
        steps.filter(|step| *step > scale && !is_at(scale, *step)).reduce(f64::min)
    }
}

/// Reads `20×`, `0.5 µm/px`, `50 %` or `1:1` as level-0 pixels per screen pixel. A number alone is a magnification where the slide says
/// its scale, else per cent.
///
/// # Errors
/// A sentence that says what is wrong and what to type.
pub fn parse(text: &str, mpp: Option<Mpp>) -> Result<f64, String> {
    let expected = || match mpp {
        Some(_) => "Type a magnification, such as 20×, 0.5 µm/px or 50 %.".to_owned(),
        None => "This slide does not say its scale: type per cent of its pixels, such as 50 %.".to_owned(),
    };
    let text = text.trim().to_lowercase();
    let text = text.strip_suffix("digital").unwrap_or(&text).trim();
    if text == "1:1" {
        return Ok(1.0);
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ','))).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.replace(',', ".").parse().map_err(|_error| expected())?;
    if !(number.is_finite() && number > 0.0) {
        return Err(expected());
    }
    let scale = match (unit.trim(), mpp) {
        ("%", _) | ("", None) => 100.0 / number,
        ("x" | "×" | "", Some(mpp)) => {
            let known = objectives(mpp).into_iter().find(|(objective, _)| *objective == number);
            known.map_or_else(|| 10.0 / (mpp.mean() * number), |(_, scale)| scale)
        }
        ("µm/px" | "μm/px" | "um/px" | "mpp", Some(mpp)) => number / mpp.mean(),
        _ => return Err(expected()),
    };
    // The smallest number that can be typed has an end, too.
    if scale.is_finite() && scale > 0.0 { Ok(scale) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Option<Mpp> = Some(Mpp { x: 0.5, y: 0.5 });

    #[test]
    fn magnifications_microns_and_per_cent_are_understood() {
        for (text, scale) in [
            ("20×", 1.0),
            ("20x", 1.0),
            ("20", 1.0),
            ("40× digital", 0.5),
            ("2,5 x", 8.0),
            ("1 µm/px", 2.0),
            ("0.25um/px", 0.5),
            ("50 %", 2.0),
            ("1:1", 1.0),
        ] {
            let found = parse(text, HALF).unwrap();
            assert!((found - scale).abs() < 1e-9, "{text}: {found}");
        }
        assert_eq!(parse("40", Some(Mpp { x: 0.2533, y: 0.2533 })), Ok(1.0), "the slide's own pixels");
        assert_eq!(parse("25", None), Ok(4.0));
    }

    #[test]
    fn what_is_no_magnification_is_said() {
        for text in ["", "x", "0", "-3", "twenty", "5 km", "1.2.3", "0.0000 %"] {
            assert!(parse(text, HALF).unwrap_err().contains("20×"), "{text}");
        }
        assert!(parse("20×", None).unwrap_err().contains("per cent"));
        assert!(parse("0.5 µm/px", None).unwrap_err().contains("per cent"));
    }

    #[test]
    fn steps_go_to_the_next_objective_and_end() {
        assert_eq!(next_step(HALF, 3.0, true), Some(2.0));
        assert_eq!(next_step(HALF, 3.0, false), Some(4.0));
        assert_eq!(next_step(HALF, 2.01, true), Some(1.0), "20× lies next to 10×");
        assert_eq!(next_step(HALF, 1.0, true), None);
        assert_eq!(next_step(HALF, 1000.0, false), None);
        assert_eq!(next_step(None, 1.0, false), Some(2.0));
    }
}
