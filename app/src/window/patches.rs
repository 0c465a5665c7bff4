//! The patches of one slide: where they lie, in which order they are asked about, and undoing what was done to them.
//!
//! A patch's place is a level-0 rectangle; its pixels come from `reinpath_model::patch` alone, so that the picture here is what the
//! model receives. Nothing here reads a slide.

use super::picture::Picture;
use super::state::ModelInfo;
use crate::ask;
use crate::slide::{Mpp, MppOrigin, Region, SlideInfo};
use crate::tissue::Flaw;

mod cost;

pub use self::cost::{most_in_words, tokens, tokens_in_words};

/// Longer side over shorter side up to which a rectangle counts as square.
const NEARLY_SQUARE: f64 = 1.1;
/// How much larger than the model's square a rectangle may be before it is offered to be split.
const NEARLY_MODEL_SIZE: f64 = 1.5;
/// Patches that one rectangle may be split into.
pub const MOST_PARTS: u32 = 16;
/// Steps that can be undone.
const MOST_STEPS: usize = 100;

/// A patch, for as long as its slide is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatchId(pub u64);

#[derive(Clone, Debug, PartialEq)]
pub struct PatchPlace {
    pub id: PatchId,
    pub region: Region,
    /// Whether the next question is about it.
    pub in_question: bool,
    /// Whether the user wants a large rectangle as it is.
    pub kept_whole: bool,
}

/// A patch's pixels as the model receives them.
#[derive(Clone, Debug)]
pub enum PatchPicture {
    Ready(Box<PatchLook>),
    Failed(String),
}

/// What is shown of a patch.
#[derive(Clone, Debug)]
pub struct PatchLook {
    /// The pixels that the package's first encoder receives, before normalisation, exactly as they are; of a vision tower's, which may
    /// be many, a smaller picture.
    pub given: Picture,
    /// The whole patch and what the encoder's crop keeps of it (x, y, width, height; 0 to 1), when it takes something away.
    pub whole: Option<(Picture, [f32; 4])>,
    /// The level that was read.
    pub level: u32,
    /// Microns per pixel of the patch, before the encoders or the tower make another size of it; `None` when unknown.
    pub mpp: Option<f64>,
}

/// The list, its pictures, what is selected, and the steps that can be undone.
#[derive(Debug, Default)]
pub struct Patches {
    places: Vec<PatchPlace>,
    pictures: Vec<(PatchId, PatchPicture)>,
    pub selected: Option<PatchId>,
    undo: Vec<Vec<PatchPlace>>,
    redo: Vec<Vec<PatchPlace>>,
}

impl Patches {
    pub fn places(&self) -> &[PatchPlace] {
        &self.places
    }

    pub fn get(&self, id: PatchId) -> Option<&PatchPlace> {
        self.places.iter().find(|place| place.id == id)
    }

    /// `None` while it is being read.
    pub fn picture(&self, id: PatchId) -> Option<&PatchPicture> {
        self.pictures.iter().find(|(of, _)| *of == id).map(|(_, picture)| picture)
    }

    pub fn set_picture(&mut self, id: PatchId, picture: PatchPicture) {
        // A slide that is opened again may still fail to read what it was asked for before.
        if matches!((&picture, self.picture(id)), (PatchPicture::Failed(_), Some(PatchPicture::Ready(_)))) {
            return;
        }
        self.pictures.retain(|(of, _)| *of != id);
        self.pictures.push((id, picture));
    }

    /// Forgets the pictures, as after another package was chosen.
    pub fn forget_pictures(&mut self) {
        self.pictures.clear();
    }

    /// Those that the next question is about, in order, with their numbers (from 1).
    pub fn in_question(&self) -> impl Iterator<Item = (usize, &PatchPlace)> {
        (1..).zip(&self.places).filter(|(_, place)| place.in_question)
    }

    pub fn can_undo(&self) -> bool {
        !self.undo.is_empty()
    }

    pub fn can_redo(&self) -> bool {
        !self.redo.is_empty()
    }

    /// Adds places and selects the last of them.
    pub fn add(&mut self, places: impl IntoIterator<Item = (PatchId, Region)>) {
        self.add_places(places, false);
    }

    /// Adds places whose size was chosen, so that they are not offered to be split.
    pub fn add_whole(&mut self, places: impl IntoIterator<Item = (PatchId, Region)>) {
        self.add_places(places, true);
    }

    fn add_places(&mut self, places: impl IntoIterator<Item = (PatchId, Region)>, kept_whole: bool) {
        self.remember();
        for (id, region) in places {
            self.places.push(PatchPlace { id, region, in_question: true, kept_whole });
            self.selected = Some(id);
        }
    }

    pub fn remove(&mut self, id: PatchId) {
        if let Some(at) = self.index(id) {
            self.remember();
            self.places.remove(at);
            let next = self.places.get(at).or(self.places.last()).map(|place| place.id);
            self.selected = next;
        }
    }

    /// Puts a patch at the place of another in the order.
    pub fn move_to(&mut self, id: PatchId, to: usize) {
        if let Some(from) = self.index(id)
            && to < self.places.len()
            && to != from
        {
            self.remember();
            let place = self.places.remove(from);
            self.places.insert(to, place);
        }
    }

    pub fn set_in_question(&mut self, id: PatchId, in_question: bool) {
        if let Some(at) = self.index(id) {
            self.remember();
            self.places[at].in_question = in_question;
        }
    }

    pub fn keep_whole(&mut self, id: PatchId) {
        if let Some(at) = self.index(id) {
            self.remember();
            self.places[at].kept_whole = true;
        }
    }

    /// Puts several patches where one was.
    pub fn replace(&mut self, id: PatchId, parts: impl IntoIterator<Item = (PatchId, Region)>) {
        let Some(at) = self.index(id) else { return };
        self.remember();
        self.places.remove(at);
        for (n, (id, region)) in parts.into_iter().enumerate() {
            self.places.insert(at + n, PatchPlace { id, region, in_question: true, kept_whole: false });
            self.selected = Some(id);
        }
    }

    /// Has these places in this order, ticked where the flag says so, as one step that can be undone; what else is marked stays behind
    /// them, unticked. A place that is there already keeps its id and its picture; the others are returned.
    pub fn restore(
        &mut self,
        wanted: impl IntoIterator<Item = (PatchId, Region, bool)>,
    ) -> Vec<(PatchId, Region)> {
        self.remember();
        let (mut rest, mut new) = (std::mem::take(&mut self.places), Vec::new());
        for (id, region, in_question) in wanted {
            let known = rest.iter().position(|place| place.region == region).map(|at| rest.remove(at));
            let place = known.unwrap_or_else(|| {
                new.push((id, region));
                PatchPlace { id, region, in_question, kept_whole: true }
            });
            self.places.push(PatchPlace { in_question, ..place });
        }
        self.places.extend(rest.into_iter().map(|place| PatchPlace { in_question: false, ..place }));
        self.selected = self.places.iter().find(|place| place.in_question).map(|place| place.id);
        new
    }

    pub fn undo(&mut self) {
        if let Some(before) = self.undo.pop() {
            self.redo.push(std::mem::replace(&mut self.places, before));
            self.drop_lost_selection();
        }
    }

    pub fn redo(&mut self) {
        if let Some(after) = self.redo.pop() {
            self.undo.push(std::mem::replace(&mut self.places, after));
            self.drop_lost_selection();
        }
    }

    fn index(&self, id: PatchId) -> Option<usize> {
        self.places.iter().position(|place| place.id == id)
    }

    fn remember(&mut self) {
        self.redo.clear();
        self.undo.push(self.places.clone());
        if self.undo.len() > MOST_STEPS {
            self.undo.remove(0);
        }
    }

    fn drop_lost_selection(&mut self) {
        if self.selected.is_some_and(|id| self.get(id).is_none()) {
            self.selected = None;
        }
    }
}

/// The size of a square patch on the slide.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PatchSize {
    /// The package's: its pixels at its mpp.
    #[default]
    Package,
    /// A side in µm.
    Um(u32),
    /// As many pixels as the package's square, each this many µm.
    Mpp(f64),
}

impl PatchSize {
    /// The side in µm.
    pub fn side_um(self, model: &ModelInfo) -> f64 {
        let px = f64::from(model.patch.size_px);
        match self {
            Self::Package => px * model.patch.mpp,
            Self::Um(side) => f64::from(side),
            Self::Mpp(mpp) => px * mpp,
        }
    }

    /// Level-0 width and height on a slide; the package's square in level-0 pixels where the slide's scale is not known, because a length
    /// in µm means nothing there.
    pub fn side(self, model: &ModelInfo, mpp: Option<Mpp>) -> (f64, f64) {
        let Some(mpp) = mpp else { return model_side(model, None) };
        let side = self.side_um(model);
        (side / mpp.x, side / mpp.y)
    }

    /// The square of this size around a place.
    pub fn square_at(self, (x, y): (f64, f64), model: &ModelInfo, mpp: Option<Mpp>) -> Region {
        let (w, h) = self.side(model, mpp);
        region(x - w / 2.0, y - h / 2.0, w, h)
    }
}

/// Level-0 width and height of the model's square on a slide: its physical size where the slide's mpp is known, else that
/// many level-0 pixels.
pub fn model_side(model: &ModelInfo, mpp: Option<Mpp>) -> (f64, f64) {
    let size = f64::from(model.patch.size_px);
    mpp.map_or((size, size), |mpp| (size * model.patch.mpp / mpp.x, size * model.patch.mpp / mpp.y))
}

/// The model's square around a place.
pub fn square_at((x, y): (f64, f64), model: &ModelInfo, mpp: Option<Mpp>) -> Region {
    let (w, h) = model_side(model, mpp);
    region(x - w / 2.0, y - h / 2.0, w, h)
}

/// The rectangle between two corners; `None` when it is thinner than a sixteenth of the model's square.
pub fn rectangle(a: (f64, f64), b: (f64, f64), model: &ModelInfo, mpp: Option<Mpp>) -> Option<Region> {
    let (w, h) = ((a.0 - b.0).abs(), (a.1 - b.1).abs());
    let (side_w, side_h) = model_side(model, mpp);
    (w >= side_w / 16.0 && h >= side_h / 16.0).then(|| region(a.0.min(b.0), a.1.min(b.1), w, h))
}

fn region(x: f64, y: f64, w: f64, h: f64) -> Region {
    let whole = |length: f64| length.round().clamp(1.0, f64::from(u32::MAX)) as u32;
    Region { x: x.round() as i64, y: y.round() as i64, w: whole(w), h: whole(h) }
}

/// Whether any of the slide lies in the region.
pub fn touches(region: &Region, info: &SlideInfo) -> bool {
    region.x < i64::from(info.width())
        && region.y < i64::from(info.height())
        && region.x + i64::from(region.w) > 0
        && region.y + i64::from(region.h) > 0
}

/// How many model squares across and down a rectangle would be split into; `None` when it need not be split: one that is about the model's
/// square, or, where the model takes patches of any size, one of which it is given all pixels (`asked` limits them).
pub fn split_counts(
    region: &Region,
    model: &ModelInfo,
    mpp: Option<Mpp>,
    asked: Option<u64>,
) -> Option<(u32, u32)> {
    let (side_w, side_h) = model_side(model, mpp);
    let (across, down) = (f64::from(region.w) / side_w, f64::from(region.h) / side_h);
    let elongated = across.max(down) / across.min(down) > NEARLY_SQUARE;
    let large = across.max(down) > NEARLY_MODEL_SIZE;
    let loses = match model.vision() {
        Some(vision) => cost::is_beyond(region, model, vision, mpp, asked),
        None => elongated || large,
    };
    let count = |length: f64| length.round().max(1.0) as u32;
    let counts = (count(across), count(down));
    (loses && counts.0.saturating_mul(counts.1) > 1).then_some(counts)
}

/// Model squares side by side over a rectangle, row by row, centred on it.
pub fn split(region: &Region, model: &ModelInfo, mpp: Option<Mpp>, asked: Option<u64>) -> Vec<Region> {
    let Some((across, down)) = split_counts(region, model, mpp, asked) else { return vec![*region] };
    let (side_w, side_h) = model_side(model, mpp);
    let left = region.x as f64 + f64::from(region.w) / 2.0 - side_w * f64::from(across) / 2.0;
    let top = region.y as f64 + f64::from(region.h) / 2.0 - side_h * f64::from(down) / 2.0;
    (0..down)
        .flat_map(|row| (0..across).map(move |column| (column, row)))
        .map(|(column, row)| {
            square_at(
                (left + (f64::from(column) + 0.5) * side_w, top + (f64::from(row) + 0.5) * side_h),
                model,
                mpp,
            )
        })
        .collect()
}

/// A length on the slide in words: microns where its mpp is known, else pixels.
pub fn size_in_words(region: &Region, mpp: Option<Mpp>) -> String {
    mpp.map_or_else(
        || format!("{} × {} px", region.w, region.h),
        |mpp| format!("{:.0} × {:.0} µm", f64::from(region.w) * mpp.x, f64::from(region.h) * mpp.y),
    )
}

/// What a reader of the answer should know about a patch, one sentence each; `asked` limits its pixels where the model takes patches of
/// any size.
pub fn warnings(
    place: &PatchPlace,
    look: Option<&PatchLook>,
    info: &SlideInfo,
    model: &ModelInfo,
    asked: Option<u64>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let Region { x, y, w, h } = place.region;
    let beyond = x < 0
        || y < 0
        || x + i64::from(w) > i64::from(info.width())
        || y + i64::from(h) > i64::from(info.height());
    if beyond {
        warnings.push("Reaches past the edge of the slide.".to_owned());
    }
    match info.mpp {
        Some(own) => {
            if info.mpp_origin == MppOrigin::Inferred {
                let from = if info.mpp_source.is_empty() { "another tag" } else { info.mpp_source.as_str() };
                warnings
                    .push(format!("The slide's scale is inferred from {from}: check it before sizes count."));
            }
            warnings.extend(ask::enlargement(own, model.patch.mpp));
        }
        None => warnings
            .push("The slide does not say its scale: the patch is in level-0 pixels as they are.".to_owned()),
    }
    if look.is_some_and(|look| look.whole.is_some()) {
        warnings.push("The model sees only the outlined square.".to_owned());
    }
    warnings.extend(cost::warnings(&place.region, model, info.mpp, asked));
    warnings
}

/// How much coarser than what the model is given a slide may be before a patch counts as enlarged: pyramids are rarely exact.
const ENLARGED: f64 = 1.01;

/// Whether a patch is made of coarser pixels than the model is given.
pub fn is_upsampled(info: &SlideInfo, model: &ModelInfo) -> bool {
    info.mpp.is_some_and(|own| own.mean() > model.patch.mpp * ENLARGED)
}

/// What is wrong with a patch's pixels, one sentence each. What [`warnings`] says already is left out.
pub fn flaw_sentences(flaws: &[Flaw], info: &SlideInfo, model: &ModelInfo) -> Vec<String> {
    let is_told = info.mpp.is_some_and(|own| ask::enlargement(own, model.patch.mpp).is_some());
    let sentence = |flaw: &Flaw| match flaw {
        Flaw::Blank => Some("Hardly any tissue: most of it is glass."),
        Flaw::Blurred => Some("Out of focus: details may be missing."),
        Flaw::Upsampled if is_told => None,
        Flaw::Upsampled => {
            Some("The slide is a little coarser than the model is given: the patch is enlarged.")
        }
    };
    flaws.iter().filter_map(sentence).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
