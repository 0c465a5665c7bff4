//! Phantom fields written to a folder: images, truth, and rows with captions and questions.
//!
//! What is drawn follows from the seed, the three numbers and the limits alone, so that a folder can be made again from
//! them.

use std::io::Write as _;
use std::path::Path;

use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::dataset::{answer_text, write_whole};
use crate::error::{Error, Result};
use crate::phantom::{Claim, Limits, QuestionItem, Truth, decisive, draw, full_caption, limited_set};
use crate::rows::{Row, Split};
use crate::subtask::QuestionKind;

/// Side of a field in pixels.
const SIDE_PX: u32 = 224;
/// Microns per pixel.
const MPP: f64 = 0.5;
/// What stands before an option's letter in an Analysis, without its comma: the letter alone would be found in many
/// places.
const OPTION: &str = "option ";

/// What to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhantomPlan {
    /// Fields.
    pub count: usize,
    pub seed: u64,
    /// Questions about each field.
    pub questions: usize,
    /// Captions of each field.
    pub captions: usize,
    /// The part that all rows belong to.
    pub split: Option<Split>,
    /// No field shows it and nothing states it.
    pub without: Option<Claim>,
    /// Every field shows it, and is asked for its tissue type.
    pub only: Option<Claim>,
}

/// A field and what is said of it.
#[derive(Clone, Debug)]
pub struct DrawnField {
    pub truth: Truth,
    /// What the field is drawn with.
    pub seed: u64,
    pub questions: Vec<QuestionItem>,
    pub captions: Vec<String>,
}

/// Fields of the balanced sets that evaluations are like; of the questions about each, the first is of such a set, the
/// others any. Captions say all that can be said.
pub fn draw_fields(count: usize, questions: usize, captions: usize, rng: &mut impl Rng) -> Vec<DrawnField> {
    draw_limited_fields(count, questions, captions, Limits::default(), rng)
}

/// The same within limits.
pub fn draw_limited_fields(
    count: usize,
    questions: usize,
    captions: usize,
    limits: Limits,
    rng: &mut impl Rng,
) -> Vec<DrawnField> {
    let mut fields = Vec::with_capacity(count);
    for (truth, first) in limited_set(rng, count, limits) {
        let seed = rng.random();
        let mut asked = Vec::with_capacity(questions);
        for i in 0..questions {
            asked.push(if i == 0 { first.clone() } else { any_question(&truth, limits, rng) });
        }
        let captions = (0..captions).map(|_| full_caption(&truth, rng)).collect();
        fields.push(DrawnField { truth, seed, questions: asked, captions });
    }
    fields
}

fn any_question(truth: &Truth, limits: Limits, rng: &mut impl Rng) -> QuestionItem {
    let kind = QuestionKind::ALL.choose(rng).copied().unwrap_or(QuestionKind::Open);
    limits.ask_any(truth, kind, rng)
}

/// Writes fields as `img/*.png`, `rows.jsonl`, and `truth.jsonl` with what was drawn.
///
/// # Errors
/// Where the limits make no sense, and where the folder cannot be written to.
pub fn write(plan: &PhantomPlan, folder: &Path) -> Result<()> {
    let limits = Limits { without: plan.without, only: plan.only };
    if let Some(fault) = limits.fault() {
        return Err(Error::Setting(fault));
    }
    let images = folder.join("img");
    std::fs::create_dir_all(&images).map_err(Error::io(&images))?;
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let fields = draw_limited_fields(plan.count, plan.questions, plan.captions, limits, &mut rng);
    let image = |at: usize| format!("img/{at:06}.png");
    fields.par_iter().enumerate().try_for_each(|(at, field)| {
        let path = folder.join(image(at));
        let picture = draw(&field.truth, SIDE_PX, field.seed).rgb;
        picture.save(&path).map_err(|e| Error::io(&path)(std::io::Error::other(e)))
    })?;
    let rows: Vec<Row> =
        fields.iter().enumerate().flat_map(|(at, field)| rows(at, &image(at), field, plan.split)).collect();
    let path = folder.join("rows.jsonl");
    write_whole(&path, &rows)?;
    let path = folder.join("truth.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(Error::io(&path))?);
    for (at, field) in fields.iter().enumerate() {
        let line = serde_json::json!({"image": image(at), "truth": field.truth});
        writeln!(file, "{line}").map_err(Error::io(&path))?;
    }
    file.flush().map_err(Error::io(&path))
}

fn rows(at: usize, image: &str, field: &DrawnField, split: Option<Split>) -> Vec<Row> {
    let captions = field
        .captions
        .iter()
        .enumerate()
        .map(|(n, text)| Row::from_caption(format!("caption-{at:06}-{n}"), image, text.clone()));
    let questions = field
        .questions
        .iter()
        .enumerate()
        .map(|(n, item)| Row::from_item(format!("question-{at:06}-{n}"), image, item));
    captions
        .chain(questions)
        .map(|row| Row {
            emphasis: emphasis(&row),
            mpp: Some(MPP),
            split,
            source: Some("phantom".to_owned()),
            ..row
        })
        .collect()
}

/// What could be wrong in the row's answer, each wording once.
fn emphasis(row: &Row) -> Vec<String> {
    let text = answer_text(row).unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    for bytes in decisive(&text) {
        let is_letter = bytes.len() == 1 && text[..bytes.start].ends_with(OPTION);
        let start = if is_letter { bytes.start - OPTION.len() } else { bytes.start };
        let part = &text[start..bytes.end];
        if !parts.iter().any(|known| known == part) {
            parts.push(part.to_owned());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, emphasised};
    use crate::rows::RowKind;

    const PLAN: PhantomPlan = PhantomPlan {
        count: 12,
        seed: 5,
        questions: 3,
        captions: 2,
        split: Some(Split::Test),
        without: None,
        only: None,
    };

    #[test]
    fn a_folder_holds_what_was_asked_for_and_the_same_again() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            write(&PLAN, folder.path()).unwrap();
        }
        let read =
            |name: &str| folders.each_ref().map(|folder| std::fs::read(folder.path().join(name)).unwrap());
        for name in ["rows.jsonl", "truth.jsonl", "img/000007.png"] {
            let [a, b] = read(name);
            assert_eq!(a, b, "{name}");
        }
        let rows = Dataset::read(folders[0].path()).unwrap().into_rows().unwrap();
        assert_eq!(rows.len(), 12 * 5);
        assert_eq!(rows.iter().filter(|row| row.kind == RowKind::Caption).count(), 24);
        assert!(rows.iter().all(|row| row.split == Some(Split::Test) && row.mpp == Some(0.5)));
        let picture = image::open(folders[0].path().join(&rows[59].images[0])).unwrap().into_rgb8();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let last = draw_fields(12, 3, 2, &mut rng).pop().unwrap();
        assert_eq!(picture, draw(&last.truth, 224, last.seed).rgb);
        assert_eq!(rows[59].question.as_ref(), Some(&last.questions[2].question));
    }

    #[test]
    fn a_folder_can_be_without_a_claim_or_about_it_alone() {
        let mucin = Claim::from_name("pattern.mucin");
        let folder = tempfile::tempdir().unwrap();
        write(&PhantomPlan { without: mucin, ..PLAN }, folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("rows.jsonl")).unwrap();
        let truth = std::fs::read_to_string(folder.path().join("truth.jsonl")).unwrap();
        assert!(text.lines().count() == 60 && !text.contains("mucin") && !truth.contains("mucin"));
        write(&PhantomPlan { only: mucin, ..PLAN }, folder.path()).unwrap();
        let rows = Dataset::read(folder.path()).unwrap().into_rows().unwrap();
        let truth = std::fs::read_to_string(folder.path().join("truth.jsonl")).unwrap();
        assert!(truth.lines().all(|line| line.contains("\"pattern\":\"mucin\"")), "{truth}");
        let asked: Vec<&Row> = rows.iter().filter(|row| row.kind != RowKind::Caption).collect();
        assert_eq!(asked.len(), 36);
        assert!(
            asked.iter().all(|row| row.kind == RowKind::Choice && row.choices.iter().any(|c| c == "mucin"))
        );
        let both = write(&PhantomPlan { only: mucin, without: mucin, ..PLAN }, folder.path());
        assert!(both.unwrap_err().to_string().contains("not both"));
    }

    #[test]
    fn emphasis_lies_on_what_could_be_wrong_and_on_little_else() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut wanted, mut more) = (0, 0);
        for (at, field) in draw_fields(200, 2, 1, &mut rng).iter().enumerate() {
            for row in rows(at, "x.png", field, None) {
                let text = answer_text(&row).unwrap();
                let found = emphasised(&text, &row.emphasis);
                let covers = |at: usize| found.iter().any(|bytes| bytes.contains(&at));
                let decisive: std::collections::BTreeSet<usize> =
                    decisive(&text).into_iter().flatten().collect();
                assert!(decisive.iter().all(|&at| covers(at)), "{:?}: {text}", row.emphasis);
                wanted += decisive.len();
                more += found.iter().map(ExactSizeIterator::len).sum::<usize>() - decisive.len();
            }
        }
        assert!(more * 5 < wanted, "{more} bytes beside {wanted}");
    }
}
