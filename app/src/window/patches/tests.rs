//! The patches of one slide, their sizes and what is said of them.

use super::super::state::tests_support::model;
use super::*;
use crate::viewer::tile_plan::tests::slide;

fn ids(patches: &Patches) -> Vec<u64> {
    patches.places().iter().map(|place| place.id.0).collect()
}

fn at(x: i64) -> Region {
    Region { x, y: 0, w: 100, h: 100 }
}

#[test]
fn the_square_has_the_models_physical_size() {
    // 224 px at 0.5 µm/px are 112 µm: 448 px of a slide with 0.25 µm/px.
    let mpp = Some(Mpp { x: 0.25, y: 0.25 });
    let square = square_at((1000.0, 2000.0), &model(), mpp);
    assert_eq!(square, Region { x: 776, y: 1776, w: 448, h: 448 });
    assert_eq!(size_in_words(&square, mpp), "112 × 112 µm");
    let unknown = square_at((0.0, 0.0), &model(), None);
    assert_eq!((unknown.w, unknown.h), (224, 224));
    assert_eq!(size_in_words(&unknown, None), "224 × 224 px");
}

#[test]
fn a_chosen_size_is_physical_and_without_scale_the_packages_pixels() {
    let mpp = Some(Mpp { x: 0.25, y: 0.5 });
    let side = |size: PatchSize| size.side(&model(), mpp);
    assert_eq!(side(PatchSize::Package), (448.0, 224.0));
    assert_eq!(side(PatchSize::Um(500)), (2000.0, 1000.0));
    assert_eq!(side(PatchSize::Mpp(1.0)), (896.0, 448.0));
    assert_eq!(PatchSize::Um(500).side(&model(), None), (224.0, 224.0));
    let square = PatchSize::Um(250).square_at((1000.0, 1000.0), &model(), mpp);
    assert_eq!(square, Region { x: 500, y: 750, w: 1000, h: 500 });
    assert_eq!(PatchSize::Package.square_at((9.0, 9.0), &model(), mpp), square_at((9.0, 9.0), &model(), mpp));
}

#[test]
fn flaws_are_told_once() {
    let info = |mpp: f64| SlideInfo { mpp: Some(Mpp { x: mpp, y: mpp }), ..slide() };
    let all = [Flaw::Blank, Flaw::Blurred, Flaw::Upsampled];
    assert_eq!(flaw_sentences(&all, &info(0.52), &model()).len(), 3);
    assert_eq!(flaw_sentences(&all, &info(0.9), &model()).len(), 2, "the enlargement is told by itself");
    assert!(is_upsampled(&info(0.52), &model()) && !is_upsampled(&info(0.5), &model()));
    let inferred = SlideInfo { mpp_origin: MppOrigin::Inferred, ..info(0.5) };
    let region = Region { x: 10, y: 10, w: 224, h: 224 };
    let place = PatchPlace { id: PatchId(1), region, in_question: true, kept_whole: false };
    let told = warnings(&place, None, &inferred, &model(), None);
    assert!(told.len() == 1 && told[0].contains("inferred"), "{told:?}");
}

#[test]
fn only_large_or_elongated_rectangles_are_offered_to_be_split() {
    let mpp = Some(Mpp { x: 0.5, y: 0.5 });
    let counts = |w, h| split_counts(&Region { x: 0, y: 0, w, h }, &model(), mpp, None);
    assert_eq!(counts(224, 224), None);
    assert_eq!(counts(300, 300), None);
    assert_eq!(counts(100, 224), None, "elongated, but no larger than the model's square");
    assert_eq!(counts(448, 448), Some((2, 2)));
    assert_eq!(counts(448, 224), Some((2, 1)));
}

#[test]
fn the_parts_tile_the_rectangle_from_its_middle() {
    let mpp = Some(Mpp { x: 0.5, y: 0.5 });
    let parts = split(&Region { x: 1000, y: 1000, w: 460, h: 230 }, &model(), mpp, None);
    assert_eq!(
        parts,
        [Region { x: 1006, y: 1003, w: 224, h: 224 }, Region { x: 1230, y: 1003, w: 224, h: 224 }]
    );
}

#[test]
fn a_model_that_takes_any_size_splits_only_what_it_would_be_given_less_of() {
    let (model, mpp) = (ModelInfo::scripted_vision("test"), Some(Mpp { x: 0.5, y: 0.5 }));
    let counts = |w, h, asked| split_counts(&Region { x: 0, y: 0, w, h }, &model, mpp, asked);
    assert_eq!(counts(448, 448, None), None);
    assert_eq!(counts(2240, 224, None), None, "elongated, and all of it is seen");
    assert_eq!(counts(448, 448, Some(448 * 448)), None);
    assert_eq!(counts(448, 480, Some(448 * 448)), Some((2, 2)));
    assert_eq!(counts(50, 20_000, None), Some((1, 89)), "it takes no such shape");
    assert_eq!(counts(240, 240, Some(50_176)), None, "it is no larger than the package's patch");
    let parts = split(&Region { x: 0, y: 0, w: 448, h: 224 }, &model, mpp, Some(50_176));
    assert_eq!(parts, [Region { x: 0, y: 0, w: 224, h: 224 }, Region { x: 224, y: 0, w: 224, h: 224 }]);
}

#[test]
fn a_patch_costs_a_token_for_each_28_pixels_up_to_the_limit() {
    let model = ModelInfo::scripted_vision("test");
    // 672 px at 0.5 µm/px of a slide with 0.25 µm/px.
    let (region, mpp) = (Region { x: 0, y: 0, w: 1344, h: 1344 }, Some(Mpp { x: 0.25, y: 0.25 }));
    assert_eq!(tokens(&region, &model, mpp, None), Some(576));
    assert_eq!(tokens_in_words(&region, &model, mpp, None).as_deref(), Some("576 tokens"));
    assert_eq!(tokens(&region, &model, mpp, Some(256 * 784)), Some(256));
    assert_eq!(
        tokens(&region, &model, None, None),
        Some(48 * 48),
        "without a scale its pixels are taken as they are"
    );
    assert_eq!(tokens(&region, &self::model(), mpp, None), None, "a square of every patch");
    let thin = Region { x: 0, y: 0, w: 20_000, h: 50 };
    assert_eq!(tokens(&thin, &model, None, None), None, "no model of this kind takes such a shape");
    assert_eq!(most_in_words(model.vision().unwrap(), Some(1_003_520)), "1,280 tokens");
}

#[test]
fn what_the_limit_takes_from_a_patch_is_said() {
    let model = ModelInfo::scripted_vision("test");
    let info = SlideInfo { mpp: Some(Mpp { x: 0.5, y: 0.5 }), ..slide() };
    let region = Region { x: 10, y: 10, w: 448, h: 224 };
    let place = PatchPlace { id: PatchId(1), region, in_question: true, kept_whole: false };
    assert!(warnings(&place, None, &info, &model, None).is_empty(), "no square is cut of it");
    assert!(warnings(&place, None, &info, &model, Some(448 * 224)).is_empty());
    let told = warnings(&place, None, &info, &model, Some(25_088));
    assert!(told.len() == 1 && told[0].contains("224 × 112 px"), "{told:?}");
    // A patch below the least is enlarged: nothing of it is lost, so it is not offered to be split.
    let thin = PatchPlace { region: Region { x: 10, y: 10, w: 560, h: 4 }, ..place };
    let told = warnings(&thin, None, &info, &model, None);
    assert!(told.len() == 1 && told[0].contains("the least is 4 image tokens"), "{told:?}");
    assert_eq!(split_counts(&thin.region, &model, info.mpp, None), None);
}

#[test]
fn a_thin_drag_is_no_rectangle() {
    let mpp = Some(Mpp { x: 0.5, y: 0.5 });
    assert_eq!(rectangle((0.0, 0.0), (500.0, 3.0), &model(), mpp), None);
    let drawn = rectangle((500.0, 300.0), (100.0, 50.0), &model(), mpp);
    assert_eq!(drawn, Some(Region { x: 100, y: 50, w: 400, h: 250 }));
}

#[test]
fn every_change_can_be_undone_and_done_again() {
    let mut patches = Patches::default();
    patches.add([(PatchId(1), at(0))]);
    patches.add([(PatchId(2), at(10)), (PatchId(3), at(20))]);
    patches.move_to(PatchId(3), 0);
    assert_eq!(ids(&patches), [3, 1, 2]);
    patches.remove(PatchId(1));
    assert_eq!((ids(&patches), patches.selected), (vec![3, 2], Some(PatchId(2))));
    patches.replace(PatchId(3), [(PatchId(4), at(1)), (PatchId(5), at(2))]);
    assert_eq!(ids(&patches), [4, 5, 2]);
    patches.set_in_question(PatchId(5), false);
    assert_eq!(patches.in_question().map(|(n, p)| (n, p.id.0)).collect::<Vec<_>>(), [(1, 4), (3, 2)]);
    for before in [vec![4, 5, 2], vec![3, 2], vec![3, 1, 2], vec![1, 2, 3], vec![1], vec![]] {
        patches.undo();
        assert_eq!(ids(&patches), before);
    }
    assert!(!patches.can_undo() && patches.selected.is_none());
    patches.redo();
    patches.redo();
    assert_eq!(ids(&patches), [1, 2, 3]);
    patches.add([(PatchId(6), at(3))]);
    assert!(!patches.can_redo(), "a new step ends what could be done again");
}

#[test]
fn a_late_failure_takes_no_picture_away() {
    let given = Picture::new(&egui::Context::default(), "patch", &image::RgbImage::new(1, 1));
    let ready = PatchPicture::Ready(Box::new(PatchLook { given, whole: None, level: 0, mpp: None }));
    let mut patches = Patches::default();
    patches.set_picture(PatchId(1), PatchPicture::Failed("The slide gave no answer".to_owned()));
    patches.set_picture(PatchId(1), ready);
    patches.set_picture(PatchId(1), PatchPicture::Failed("The slide gave no answer".to_owned()));
    assert!(matches!(patches.picture(PatchId(1)), Some(PatchPicture::Ready(_))));
}

#[test]
fn warnings_say_what_is_unusual() {
    let place = |region| PatchPlace { id: PatchId(1), region, in_question: true, kept_whole: false };
    let mut info = slide();
    let inside = place(Region { x: 10, y: 10, w: 224, h: 224 });
    assert_eq!(warnings(&inside, None, &info, &model(), None).len(), 1, "no scale");
    info.mpp = Some(Mpp { x: 0.5, y: 0.5 });
    assert!(warnings(&inside, None, &info, &model(), None).is_empty());
    let coarse = SlideInfo { mpp: Some(Mpp { x: 0.9, y: 0.9 }), ..info.clone() };
    assert_eq!(
        warnings(&inside, None, &coarse, &model(), None),
        ["The slide has 0.90 µm/px, the model is given 0.50 µm/px: the patch is enlarged without detail."]
    );
    let beyond = place(Region { x: -10, y: 10, w: 224, h: 224 });
    assert_eq!(warnings(&beyond, None, &info, &model(), None), ["Reaches past the edge of the slide."]);
    assert!(touches(&beyond.region, &info));
    assert!(!touches(&Region { x: -300, y: 0, w: 224, h: 224 }, &info));
}

#[test]
fn places_are_restored_in_one_step_and_what_is_there_keeps_its_id() {
    let region = |x: i64| Region { x, y: 0, w: 224, h: 224 };
    let mut patches = Patches::default();
    patches.add([(PatchId(1), region(10)), (PatchId(2), region(20))]);
    let new = patches.restore([(PatchId(3), region(30), true), (PatchId(4), region(10), false)]);
    assert_eq!(new, [(PatchId(3), region(30))]);
    let all: Vec<_> = patches.places().iter().map(|place| (place.id.0, place.in_question)).collect();
    assert_eq!(all, [(3, true), (1, false), (2, false)]);
    assert_eq!(patches.selected, Some(PatchId(3)));
    patches.undo();
    let all: Vec<_> = patches.places().iter().map(|place| (place.id.0, place.in_question)).collect();
    assert_eq!(all, [(1, true), (2, true)]);
}
