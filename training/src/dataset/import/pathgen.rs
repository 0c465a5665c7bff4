//! PathGen-1.6M: a slide, a place on it, and a caption of the patch that was cut there.

use serde_json::{Map, Value};

use super::{Made, keep};
use crate::rows::Row;

/// Side of the patches in level-0 pixels, whatever the slide's scale (PathGen's own script).
const SIDE_PX: f64 = 672.0;

/// The row of a record. The image is named as in PathGen-Instruct: `<slide>/<x>_<y>.jpg`.
pub(super) fn rows(mut record: Map<String, Value>) -> Result<Made, String> {
    let text =
        |key: &str| record.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let slide = text("wsi_id").ok_or("the record names no slide (wsi_id)")?.to_owned();
    let caption = text("caption").ok_or("the record has no caption")?.to_owned();
    let region = region(record.get("position")).ok_or("the record names no position, x and y in pixels")?;
    let [x, y, ..] = region;
    let mut row = Row::from_caption(format!("{slide}-{x}-{y}"), format!("{slide}/{x}_{y}.jpg"), caption);
    row.region = Some(region);
    row.source = Some("PathGen-1.6M".to_owned());
    record.retain(|key, _| !["caption", "position", "id"].contains(&key.as_str()));
    keep(&mut row, &record);
    Ok(Made { rows: vec![row], note: None })
}

/// The square of a patch whose top left corner is given as two numbers, or as text of them.
pub(super) fn region(position: Option<&Value>) -> Option<[f64; 4]> {
    let number = |value: &Value| match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    match position?.as_array()?.as_slice() {
        [x, y] => {
            let corner: [f64; 2] = [number(x)?, number(y)?];
            corner.iter().all(|at| at.is_finite()).then_some([corner[0], corner[1], SIDE_PX, SIDE_PX])
        }
        _ => None,
    }
}
