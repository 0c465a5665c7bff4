//! What `reinpath-train` tells of a row and of a data set, as far as it is shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::Context;
use serde::Deserialize;

use super::row_index::RowIndex;
use crate::window::picture::Picture;

/// A row as the model gets it. Keys that are not shown are passed over.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RowPreview {
    pub id: String,
    #[serde(default)]
    pub images: Vec<PathBuf>,
    /// The whole prompt as text; `<image>` stands for an image's tokens.
    pub prompt: String,
    #[serde(default)]
    pub answer: Option<String>,
    #[serde(default)]
    pub label: Option<String>,
    pub prompt_tokens: usize,
    pub answer_tokens: usize,
    /// Tokens that the language model reads.
    pub limit: usize,
    #[serde(default)]
    pub encoders: Vec<EncoderInput>,
    /// (images, image tokens, channels of all encoders)
    pub features: [usize; 3],
    /// What the package was not made for, and what a run would do otherwise.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What an encoder receives of all images of a row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EncoderInput {
    pub encoder: String,
    /// (images, 3, side, side)
    pub tensor: [usize; 4],
    /// A picture of each image, in a folder that is removed soon.
    #[serde(default)]
    pub files: Vec<PathBuf>,
}

/// A row that is shown, with its pictures on the screen's side.
#[derive(Debug)]
pub struct RowView {
    pub row: RowPreview,
    /// Of each encoder and image, what it receives, or why that cannot be shown, as a sentence.
    pub pictures: Vec<EncoderPicture>,
    /// The row as it is written in the file of rows; empty where it cannot be read.
    pub source: String,
    /// Its place among the rows.
    pub place: Option<usize>,
    pub index: Option<Arc<RowIndex>>,
}

/// An image as an encoder receives it.
#[derive(Debug)]
pub struct EncoderPicture {
    /// Such as `conch, image 1, 112 × 112 px`.
    pub words: String,
    pub picture: Result<Picture, String>,
}

/// What a check counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CheckSummary {
    pub rows: usize,
    /// Image files, each counted once.
    pub images: usize,
    /// Rows of each part.
    #[serde(default)]
    pub parts: BTreeMap<String, usize>,
    /// Rows that each stage can use.
    #[serde(default)]
    pub usable: BTreeMap<String, usize>,
    /// Tokens of the longest row, and how many the package reads.
    #[serde(default)]
    pub longest: Option<usize>,
    #[serde(default)]
    pub limit: Option<usize>,
}

impl RowView {
    /// Reads the pictures that a row names, and the row as it is written. Off the window thread.
    pub(super) fn read(ctx: &Context, row: RowPreview, index: Option<Arc<RowIndex>>) -> Self {
        let mut pictures = Vec::new();
        for input in &row.encoders {
            let [_, _, height, width] = input.tensor;
            for (number, file) in (1..).zip(&input.files) {
                let words = format!("{}, image {number}, {width} × {height} px", input.encoder);
                pictures.push(EncoderPicture { words, picture: picture(ctx, file) });
            }
        }
        let place = index.as_ref().and_then(|index| index.place(&row.id));
        let source = index.as_ref().zip(place).and_then(|(index, place)| index.source(place).ok());
        Self { row, pictures, source: source.unwrap_or_default(), place, index }
    }
}

fn picture(ctx: &Context, file: &Path) -> Result<Picture, String> {
    let image =
        image::open(file).map_err(|error| format!("It cannot be shown, {error}: {}", file.display()))?;
    Ok(Picture::new(ctx, "what an encoder receives", &image.into_rgb8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `reinpath-train dataset preview --json` prints it.
    const PRINTED: &str = r#"{
        "id": "a", "kind": "choice", "images": ["data/x.png"], "prompt": "Patch: <image>", "answer": null, "label": "B",
        "stretches": [{"what": "text", "at": 0, "ids": [1, 2]}], "prompt_tokens": 60, "answer_tokens": 0, "limit": 512,
        "encoders": [{"encoder": "conch", "tensor": [1, 3, 16, 16], "crops": [[0.0, 0.0, 16.0, 16.0]], "mean": 0.1,
                      "smallest": -1.0, "largest": 1.0, "files": ["FILE"]}],
        "features": [1, 4, 24], "embeddings": [1, 4, 32], "warnings": ["The image is not square."]
    }"#;

    #[test]
    fn what_the_program_prints_becomes_a_view_with_its_picture_and_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("row1-image1-conch.png");
        image::RgbImage::new(16, 16).save(&file).unwrap();
        std::fs::write(folder.path().join("rows.jsonl"), "{\"id\":\"z\"}\n{\"id\":\"a\"}\n").unwrap();
        let mut row: RowPreview = serde_json::from_str(PRINTED).unwrap();
        assert_eq!((row.answer.as_deref(), row.label.as_deref(), row.limit), (None, Some("B"), 512));
        row.encoders[0].files = vec![file, folder.path().join("gone.png")];
        let index = Arc::new(RowIndex::read(folder.path()).unwrap());
        let view = RowView::read(&Context::default(), row, Some(index));
        assert_eq!((view.place, view.source.contains("\"a\"")), (Some(1), true));
        assert_eq!(view.pictures[0].words, "conch, image 1, 16 × 16 px");
        assert!(view.pictures[0].picture.is_ok());
        let fault = view.pictures[1].picture.as_ref().unwrap_err();
        assert!(fault.starts_with("It cannot be shown") && fault.ends_with("gone.png"), "{fault}");
    }

    #[test]
    fn a_report_is_read_whatever_else_it_says() {
        let text = r#"{"path": "data/rows.jsonl", "rows": 3, "images": 2, "parts": {"train": 2, "test": 1},
                       "usable": {"grpo": 1}, "longest": null, "limit": null}"#;
        let report: CheckSummary = serde_json::from_str(text).unwrap();
        assert_eq!((report.rows, report.parts["test"], report.longest), (3, 1, None));
    }
}
