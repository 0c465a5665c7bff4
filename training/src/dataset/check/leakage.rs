//! Leakage: what lies in two parts of a data set, so that what is measured on one was seen in another.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::images::ImageFacts;
use super::{FindingKind, Found, Place};
use crate::dataset::groups::{Link, links, origins};
use crate::dataset::text::{part_of, split_name};
use crate::rows::{Row, Split};

/// Patients, slides, source clusters and images in more than one part, each at the first row that lies in a second part;
/// and how many rows do not tell where they come from.
pub(super) fn look(rows: &[(usize, &Row)], images: &BTreeMap<&str, ImageFacts>) -> Vec<Found> {
    let parts: BTreeSet<Split> = rows.iter().map(|(_, row)| part_of(row)).collect();
    if parts.len() < 2 {
        return Vec::new();
    }
    let mut seen: BTreeMap<(Link, Cow<'_, str>), Seen> = BTreeMap::new();
    for (at, &(_, row)) in rows.iter().enumerate() {
        let pixels = row.images.iter().filter_map(|image| images.get(image.as_str())?.pixels.as_deref());
        let pixels = pixels.map(|hash| (Link::Pixels, Cow::Borrowed(hash)));
        for link in links(row).into_iter().chain(pixels) {
            let part = part_of(row);
            let seen = seen.entry(link).or_insert(Seen { parts: BTreeSet::new(), second: None });
            if seen.parts.insert(part) && seen.parts.len() == 2 {
                seen.second = Some(at);
            }
        }
    }
    // Equal files have equal pixels: that is told once.
    let told: BTreeSet<usize> = seen
        .iter()
        .filter(|((link, _), _)| *link == Link::Image)
        .filter_map(|(_, seen)| seen.second)
        .collect();
    let mut found: Vec<Found> = Vec::new();
    for ((link, name), seen) in &seen {
        let Some(at) = seen.second.filter(|at| *link != Link::Pixels || !told.contains(at)) else { continue };
        let (line, row) = rows[at];
        let parts: Vec<&str> = seen.parts.iter().map(|&part| split_name(part)).collect();
        let name = if *link == Link::Pixels { row.images.join(", ") } else { name.to_string() };
        let detail = format!("the {} “{name}” lies in {}", link.name(), parts.join(" and in "));
        found.push((FindingKind::Leakage, Place::new(line, row, detail)));
    }
    found.sort_by_key(|(_, place)| place.line);
    found.extend(unknown_origin(rows));
    found
}

struct Seen {
    parts: BTreeSet<Split>,
    /// Place of the first row that lies in a second part.
    second: Option<usize>,
}

fn unknown_origin(rows: &[(usize, &Row)]) -> Option<Found> {
    let mut silent = rows.iter().filter(|(_, row)| origins(row).is_empty());
    let &(line, row) = silent.next()?;
    let n = 1 + silent.count();
    Some((FindingKind::UnknownOrigin, Place::new(line, row, format!("the first of {n}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::for_tests::question;

    fn row(id: &str, patient: &str, split: Option<Split>) -> Row {
        Row { patient: Some(patient.to_owned()), split, ..question(id, &format!("{id}.png")) }
    }

    fn told(rows: &[Row], images: &BTreeMap<&str, ImageFacts>) -> Vec<(FindingKind, usize, String)> {
        let rows: Vec<(usize, &Row)> = (1..).zip(rows).collect();
        let found = look(&rows, images);
        found.into_iter().map(|(kind, place)| (kind, place.line, place.detail)).collect()
    }

    #[test]
    fn a_patient_in_two_parts_is_found_once() {
        let mut rows = vec![
            row("a", "p1", None),
            row("b", "p2", Some(Split::Test)),
            row("c", "p1", Some(Split::Test)),
            row("d", "p1", Some(Split::Test)),
        ];
        let told_of = told(&rows, &BTreeMap::new());
        let detail = "the patient “p1” lies in train and in test".to_owned();
        assert_eq!(told_of, [(FindingKind::Leakage, 3, detail)]);
        for row in &mut rows {
            row.split = Some(Split::Test);
        }
        assert!(told(&rows, &BTreeMap::new()).is_empty(), "one part cannot leak into another");
    }

    #[test]
    fn clusters_images_and_pixels_leak_too_and_an_unknown_origin_is_told() {
        let mut rows = vec![row("a", "p1", None), row("b", "p2", Some(Split::Validation))];
        for row in &mut rows {
            row.more.insert("source_cluster".to_owned(), "c1".into());
        }
        assert!(told(&rows, &BTreeMap::new())[0].2.contains("source cluster “c1”"));
        let same = ImageFacts { pixels: Some("hash".to_owned()), ..ImageFacts::default() };
        let images = BTreeMap::from([("a.png", same.clone()), ("b.png", same)]);
        let rows = [question("a", "a.png"), Row { split: Some(Split::Test), ..question("b", "b.png") }];
        let told_of = told(&rows, &images);
        assert!(told_of[0].2.contains("the picture “b.png” lies in train and in test"), "{told_of:?}");
        assert_eq!(told_of[1].0, FindingKind::UnknownOrigin);
        let rows = [question("a", "a.png"), Row { split: Some(Split::Test), ..question("b", "a.png") }];
        let told_of = told(&rows, &images);
        assert!(told_of[0].2.contains("the image “a.png”") && told_of.len() == 2, "{told_of:?}");
    }
}
