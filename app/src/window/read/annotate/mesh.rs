//! Annotations as chunks of shapes that lie near each other, and the rows of the list: made by the thread `annotation-mesh`, which keeps
//! a mirror of every open slide's set and makes anew only the chunks that changed.
//!
//! The window leaves changes in a queue and never waits; of one place only the newest state lies there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{AnnotateEvent, HiddenClasses};
use crate::annotation::{Annotation, Geometry, Place};
use crate::store::Kept;
use crate::viewer::shape_mesh::{Shape, ShapeChunk};

/// Annotations of a chunk: few enough that a change is drawn within a frame or two, enough that a hundred thousand are few chunks.
const MOST_IN_CHUNK: usize = 2000;
/// The radius of a point's mark in level-0 pixels.
const POINT_RADIUS: f64 = 12.0;

/// What is drawn and listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub hidden: HiddenClasses,
    /// What rows must hold; empty: all.
    pub search: String,
}

impl Look {
    /// Whether an annotation's class is shown.
    pub fn shows(&self, annotation: &Annotation) -> bool {
        self.hidden.is_empty()
            || !self.hidden.contains(&annotation.class.as_ref().map(|class| class.name.clone()))
    }

    /// Whether a row for it is listed; the search is lower case.
    fn lists(annotation: &Annotation, search: &str) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(search);
        search.is_empty()
            || holds(annotation.title())
            || annotation.class.as_ref().is_some_and(|class| holds(&class.name))
            || holds(&annotation.notes)
            || holds(&annotation.id)
    }
}

/// What the thread has not taken yet of one slide.
#[derive(Default)]
struct Wishes {
    /// All of them anew.
    all: Option<BTreeMap<u64, Arc<Annotation>>>,
    kept: BTreeMap<u64, Option<Arc<Annotation>>>,
    revision: u64,
}

#[derive(Default)]
struct Queue {
    slides: BTreeMap<String, Wishes>,
    forgotten: BTreeSet<String>,
    look: Option<Look>,
}

/// Where changes are left; clones share the queue.
#[derive(Clone)]
pub(super) struct Mesher {
    queue: Arc<Mutex<Queue>>,
    /// Wakes the thread, which ends when the last of these is gone.
    wake: Sender<()>,
}

impl Mesher {
    /// Starts the thread; `told` is called on it, and false ends it.
    pub(super) fn start(told: impl Fn(AnnotateEvent) -> bool + Send + 'static) -> std::io::Result<Self> {
        let (wake, woken) = bounded(1);
        let queue = Arc::new(Mutex::new(Queue::default()));
        let taken = Arc::clone(&queue);
        Builder::new().name("annotation-mesh".to_owned()).spawn(move || run(&taken, &woken, told))?;
        Ok(Self { queue, wake })
    }

    /// A slide's set is another one.
    pub(super) fn reset(&self, hash: &str, revision: u64, all: BTreeMap<u64, Arc<Annotation>>) {
        self.leave(|queue| {
            queue.forgotten.remove(hash);
            let wishes = Wishes { all: Some(all), kept: BTreeMap::new(), revision };
            queue.slides.insert(hash.to_owned(), wishes);
        });
    }

    /// These places of a slide's set have changed.
    pub(super) fn change(&self, hash: &str, revision: u64, kept: Vec<Kept>) {
        self.leave(|queue| {
            queue.forgotten.remove(hash);
            let wishes = queue.slides.entry(hash.to_owned()).or_default();
            wishes.kept.extend(kept);
            wishes.revision = revision;
        });
    }

    pub(super) fn look(&self, look: Look) {
        self.leave(|queue| queue.look = Some(look));
    }

    /// The slide was closed.
    pub(super) fn forget(&self, hash: String) {
        self.leave(|queue| {
            queue.slides.remove(&hash);
            queue.forgotten.insert(hash);
        });
    }

    fn leave(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        // Full: it is awake, and will look again.
        self.wake.try_send(()).ok();
    }
}

fn run(queue: &Mutex<Queue>, woken: &Receiver<()>, told: impl Fn(AnnotateEvent) -> bool) {
    let (mut mirrors, mut look) = (BTreeMap::<String, Mirror>::new(), Look::default());
    while woken.recv().is_ok() {
        let taken = std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner));
        for hash in taken.forgotten {
            mirrors.remove(&hash);
        }
        let mut changed: BTreeSet<String> = taken.slides.keys().cloned().collect();
        if let Some(new) = taken.look {
            for mirror in mirrors.values_mut().filter(|_| new.hidden != look.hidden) {
                mirror.spoil_all();
            }
            look = new;
            changed.extend(mirrors.keys().cloned());
        }
        for (hash, wishes) in taken.slides {
            let mirror = mirrors.entry(hash).or_default();
            if let Some(all) = wishes.all {
                *mirror = Mirror::of(all);
            }
            mirror.revision = wishes.revision;
            for (place, annotation) in wishes.kept {
                mirror.put(place, annotation);
            }
        }
        for hash in changed {
            let Some(mirror) = mirrors.get_mut(&hash) else { continue };
            let (chunks, rows) = (mirror.chunks(&look), Arc::new(mirror.rows(&look)));
            if !told(AnnotateEvent::Meshed { hash, revision: mirror.revision, chunks, rows }) {
                return;
            }
        }
    }
}

/// A set as the thread sees it.
#[derive(Default)]
struct Mirror {
    all: BTreeMap<u64, Arc<Annotation>>,
    groups: Vec<Group>,
    /// The group that each annotation is in.
    group_of: BTreeMap<u64, usize>,
    revision: u64,
}

#[derive(Default)]
struct Group {
    places: BTreeSet<u64>,
    chunk: Option<Arc<ShapeChunk>>,
    is_spoiled: bool,
}

impl Mirror {
    /// Groups what lies near each other: along a curve through the slide (Morton 1966), cut into pieces.
    fn of(all: BTreeMap<u64, Arc<Annotation>>) -> Self {
        let middles: Vec<(u64, Place)> =
            all.iter().map(|(place, annotation)| (*place, middle(annotation))).collect();
        let furthest = middles.iter().flat_map(|(_, middle)| *middle).fold(1.0, f64::max);
        let mut along: Vec<(u64, u64)> =
            middles.into_iter().map(|(place, middle)| (morton(middle, furthest), place)).collect();
        along.sort_unstable();
        let (mut groups, mut group_of) = (Vec::new(), BTreeMap::new());
        for piece in along.chunks(MOST_IN_CHUNK) {
            let places: BTreeSet<u64> = piece.iter().map(|(_, place)| *place).collect();
            group_of.extend(places.iter().map(|place| (*place, groups.len())));
            groups.push(Group { places, chunk: None, is_spoiled: true });
        }
        Self { all, groups, group_of, revision: 0 }
    }

    fn put(&mut self, place: u64, annotation: Option<Arc<Annotation>>) {
        if let Some(annotation) = annotation {
            self.all.insert(place, annotation);
            let group = self.group_of.get(&place).copied().unwrap_or_else(|| self.loose_group());
            self.group_of.insert(place, group);
            self.groups[group].places.insert(place);
            self.groups[group].is_spoiled = true;
        } else {
            self.all.remove(&place);
            if let Some(group) = self.group_of.remove(&place) {
                self.groups[group].places.remove(&place);
                self.groups[group].is_spoiled = true;
            }
        }
    }

    /// Where the next new one goes: the last group, while it has room.
    fn loose_group(&mut self) -> usize {
        if self.groups.last().is_none_or(|group| group.places.len() >= MOST_IN_CHUNK) {
            self.groups.push(Group::default());
        }
        self.groups.len() - 1
    }

    fn spoil_all(&mut self) {
        for group in &mut self.groups {
            group.is_spoiled = true;
        }
    }

    fn chunks(&mut self, look: &Look) -> Vec<Arc<ShapeChunk>> {
        for group in &mut self.groups {
            if std::mem::take(&mut group.is_spoiled) {
                let shown = group.places.iter().filter_map(|place| self.all.get(place));
                let shown: Vec<&Annotation> = shown
                    .map(|annotation| &**annotation)
                    .filter(|annotation| look.shows(annotation))
                    .collect();
                group.chunk = chunk(&shown).map(Arc::new);
            }
        }
        self.groups.iter().filter_map(|group| group.chunk.clone()).collect()
    }

    /// The newest first.
    fn rows(&self, look: &Look) -> Vec<u64> {
        let search = look.search.trim().to_lowercase();
        let listed = self.all.iter().rev().filter(|(_, annotation)| Look::lists(annotation, &search));
        listed.map(|(place, _)| *place).collect()
    }
}

/// `None` where nothing is to be drawn.
fn chunk(annotations: &[&Annotation]) -> Option<ShapeChunk> {
    // A point has no rings of its own.
    let marks: Vec<Vec<Vec<Place>>> = annotations
        .iter()
        .map(|annotation| match &annotation.geometry {
            Geometry::Points(places) => places.iter().map(|place| mark(*place)).collect(),
            _ => Vec::new(),
        })
        .collect();
    let mut shapes = Vec::new();
    for (annotation, marks) in annotations.iter().zip(&marks) {
        let rgb = annotation.shown_rgb();
        let area = |rings| Shape { rings, is_closed: true, is_filled: true, rgb };
        match &annotation.geometry {
            Geometry::Points(_) => shapes.extend(marks.iter().map(|mark| area(std::slice::from_ref(mark)))),
            Geometry::Lines(lines) => shapes.extend(lines.iter().map(|line| Shape {
                rings: std::slice::from_ref(line),
                is_closed: false,
                is_filled: false,
                rgb,
            })),
            Geometry::Polygons(polygons) => {
                shapes.extend(polygons.iter().map(|polygon| area(&polygon.rings)));
            }
            Geometry::Other(_) => {}
        }
    }
    (!shapes.is_empty()).then(|| ShapeChunk::build(&shapes))
}

/// A small diamond around a point.
fn mark([x, y]: Place) -> Vec<Place> {
    vec![[x, y - POINT_RADIUS], [x + POINT_RADIUS, y], [x, y + POINT_RADIUS], [x - POINT_RADIUS, y]]
}

fn middle(annotation: &Annotation) -> Place {
    let bounds = annotation.geometry.bounds();
    bounds
        .map_or([0.0; 2], |bounds| [f64::midpoint(bounds.x0, bounds.x1), f64::midpoint(bounds.y0, bounds.y1)])
}

/// The bits of x and y in turn.
fn morton(place: Place, furthest: f64) -> u64 {
    let [x, y] = place.map(|number| (number.clamp(0.0, furthest) / furthest * 65_535.0) as u64);
    (0..16).fold(0, |bits, n| bits | (((x >> n) & 1) << (2 * n)) | (((y >> n) & 1) << (2 * n + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{Class, Form, edit};

    fn square(x: f64, y: f64, class: &str) -> Arc<Annotation> {
        let class = Some(Arc::new(Class { name: class.to_owned(), rgb: [1, 2, 3] }));
        let geometry = edit::rectangle([x, y], [x + 5.0, y + 5.0]);
        Arc::new(Annotation { class, ..Annotation::new(geometry, Form::Rectangle) })
    }

    fn many(count: u64) -> BTreeMap<u64, Arc<Annotation>> {
        let at = |n: u64| square((n % 100) as f64 * 50.0, (n / 100) as f64 * 50.0, "Tumor");
        (1..=count).map(|n| (n, at(n))).collect()
    }

    #[test]
    fn neighbours_share_a_group_and_no_group_is_too_large() {
        let mirror = Mirror::of(many(5000));
        assert_eq!(mirror.groups.len(), 3);
        assert!(mirror.groups.iter().all(|group| group.places.len() <= MOST_IN_CHUNK));
        assert_eq!(mirror.group_of.len(), 5000);
        assert_eq!(mirror.group_of[&1], mirror.group_of[&2]);
    }

    #[test]
    fn a_change_spoils_its_own_group_alone() {
        let mut mirror = Mirror::of(many(5000));
        mirror.groups.iter_mut().for_each(|group| group.is_spoiled = false);
        mirror.put(7, Some(square(0.0, 0.0, "Stroma")));
        let spoiled = |mirror: &Mirror| mirror.groups.iter().filter(|group| group.is_spoiled).count();
        assert_eq!(spoiled(&mirror), 1);
        mirror.put(9000, Some(square(1e5, 1e5, "Stroma")));
        mirror.put(7, None);
        assert_eq!((mirror.all.len(), mirror.group_of.len()), (5000, 5000));
        assert!(mirror.groups.iter().all(|group| !group.places.contains(&7)));
        mirror.put(7, None);
    }

    #[test]
    fn rows_are_the_newest_first_and_only_what_is_searched_for() {
        let mut mirror = Mirror::of(many(3));
        mirror.put(9, Some(square(0.0, 0.0, "Stroma")));
        let rows = |search: &str| mirror.rows(&Look { search: search.to_owned(), ..Look::default() });
        assert_eq!(rows(""), [9, 3, 2, 1]);
        assert_eq!(rows(" STROMA "), [9]);
        assert_eq!(rows("nothing"), Vec::<u64>::new());
    }

    #[test]
    fn classes_are_hidden_by_name_and_those_without_one_together() {
        let mut look = Look::default();
        let (tumor, none) =
            (square(0.0, 0.0, "Tumor"), Annotation::new(Geometry::Points(vec![]), Form::Plain));
        assert!(look.shows(&tumor) && look.shows(&none));
        look.hidden.insert(Some("Tumor".to_owned()));
        assert!(!look.shows(&tumor) && look.shows(&none));
        look.hidden.insert(None);
        assert!(!look.shows(&none));
    }
}
