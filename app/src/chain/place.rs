//! Where a sentence looks: its map among those of an answer, whether the map means anything, and where it lies on the slide.

use reinpath_model::event::Stamp;
use reinpath_model::prose::split;
use reinpath_model::request::{MapMethod, SentenceMap};
use reinpath_model::stage::AnswerStage;

use crate::case::{Maps, Question};

/// Of the probability of one word. A sentence that loses less by hiding what its map points at, beyond what hiding as much anywhere
/// costs it, does not depend on that place in a sense that anybody would mean by the word.
pub const LEAST: f32 = 0.1;

/// A corner on the slide, in level-0 pixels.
pub type Corner = (f64, f64);

/// The map of a sentence over one patch. `text` is all of the stage's text and `nth` the sentence in it, from 0; or `text` is the
/// sentence alone, and `nth` counts those that say the same. (Both are found by the sentence's text, the n-th of equal ones with the
/// n-th.) `None`: there is none, as of a sentence without a word that could be seen.
pub fn map_of<'a>(
    maps: &'a Maps,
    text: &str,
    stage: AnswerStage,
    nth: usize,
    patch: usize,
) -> Option<&'a (SentenceMap, Vec<f32>)> {
    maps.get(index_of(maps, text, stage, nth, patch)?)
}

/// Its place in the list of maps.
pub fn index_of(maps: &Maps, text: &str, stage: AnswerStage, nth: usize, patch: usize) -> Option<usize> {
    let sentences: Vec<&str> = split(text).into_iter().map(|bytes| &text[bytes]).collect();
    let (sentence, equal) = match sentences.get(nth) {
        Some(&sentence) => (sentence, sentences[..nth].iter().filter(|before| **before == sentence).count()),
        None if sentences.len() == 1 => (sentences[0], nth),
        None => return None,
    };
    // Of the benchmark `pointing`, those of occlusion alone are above chance; they are not always there.
    [MapMethod::Occlusion, MapMethod::Tam].into_iter().find_map(|method| {
        let is_meant = |map: &SentenceMap| {
            map.method == method && map.stage == stage && map.patch == patch && map.sentence == sentence
        };
        let mut found: Vec<usize> = (0..maps.len()).filter(|&at| is_meant(&maps[at].0)).collect();
        found.sort_by_key(|&at| maps[at].0.first_token);
        found.get(equal).copied()
    })
}

/// The places of a sentence's maps over all patches.
pub fn indices_of(maps: &Maps, text: &str, stage: AnswerStage, nth: usize) -> Vec<usize> {
    let patches = maps.iter().map(|(map, _)| map.patch + 1).max().unwrap_or(0);
    (0..patches.min(maps.len())).filter_map(|patch| index_of(maps, text, stage, nth, patch)).collect()
}

/// Whether hiding what the map points at makes its sentence less likely than hiding as much anywhere: only then it is an explanation.
pub fn is_localised(map: &SentenceMap) -> bool {
    map.difference() > LEAST
}

/// What is said beside a map.
pub fn legend(map: &SentenceMap) -> String {
    let fall = in_points(-map.fall);
    let random = in_points(-map.random_fall);
    if is_localised(map) {
        format!("Where this sentence looks: {fall} points when hidden (random {random})")
    } else {
        format!("Not localised: {fall} points when hidden (random {random})")
    }
}

/// Percentage points of probability, of all words together.
fn in_points(change: f32) -> String {
    // Neither −0 nor a hyphen.
    let rounded = (change * 100.0).round() + 0.0;
    format!("{rounded:+.0}").replace('-', "−")
}

/// The corners on the slide of what a map covers: left top, right top, right bottom, left bottom of the patch as the model saw it.
/// `None` where it is not known where the patch lies.
pub fn corners(map: &SentenceMap, stamp: Option<&Stamp>, question: &Question) -> Option<[Corner; 4]> {
    let stamped = stamp.and_then(|stamp| stamp.patches.get(map.patch));
    let source = stamped.and_then(|patch| patch.source.as_ref());
    let region = source
        .map(|source| source.region)
        .or_else(|| question.patches.get(map.patch).map(|patch| patch.region))?;
    let [x, y, width, height] = region.map(|length| length as f64);
    let stamped = stamped.filter(|patch| patch.width > 0 && patch.height > 0)?;
    let scale = (width / f64::from(stamped.width), height / f64::from(stamped.height));
    let [left, top, wide, high] = map.crop;
    let middle = (x + width / 2.0, y + height / 2.0);
    // The patch was turned clockwise: what stands in it came from as far the other way.
    let (sin, cos) = source.map_or(0.0, |source| source.turned).to_radians().sin_cos();
    let corner = |across: f64, down: f64| {
        let (right, below) = (x + across * scale.0 - middle.0, y + down * scale.1 - middle.1);
        (middle.0 + cos * right + sin * below, middle.1 - sin * right + cos * below)
    };
    let corners = [
        corner(left, top),
        corner(left + wide, top),
        corner(left + wide, top + high),
        corner(left, top + high),
    ];
    corners.iter().all(|(x, y)| x.is_finite() && y.is_finite()).then_some(corners)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reinpath_model::event::{PatchSource, PatchStamp};

    use super::*;
    use crate::case::PatchKept;

    fn map(sentence: &str, first_token: usize, patch: usize) -> (SentenceMap, Vec<f32>) {
        let map = SentenceMap {
            stage: AnswerStage::Observation,
            sentence: sentence.to_owned(),
            first_token,
            tokens: 3,
            patch,
            rows: 2,
            cols: 2,
            crop: [0.0, 0.0, 100.0, 100.0],
            method: MapMethod::Tam,
            fall: 0.54,
            random_fall: 0.11,
        };
        (map, vec![0.0, 0.25, 0.5, 1.0])
    }

    #[test]
    fn equal_sentences_have_their_own_maps() {
        let mut attention = map("Glands.", 1, 0);
        attention.0.method = MapMethod::RelativeAttention;
        let maps: Maps = Arc::new(vec![
            map("Glands.", 9, 0),
            map("Glands.", 9, 1),
            attention,
            map("Glands.", 1, 0),
            map("Glands.", 1, 1),
            map("Necrosis is seen.", 5, 0),
        ]);
        let (mut hidden, mut with_hidden) = (map("Glands.", 9, 0), maps.to_vec());
        hidden.0.method = MapMethod::Occlusion;
        let other = (SentenceMap { first_token: 1, ..hidden.0.clone() }, hidden.1.clone());
        with_hidden.extend([hidden, other]);
        let best = index_of(&Arc::new(with_hidden), "Glands.", AnswerStage::Observation, 0, 0);
        assert_eq!(best, Some(7), "those of occlusion before the others, in the order of the text");
        let text = "Glands. Necrosis is seen. Glands. So.";
        let observation = AnswerStage::Observation;
        let first = |nth: usize, patch: usize| {
            map_of(&maps, text, observation, nth, patch).map(|(map, _)| (map.first_token, map.patch))
        };
        assert_eq!([first(0, 0), first(0, 1)], [Some((1, 0)), Some((1, 1))]);
        assert_eq!([first(1, 0), first(2, 0)], [Some((5, 0)), Some((9, 0))]);
        assert_eq!([first(1, 1), first(3, 0), first(4, 0), first(0, 2)], [None; 4]);
        assert_eq!(map_of(&maps, text, AnswerStage::Analysis, 0, 0), None);
        let alone = map_of(&maps, "Glands.", observation, 1, 1).unwrap();
        assert_eq!(alone.0.first_token, 9, "a sentence alone, the second that says this");
        assert_eq!(indices_of(&maps, text, observation, 2), [0, 1]);
    }

    #[test]
    fn a_map_means_something_only_where_hiding_it_matters() {
        let (good, _) = map("Glands.", 1, 0);
        assert!(is_localised(&good));
        assert_eq!(legend(&good), "Where this sentence looks: −54 points when hidden (random −11)");
        let weak = SentenceMap { fall: 0.3, random_fall: 0.21, ..good.clone() };
        assert!(!is_localised(&weak));
        let none = SentenceMap { fall: 0.001, random_fall: -0.3, ..good.clone() };
        assert!(legend(&none).ends_with("+0 points when hidden (random +30)"), "{}", legend(&none));
        assert!(!is_localised(&SentenceMap { fall: f32::NAN, ..good }));
    }

    #[test]
    fn a_crop_lies_where_the_patch_was_cut_also_when_it_was_turned() {
        let (mut map, _) = map("Glands.", 1, 0);
        map.crop = [50.0, 0.0, 50.0, 100.0];
        let question = Question::default();
        let stamp = |turned: f64| {
            let source = PatchSource { region: [1000, 2000, 400, 400], turned, ..PatchSource::default() };
            let patch = PatchStamp { source: Some(source), width: 100, height: 100, ..PatchStamp::default() };
            Stamp { patches: vec![patch], ..Stamp::default() }
        };
        let at = |turned: f64| {
            let found = corners(&map, Some(&stamp(turned)), &question).unwrap();
            found.map(|(x, y)| (x.round() as i64, y.round() as i64))
        };
        assert_eq!(at(0.0), [(1200, 2000), (1400, 2000), (1400, 2400), (1200, 2400)]);
        // The right half of a patch that was turned by 90° clockwise is the upper half of its region.
        assert_eq!(at(90.0), [(1000, 2200), (1000, 2000), (1400, 2000), (1400, 2200)]);
        assert_eq!(corners(&map, None, &question), None);
        let unplaced = Stamp {
            patches: vec![PatchStamp { width: 100, height: 100, ..PatchStamp::default() }],
            ..Stamp::default()
        };
        assert_eq!(corners(&map, Some(&unplaced), &question), None);
        let kept = PatchKept { number: 1, region: [0, 0, 200, 200], pixels: None };
        let question = Question { patches: vec![kept], ..question };
        assert_eq!(corners(&map, Some(&unplaced), &question).unwrap()[0], (100.0, 0.0));
    }
}
