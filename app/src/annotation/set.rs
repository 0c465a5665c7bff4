//! All annotations of a slide, in the order in which they were made, and what was done to them.
//!
//! Every alteration is a [`Change`], which holds what was before and after: applied, undone, saved and drawn anew by it. A set of 100,000
//! is made by a thread ([`AnnotationSet::of`]); single changes cost the logarithm of that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::index::{Index, distance};
use super::{Annotation, Class, Geometry, Place};
use crate::viewer::viewport::SlideRect;

/// Changes that can be undone.
pub const MOST_UNDONE: usize = 200;

/// One annotation before and after; `None`: there was or is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Altered {
    /// Its place in the set: what was made later has a larger one.
    pub place: u64,
    pub before: Option<Arc<Annotation>>,
    pub after: Option<Arc<Annotation>>,
}

/// What one wish of the user altered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub altered: Vec<Altered>,
}

impl Change {
    /// What undoes it.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let turned = |altered: &Altered| Altered {
            place: altered.place,
            before: altered.after.clone(),
            after: altered.before.clone(),
        };
        Self { altered: self.altered.iter().map(turned).collect() }
    }

    /// What is to be saved: each place with what is there now.
    pub fn now(&self) -> Vec<(u64, Option<Arc<Annotation>>)> {
        self.altered.iter().map(|altered| (altered.place, altered.after.clone())).collect()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct AnnotationSet {
    all: BTreeMap<u64, Arc<Annotation>>,
    index: Index,
    counts: BTreeMap<Option<Arc<Class>>, usize>,
    revision: u64,
}

impl AnnotationSet {
    /// Those that are given, all at once.
    pub fn of(all: BTreeMap<u64, Arc<Annotation>>, revision: u64) -> Self {
        let index = Index::of(all.iter().map(|(place, annotation)| (*place, &**annotation)));
        let mut counts = BTreeMap::new();
        for annotation in all.values() {
            *counts.entry(annotation.class.clone()).or_insert(0) += 1;
        }
        Self { all, index, counts, revision }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&self, place: u64) -> Option<&Arc<Annotation>> {
        self.all.get(&place)
    }

    /// In the order in which they were made.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Arc<Annotation>)> {
        self.all.iter().map(|(place, annotation)| (*place, annotation))
    }

    /// For threads: as many clones of `Arc`s as there are annotations.
    pub fn all(&self) -> &BTreeMap<u64, Arc<Annotation>> {
        &self.all
    }

    /// How many there are of each class; the first ones have none.
    pub fn counts(&self) -> &BTreeMap<Option<Arc<Class>>, usize> {
        &self.counts
    }

    /// Another number after each change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Where the next new one goes.
    pub fn next_place(&self) -> u64 {
        self.all.last_key_value().map_or(1, |(place, _)| place + 1)
    }

    /// Puts what is after into the place of what is before.
    pub fn apply(&mut self, change: &Change) {
        for altered in &change.altered {
            if let Some(before) = self.all.remove(&altered.place) {
                self.index.remove(altered.place, &before);
                self.count(before.class.as_ref(), false);
            }
            if let Some(after) = &altered.after {
                self.index.insert(altered.place, after);
                self.count(after.class.as_ref(), true);
                self.all.insert(altered.place, Arc::clone(after));
            }
        }
        self.revision += 1;
    }

    fn count(&mut self, class: Option<&Arc<Class>>, is_more: bool) {
        let class = class.cloned();
        let count = self.counts.entry(class.clone()).or_insert(0);
        *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.counts.remove(&class);
        }
    }

    /// What lies under a place, at most `tolerance` level-0 pixels away, of those that `is_shown` lets through: the smallest, so that
    /// what lies inside something larger can be reached; of equal ones the newest.
    pub fn hit(&self, place: Place, tolerance: f64, is_shown: impl Fn(&Annotation) -> bool) -> Option<u64> {
        let [x, y] = place;
        let around = SlideRect { x0: x - tolerance, y0: y - tolerance, x1: x + tolerance, y1: y + tolerance };
        let mut best: Option<(f64, u64)> = None;
        for candidate in self.index.around(around) {
            let Some(annotation) = self.all.get(&candidate).filter(|annotation| is_shown(annotation)) else {
                continue;
            };
            // A point is reached first, whatever it lies on.
            let size = match &annotation.geometry {
                Geometry::Points(_) => 0.0,
                Geometry::Lines(_) => 1.0,
                geometry => geometry.bounds().map_or(0.0, |bounds| bounds.width() * bounds.height()) + 2.0,
            };
            let is_better =
                best.is_none_or(|(least, newest)| size < least || (size == least && candidate > newest));
            if is_better && distance(&annotation.geometry, place).is_some_and(|far| far <= tolerance) {
                best = Some((size, candidate));
            }
        }
        best.map(|(_, place)| place)
    }
}

/// What can be undone and done again.
#[derive(Debug, Default)]
pub struct History {
    done: VecDeque<Arc<Change>>,
    undone: Vec<Arc<Change>>,
}

impl History {
    /// What was undone before cannot be done again after it.
    pub fn did(&mut self, change: Arc<Change>) {
        self.undone.clear();
        self.done.push_back(change);
        if self.done.len() > MOST_UNDONE {
            self.done.pop_front();
        }
    }

    /// What has to be applied to undo the last change.
    pub fn undo(&mut self) -> Option<Change> {
        let last = self.done.pop_back()?;
        let change = last.reversed();
        self.undone.push(last);
        Some(change)
    }

    /// What has to be applied to do once more what was undone last.
    pub fn redo(&mut self) -> Option<Change> {
        let next = self.undone.pop()?;
        let change = (*next).clone();
        self.done.push_back(next);
        Some(change)
    }

    pub fn can_undo(&self) -> bool {
        !self.done.is_empty()
    }

    pub fn can_redo(&self) -> bool {
        !self.undone.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, Polygon};
    use super::*;

    fn square(x: f64, y: f64, side: f64, class: Option<&str>) -> Arc<Annotation> {
        let ring = vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]];
        let geometry = Geometry::Polygons(vec![Polygon { rings: vec![ring] }]);
        let class = class.map(|name| Arc::new(Class { name: name.to_owned(), rgb: [1, 2, 3] }));
        Arc::new(Annotation { class, ..Annotation::new(geometry, Form::Plain) })
    }

    fn added(set: &AnnotationSet, annotation: &Arc<Annotation>) -> Change {
        let altered = Altered { place: set.next_place(), before: None, after: Some(Arc::clone(annotation)) };
        Change { altered: vec![altered] }
    }

    #[test]
    fn the_smallest_under_the_pointer_is_hit_and_of_equal_ones_the_newest() {
        let mut set = AnnotationSet::default();
        for annotation in
            [square(40.0, 40.0, 10.0, None), square(0.0, 0.0, 100.0, None), square(40.0, 40.0, 10.0, None)]
        {
            let change = added(&set, &annotation);
            set.apply(&change);
        }
        assert_eq!(set.hit([45.0, 45.0], 1.0, |_| true), Some(3));
        assert_eq!(set.hit([5.0, 5.0], 1.0, |_| true), Some(2));
        assert_eq!(set.hit([-3.0, 5.0], 4.0, |_| true), Some(2), "near the edge");
        assert_eq!(set.hit([-3.0, 5.0], 2.0, |_| true), None);
        assert_eq!(set.hit([45.0, 45.0], 1.0, |_| false), None);
    }

    #[test]
    fn undo_walks_back_to_the_beginning_and_redo_to_the_end() {
        let (mut set, mut history) = (AnnotationSet::default(), History::default());
        let names = [Some("Tumor"), None, Some("Tumor"), Some("Stroma")];
        let mut seen = vec![set.all().clone()];
        for (n, class) in names.into_iter().enumerate() {
            let change = Arc::new(added(&set, &square(n as f64 * 10.0, 0.0, 5.0, class)));
            set.apply(&change);
            history.did(change);
            seen.push(set.all().clone());
        }
        let counts: Vec<_> = set
            .counts()
            .iter()
            .map(|(class, n)| (class.as_ref().map(|class| class.name.clone()), *n))
            .collect();
        assert_eq!(counts, [(None, 1), (Some("Stroma".to_owned()), 1), (Some("Tumor".to_owned()), 2)]);
        for before in seen.iter().rev().skip(1) {
            set.apply(&history.undo().unwrap());
            assert_eq!(set.all(), before);
        }
        assert!(history.undo().is_none() && set.is_empty() && set.counts().is_empty());
        assert_eq!(set.hit([1.0, 1.0], 1.0, |_| true), None, "the index was emptied too");
        for after in &seen[1..] {
            set.apply(&history.redo().unwrap());
            assert_eq!(set.all(), after);
        }
        assert!(!history.can_redo());
        set.apply(&history.undo().unwrap());
        history.did(Arc::new(Change::default()));
        assert!(!history.can_redo(), "what is new takes the place of what was undone");
    }

    #[test]
    fn what_lies_too_far_back_cannot_be_undone() {
        let mut history = History::default();
        for _ in 0..MOST_UNDONE + 5 {
            history.did(Arc::new(Change::default()));
        }
        assert_eq!(std::iter::from_fn(|| history.undo()).count(), MOST_UNDONE);
    }

    #[test]
    fn made_at_once_or_one_after_the_other_is_the_same() {
        let annotations: Vec<_> = (0..50).map(|n| square(f64::from(n) * 7.0, 3.0, 5.0, None)).collect();
        let mut one_by_one = AnnotationSet::default();
        for annotation in &annotations {
            let change = added(&one_by_one, annotation);
            one_by_one.apply(&change);
        }
        let at_once = AnnotationSet::of((1..).zip(annotations).collect(), 3);
        assert_eq!(at_once.all(), one_by_one.all());
        assert_eq!(at_once.counts(), one_by_one.counts());
        assert_eq!(at_once.hit([73.0, 4.0], 0.5, |_| true), one_by_one.hit([73.0, 4.0], 0.5, |_| true));
        assert_eq!(at_once.revision(), 3);
    }
}
