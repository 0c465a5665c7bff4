//! What an OME-TIFF's description says: the size of a pixel and how many channels, planes and time points there are.
//!
//! A handful of attributes of the first `Pixels` element are picked out of the XML by name; a full XML reader is not needed
//! for that. The schema is <https://www.openmicroscopy.org/Schemas/OME/2016-06/ome.html>.

use super::Mpp;

/// The first image of an OME description.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OmeImage {
    pub mpp: Option<Mpp>,
    /// Channels that are stored apart (an RGB image has one).
    pub channels: u32,
    pub planes: u32,
    pub time_points: u32,
}

/// `None` when `description` is no OME-XML.
pub(super) fn parse(description: &str) -> Option<OmeImage> {
    if !description.contains("<OME") && !description.contains(":OME") {
        return None;
    }
    let pixels = element(description, "Pixels")?;
    let count = |name| attribute(pixels, name).and_then(|text| text.parse().ok()).unwrap_or(1_u32);
    let size = |name: &str, unit: &str| {
        let length: f64 = attribute(pixels, name)?.parse().ok()?;
        let microns = length * microns_per(attribute(pixels, unit).unwrap_or("µm"))?;
        (microns.is_finite() && microns > 0.0).then_some(microns)
    };
    let mpp = match (size("PhysicalSizeX", "PhysicalSizeXUnit"), size("PhysicalSizeY", "PhysicalSizeYUnit")) {
        (Some(x), Some(y)) => Some(Mpp { x, y }),
        _ => None,
    };
    let samples = element(description, "Channel")
        .and_then(|channel| attribute(channel, "SamplesPerPixel")?.parse().ok())
        .unwrap_or(1);
    Some(OmeImage {
        mpp,
        channels: count("SizeC").div_ceil(samples.max(1)),
        planes: count("SizeZ"),
        time_points: count("SizeT"),
    })
}

/// The text between `<name` and the next `>`, with or without a namespace prefix.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = xml;
    while let Some(at) = rest.find(name) {
        let before = rest[..at].chars().next_back();
        let inside = &rest[at + name.len()..];
        if matches!(before, Some('<' | ':')) && inside.starts_with(char::is_whitespace) {
            return inside.split('>').next();
        }
        rest = inside;
    }
    None
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = element;
    while let Some(at) = rest.find(name) {
        let starts_a_word = rest[..at].chars().next_back().is_some_and(char::is_whitespace);
        let value = rest[at + name.len()..].trim_start();
        if let (true, Some(value)) = (starts_a_word, value.strip_prefix('=')) {
            let value = value.trim_start();
            let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            return value[1..].split(quote).next();
        }
        rest = &rest[at + name.len()..];
    }
    None
}

fn microns_per(unit: &str) -> Option<f64> {
    Some(match unit {
        "µm" | "μm" | "um" | "&#181;m" | "&#xB5;m" => 1.0,
        "nm" => 1e-3,
        "mm" => 1e3,
        "cm" => 1e4,
        "m" => 1e6,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_image_is_described() {
        let xml = r#"<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
            <Pixels DimensionOrder="XYCZT" PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.5" SizeC="6" SizeT="3" SizeX="9" SizeY="9" SizeZ="5" Type="uint8">
            <Channel ID="Channel:0:0" SamplesPerPixel="3"/></Pixels></Image></OME>"#;
        let image = parse(xml).unwrap();
        assert_eq!(
            image,
            OmeImage { mpp: Some(Mpp { x: 0.25, y: 0.5 }), channels: 2, planes: 5, time_points: 3 }
        );
    }

    #[test]
    fn other_descriptions_and_odd_units_are_left_alone() {
        assert_eq!(parse("ImageJ=1.53f"), None);
        let xml =
            r#"<OME><Pixels PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" SizeC="1"/></OME>"#;
        assert_eq!(parse(xml).unwrap().mpp, None);
    }
}
