//! The benchmark `classes`: a folder of class folders of images. Each image is asked about as a choice between the
//! classes, in an order of its own, and its generated conclusion is scored; beside it stands what colour alone reaches.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use reinpath_model::patch::Patch;
use reinpath_model::reinpath::ReinPath;
use serde::{Deserialize, Serialize};

use super::answerer::Answerer;
use super::class_file::ClassFile;
use super::class_set::{ClassImage, ClassSet, clusters, read};
use super::colour::{ColourSvm, Target, mean_colours, normalise};
use super::rows::{self, AnsweredRow, RowsReport, balanced, write_tallies};
use crate::error::Result;
use crate::phantom::{ColourSummary, Tally, colour_summary};
use crate::rows::{Row, RowKind, Split};
use crate::seed;
use crate::statistics::{Difference, Unit, paired_bootstrap};

/// What is done with the images before they are asked about.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassOptions {
    /// Most images that are asked about, drawn by the seed.
    pub limit: Option<usize>,
    /// What the order of the options is drawn from.
    pub seed: u64,
    /// Brings every image's channels to one mean and deviation.
    pub normalise_colour: bool,
}

/// What six colour numbers reach on the same images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColourFigures {
    pub accuracy: f64,
    pub balanced_accuracy: f64,
    pub interval_95: [f64; 2],
    pub by_class: BTreeMap<String, Tally>,
    /// Images that the machine was fitted on, of clusters that are not asked about.
    pub fitted: usize,
    /// By how much the model's accuracy is higher, over clusters.
    pub model_is_better_by: Option<Difference>,
}

/// The last event of the benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFigures {
    #[serde(flatten)]
    pub report: RowsReport,
    /// How often each class (first) was concluded to be each (second); a conclusion without a class is not counted.
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
    /// Different pieces of tissue among the images.
    pub clusters: usize,
    pub normalised_colour: bool,
    /// An SVM of six colour numbers; `None` where no image is left to fit it on.
    pub colour_svm: Option<ColourFigures>,
    /// Folders and files of the data folder that were not used.
    pub left_out: Vec<String>,
}

/// Evaluates a package on a data folder; `each` gets every answer, and `false` from it stops.
pub fn of_package(
    model: &ReinPath,
    data: &Path,
    file: &ClassFile,
    options: ClassOptions,
    each: &mut dyn FnMut(&AnsweredRow) -> bool,
) -> Result<ClassFigures> {
    let ClassSet { images, left_out } = read(data, file)?;
    let of = |split: Split| images.iter().filter(|image| image.split == split).cloned().collect::<Vec<_>>();
    let (asked, fitted) = (of(Split::Test), of(Split::Train));
    let asked = some(asked, options);
    let target = if options.normalise_colour {
        let known = if fitted.is_empty() { &asked } else { &fitted };
        mean_colours(&colours(data, file, known, None)?)
    } else {
        None
    };
    let svm = fit(&fitted, &colours(data, file, &fitted, target.as_ref())?);
    let asked_colours = colours(data, file, &asked, target.as_ref())?;

    let rows: Vec<Row> = asked.iter().map(|image| row(file, image, options.seed)).collect();
    let rows: Vec<&Row> = rows.iter().collect();
    let patches = |row: &Row| patches(data, row, target.as_ref());
    let images = |rows: &[&Row]| -> Result<Vec<Tensor>> { rows::images_of(model, rows, &patches) };
    let mut right = Vec::with_capacity(rows.len());
    let mut confusion = BTreeMap::<String, BTreeMap<String, usize>>::new();
    let answerer = Answerer::of_package(model, &images);
    let report = rows::report(&answerer, &rows, &mut |answer| {
        right.push(answer.is_right == Some(true));
        let said = |name: &Option<String>| Some(choice_text(answer, name.as_deref()?)?.to_owned());
        if let (Some(is), Some(concluded)) = (said(&answer.label), said(&answer.choice)) {
            *confusion.entry(is).or_default().entry(concluded).or_default() += 1;
        }
        each(answer)
    })?;
    Ok(ClassFigures {
        report,
        confusion,
        clusters: clusters(&asked).len(),
        normalised_colour: options.normalise_colour,
        colour_svm: svm.map(|svm| colour_figures(file, &svm, &asked, &asked_colours, &right)),
        left_out,
    })
}

/// At most so many of the images, in their order.
fn some(mut images: Vec<ClassImage>, options: ClassOptions) -> Vec<ClassImage> {
    let limit = options.limit.unwrap_or(images.len());
    images.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
    images.truncate(limit);
    images.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
    images
}

/// The question about an image.
fn row(file: &ClassFile, image: &ClassImage, seed: u64) -> Row {
    let mut order: Vec<usize> = (0..file.classes.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed::of(seed, &["order of options", &image.path], 0)));
    let letter = order.iter().zip('A'..='Z').find(|(class, _)| **class == image.class);
    Row {
        question: Some(file.question.clone()),
        choices: order.iter().map(|&class| file.classes[class].name.clone()).collect(),
        label: letter.map(|(_, letter)| letter.to_string()),
        context: file.context.clone(),
        mpp: file.mpp,
        ..Row::new(&image.path, &image.path, RowKind::Choice)
    }
}

/// The text of the choice with a letter.
fn choice_text<'a>(answer: &'a AnsweredRow, letter: &str) -> Option<&'a str> {
    let at = letter.bytes().next()?.checked_sub(b'A')?;
    answer.choices.get(usize::from(at)).map(String::as_str)
}

/// The patches of a row as the model gets them.
fn patches(data: &Path, row: &Row, target: Option<&Target>) -> Result<Vec<Patch>> {
    let mut patches = rows::patches(data, row)?;
    if let Some(target) = target {
        for patch in &mut patches {
            normalise(patch, target);
        }
    }
    Ok(patches)
}

/// Six colour numbers of each image, as the model gets it.
fn colours(
    data: &Path,
    file: &ClassFile,
    images: &[ClassImage],
    target: Option<&Target>,
) -> Result<Vec<ColourSummary>> {
    let colours = |image: &ClassImage| -> Result<ColourSummary> {
        let row = Row { mpp: file.mpp, ..Row::new(&image.path, &image.path, RowKind::Choice) };
        let patches = patches(data, &row, target)?;
        Ok(patches.first().map_or([0.0; 6], |patch| colour_summary(&patch.rgb)))
    };
    images.par_iter().map(colours).collect()
}

fn fit(images: &[ClassImage], colours: &[ColourSummary]) -> Option<ColourSvm> {
    let numbers = clusters(images);
    let groups: Vec<usize> = images.iter().map(|image| numbers[image.cluster.as_str()]).collect();
    let known: Vec<(ColourSummary, usize)> =
        colours.iter().copied().zip(images.iter().map(|image| image.class)).collect();
    ColourSvm::fit(&known, &groups)
}

fn colour_figures(
    file: &ClassFile,
    svm: &ColourSvm,
    asked: &[ClassImage],
    colours: &[ColourSummary],
    model_is_right: &[bool],
) -> ColourFigures {
    let numbers = clusters(asked);
    let mut units = vec![Unit::default(); numbers.len()];
    let mut overall = Tally::default();
    let mut by_class = BTreeMap::<String, Tally>::new();
    for ((image, colours), &model_is_right) in asked.iter().zip(colours).zip(model_is_right) {
        let is_right = svm.class(colours) == Some(image.class);
        overall.add(is_right);
        by_class.entry(file.classes[image.class].name.clone()).or_default().add(is_right);
        let unit = &mut units[numbers[image.cluster.as_str()]];
        unit.pairs += 1;
        unit.difference += f64::from(i8::from(model_is_right) - i8::from(is_right));
    }
    let (low, high) = overall.wilson_95().unwrap_or((0.0, 1.0));
    ColourFigures {
        accuracy: overall.share().unwrap_or(0.0),
        balanced_accuracy: balanced(&by_class),
        interval_95: [low, high],
        by_class,
        fitted: svm.fitted,
        model_is_better_by: paired_bootstrap(&[units], 0),
    }
}

impl std::fmt::Display for ClassFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colour = if self.normalised_colour { ", colours made alike" } else { "" };
        writeln!(f, "{} clusters{colour}", self.clusters)?;
        write_tallies(f, &self.report.figures.by_class)?;
        if let Some(svm) = &self.colour_svm {
            let [low, high] = svm.interval_95.map(|share| 100.0 * share);
            writeln!(
                f,
                "SVM of six colour numbers  {:.1} % (95 % interval {low:.1} to {high:.1} %), balanced {:.1} %, fitted on {}",
                100.0 * svm.accuracy,
                100.0 * svm.balanced_accuracy,
                svm.fitted
            )?;
            if let Some(Difference { mean, interval_95: [low, high] }) = svm.model_is_better_by {
                writeln!(
                    f,
                    "the model is better by     {:.1} points (95 % interval {:.1} to {:.1})",
                    100.0 * mean,
                    100.0 * low,
                    100.0 * high
                )?;
            }
        }
        write!(f, "{}", self.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::class_file::Class;

    fn file() -> ClassFile {
        let class = |folder: &str, name: &str| Class { folder: folder.to_owned(), name: name.to_owned() };
        ClassFile {
            format: 1,
            question: "Which?".to_owned(),
            context: None,
            mpp: Some(0.5),
            held_out: None,
            classes: vec![class("pink", "pink tissue"), class("blue", "blue tissue")],
        }
    }

    #[test]
    fn each_image_gets_its_options_in_an_order_of_its_own_with_the_right_letter() {
        let file = file();
        let image = |i: usize| ClassImage {
            path: format!("pink/{i}.png"),
            class: i % 2,
            cluster: String::new(),
            split: Split::Test,
        };
        let rows: Vec<Row> = (0..200).map(|i| row(&file, &image(i), 1)).collect();
        for (i, row) in rows.iter().enumerate() {
            let right = usize::from(row.label.as_deref() == Some("B"));
            assert_eq!(row.choices[right], file.classes[i % 2].name);
        }
        let first = rows.iter().filter(|row| row.label.as_deref() == Some("A")).count();
        assert!((60..140).contains(&first), "{first}");
        assert_eq!(row(&file, &image(7), 1), rows[7]);
        let options = ClassOptions { limit: Some(12), seed: 1, normalise_colour: false };
        let some = some((0..200).map(image).collect(), options);
        assert!(some.len() == 12 && some.is_sorted_by_key(|image| (image.class, image.path.clone())));
    }

    #[test]
    fn what_colour_says_is_scored_on_the_same_images_as_the_model() {
        let image = |i: usize| ClassImage {
            path: format!("{i}.png"),
            class: i % 2,
            cluster: format!("t{}", i / 4),
            split: Split::Test,
        };
        let images: Vec<ClassImage> = (0..80).map(image).collect();
        let colours: Vec<ColourSummary> = (images.iter().enumerate())
            .map(|(i, image)| [100.0 + 60.0 * image.class as f32, (i % 5) as f32, 1.0, 2.0, 3.0, 4.0])
            .collect();
        let svm = fit(&images, &colours).unwrap();
        let figures = colour_figures(&file(), &svm, &images, &colours, &[true; 80]);
        assert_eq!((figures.accuracy, figures.balanced_accuracy, figures.fitted), (1.0, 1.0, 80));
        let wrong: Vec<bool> = (0..80).map(|i| i % 4 != 0).collect();
        let figures = colour_figures(&file(), &svm, &images, &colours, &wrong);
        let difference = figures.model_is_better_by.unwrap();
        assert_eq!(
            (difference.mean, difference.interval_95),
            (-0.25, [-0.25, -0.25]),
            "one of four everywhere"
        );
        assert!(fit(&[], &[]).is_none());
    }
}
