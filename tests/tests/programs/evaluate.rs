//! Benchmarks asked of a model that always says the same: then every figure is known beforehand.

use std::fmt::Write as _;
use std::path::Path;

use candle_core::Device;
use reinpath_model::fixture::{STAGED, Speech, write_package};
use reinpath_model::package::Package;
use reinpath_model::reinpath::ReinPath;
use reinpath_training::evaluate::class_file::{Class, ClassFile, HeldOut};
use reinpath_training::evaluate::classes::{self, ClassOptions};
use reinpath_training::evaluate::rows;
use reinpath_training::rows::{Row, RowKind};

/// A model that says "B) glands" in three stages, whatever it is asked.
fn model(folder: &Path) -> ReinPath {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    write_package(folder, Speech::Script(&STAGED)).expect("the package can be written");
    let package = Package::open(folder).expect("the package is whole");
    ReinPath::load(&package, &Device::Cpu, &mut |_, _| true).expect("the package loads")
}

fn picture(path: &Path, colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder can be made");
    let shade = |x: u32| colour.map(|c| c.saturating_add((x % 7) as u8));
    let picture = image::RgbImage::from_fn(32, 32, |x, _| image::Rgb(shade(x)));
    picture.save(path).expect("the picture can be written");
}

fn row(id: &str, label: &str) -> Row {
    Row {
        question: Some("What is it?".to_owned()),
        choices: ["nests", "glands", "sheets"].map(str::to_owned).to_vec(),
        label: Some(label.to_owned()),
        mpp: Some(0.5),
        ..Row::new(id, "a.png", RowKind::Choice)
    }
}

#[test]
fn rows_get_the_figures_of_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    picture(&folder.path().join("a.png"), [200, 120, 180]);
    let open = Row { label: Some("glands".to_owned()), choices: Vec::new(), ..row("open", "B") };
    let mut asked = vec![row("1", "B"), row("2", "A"), row("3", "B"), row("4", "C")];
    asked.push(Row { kind: RowKind::Open, ..open });
    let asked: Vec<&Row> = asked.iter().collect();
    let mut answers = Vec::new();
    let report = rows::of_package(&model, folder.path(), &asked, &mut |answer| {
        answers.push((answer.row.clone(), answer.choice.clone(), answer.likeliest.clone()));
        true
    })
    .unwrap();
    let letter = Some("B".to_owned());
    assert_eq!(answers[1], ("2".to_owned(), letter.clone(), letter));
    assert_eq!(answers[4], ("open".to_owned(), None, None), "\"B) glands\" says more than the label");
    let figures = &report.figures;
    assert_eq!((figures.n, figures.accuracy, figures.parse_failures), (5, 0.4, 0));
    // glands (as a choice and openly) 2 of 3, nests 0 of 1, sheets 0 of 1.
    assert!((figures.balanced_accuracy - 2.0 / 9.0).abs() < 1e-12, "{:?}", figures.by_class);
    assert_eq!((figures.stages_present, figures.answer_tokens), (1.0, STAGED.len() as f64));
    assert_eq!((report.by_likelihood.right, report.by_likelihood.total, report.cut_off), (2, 4, 0));
    let stopped = rows::of_package(&model, folder.path(), &asked, &mut |_| false);
    assert!(matches!(stopped, Err(reinpath_training::error::Error::Stopped)));
}

#[test]
fn classes_stand_beside_what_their_colours_say() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(&folder.path().join("model"));
    let data = folder.path().join("data");
    let mut manifest = "file,cluster,split\n".to_owned();
    for i in 0..60 {
        let (class, colour) = [("pink", [200, 120, 180]), ("blue", [90, 90, 220])][i % 2];
        let name = format!("{class}/{i}.png");
        picture(&data.join(&name), colour.map(|c| c - (i / 10) as u8));
        let part = ["train", "test", "validation"][i / 2 % 3];
        writeln!(manifest, "{name},t{},{part}", i / 2).unwrap();
    }
    std::fs::write(data.join("m.csv"), manifest).unwrap();
    let class = |folder: &str, name: &str| Class { folder: folder.to_owned(), name: name.to_owned() };
    let file = ClassFile {
        format: 1,
        question: "Which of these is shown?".to_owned(),
        context: None,
        mpp: Some(0.5),
        held_out: Some(HeldOut {
            manifest: "m.csv".to_owned(),
            file: "file".to_owned(),
            cluster: "cluster".to_owned(),
            split: "split".to_owned(),
        }),
        classes: vec![class("pink", "pink tissue"), class("blue", "blue tissue")],
    };
    let mut right = Vec::new();
    let mut evaluate = |normalise_colour| {
        right.clear();
        let options = ClassOptions { limit: None, seed: 1, normalise_colour };
        let figures = classes::of_package(&model, &data, &file, options, &mut |answer| {
            right.push(answer.label.as_deref() == Some("B"));
            true
        })
        .unwrap();
        let expected = right.iter().filter(|is_right| **is_right).count();
        let said = figures.report.figures.by_class.values().map(|tally| tally.right).sum::<usize>();
        assert_eq!((said, figures.report.figures.n), (expected, right.len()), "always the letter B");
        let confused: usize = figures.confusion.values().flat_map(|said| said.values()).sum();
        assert_eq!(confused, right.len());
        assert!(figures.left_out.is_empty() && figures.clusters * 2 == right.len());
        let svm = figures.colour_svm.unwrap();
        assert_eq!((svm.fitted, right.len()), (20, 20));
        svm
    };
    let by_colour = evaluate(false);
    assert_eq!(by_colour.accuracy, 1.0);
    assert!(by_colour.model_is_better_by.unwrap().interval_95[1] < 0.0);
    let without = evaluate(true);
    assert!(without.accuracy < 0.9, "colours that were made alike say little: {}", without.accuracy);
}
