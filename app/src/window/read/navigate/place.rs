//! A place as the user types it: pixels or millimetres of the slide, one point or a region.

use crate::slide::SlideInfo;
use crate::viewer::viewport::SlideRect;

/// Where to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Level-0 pixels.
    Place((f64, f64)),
    /// Level-0 pixels.
    Region(SlideRect),
}

/// A length's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Pixels,
    Millimetres,
    Microns,
}

const EXPECTED: &str = "Type x, y or x, y, width, height in pixels, or in mm, such as 12.5, 8.1 mm.";

/// Reads `x, y` or `x, y, width, height`, each a number with or without a unit; one that is without takes that of the last number.
///
/// # Errors
/// A sentence that says what is wrong and what to type.
pub fn parse(text: &str, info: &SlideInfo) -> Result<Target, String> {
    let lengths = lengths(text)?;
    let last = lengths.last().and_then(|(_, unit)| *unit).unwrap_or(Unit::Pixels);
    let mut pixels = Vec::with_capacity(lengths.len());
    for (n, (number, unit)) in lengths.into_iter().enumerate() {
        let per_pixel = match (unit.unwrap_or(last), info.mpp) {
            (Unit::Pixels, _) => 1.0,
            (_, None) => return Err("This slide does not say its scale: type pixels.".to_owned()),
            (unit, Some(mpp)) => {
                let microns = if n % 2 == 0 { mpp.x } else { mpp.y };
                if unit == Unit::Millimetres { microns / 1000.0 } else { microns }
            }
        };
        pixels.push(number / per_pixel);
    }
    let (width, height) = (f64::from(info.width()), f64::from(info.height()));
    let whole = SlideRect::of_size(width, height);
    let outside = || format!("That lies outside the slide, which is {width} × {height} px.");
    match pixels[..] {
        [x, y] if x <= width && y <= height && x >= 0.0 && y >= 0.0 => Ok(Target::Place((x, y))),
        [_, _] => Err(outside()),
        [x, y, w, h] if w > 0.0 && h > 0.0 => {
            let region = SlideRect { x0: x, y0: y, x1: x + w, y1: y + h };
            region.intersection(&whole).map(|_| Target::Region(region)).ok_or_else(outside)
        }
        [_, _, _, _] => Err("A region needs a width and a height above 0.".to_owned()),
        _ => Err(EXPECTED.to_owned()),
    }
}

/// Numbers and their units, in the order in which they were typed.
fn lengths(text: &str) -> Result<Vec<(f64, Option<Unit>)>, String> {
    let mut lengths: Vec<(f64, Option<Unit>)> = Vec::new();
    let words =
        text.split(|c: char| c == ',' || c == ';' || c.is_whitespace()).filter(|word| !word.is_empty());
    for word in words {
        let end = word.find(|c: char| c.is_alphabetic() && c != 'e').unwrap_or(word.len());
        let (number, unit) = word.split_at(end);
        if number.is_empty() {
            // What names an axis says nothing new; a unit after a space belongs to the number before it.
            if matches!(unit, "x" | "y" | "X" | "Y" | "w" | "h") {
                continue;
            }
            let unit = unit_of(unit)?;
            match lengths.last_mut() {
                Some((_, of @ None)) => *of = Some(unit),
                _ => return Err(EXPECTED.to_owned()),
            }
            continue;
        }
        let number: f64 = number.parse().map_err(|_error| EXPECTED.to_owned())?;
        if !number.is_finite() {
            return Err(EXPECTED.to_owned());
        }
        lengths.push((number, if unit.is_empty() { None } else { Some(unit_of(unit)?) }));
    }
    Ok(lengths)
}

fn unit_of(word: &str) -> Result<Unit, String> {
    match word {
        "px" => Ok(Unit::Pixels),
        "mm" => Ok(Unit::Millimetres),
        "µm" | "μm" | "um" => Ok(Unit::Microns),
        _ => Err(format!("`{word}` is no unit of length here. {EXPECTED}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slide::Mpp;
    use crate::viewer::tile_plan::tests::slide;

    /// 4096 × 3000 px at 0.5 µm/px.
    fn half_micron() -> SlideInfo {
        SlideInfo { mpp: Some(Mpp { x: 0.5, y: 0.5 }), ..slide() }
    }

    fn place(text: &str) -> Result<Target, String> {
        parse(text, &half_micron())
    }

    #[test]
    fn pixels_millimetres_and_microns_are_understood() {
        for text in ["1200, 800", "1200 800", "1200px,800px", "x 1200, y 800", "0.6, 0.4 mm", "600µm 400 µm"]
        {
            let Ok(Target::Place((x, y))) = place(text) else { panic!("{text}: {:?}", place(text)) };
            assert!((x - 1200.0).abs() < 1e-6 && (y - 800.0).abs() < 1e-6, "{text}: {x}, {y}");
        }
        let Ok(Target::Region(region)) = place("100,200,300,400") else { panic!() };
        assert_eq!(region, SlideRect { x0: 100.0, y0: 200.0, x1: 400.0, y1: 600.0 });
        let Ok(Target::Region(region)) = place("0.1, 0.2, 0.5, 0.25 mm") else { panic!() };
        assert!((region.width() - 1000.0).abs() < 1e-6 && (region.height() - 500.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in ["", "12", "1,2,3", "a, b", "1, 2, 3, 4, 5", "nan, 1", "1e999, 2", "mm"] {
            assert!(place(text).is_err(), "{text}");
        }
        assert!(place("1 m, 2 m").unwrap_err().contains("`m`"));
        assert!(place("5000, 10").unwrap_err().contains("outside"));
        assert!(place("5000, 10, 5, 5").unwrap_err().contains("outside"));
        assert!(place("10, 10, 0, 5").unwrap_err().contains("width"));
        let bare = SlideInfo { mpp: None, ..half_micron() };
        assert!(parse("1 mm, 2 mm", &bare).unwrap_err().contains("pixels"));
        assert!(parse("10, 20", &bare).is_ok());
    }
}
