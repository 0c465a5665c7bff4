//! Tissue, and patches by rule: the mask, the grid over an area, what a region suffers from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use egui::Ui;

use super::super::command::{CommandSender, Named};
use super::super::patches::{PatchId, PatchSize};
use super::super::picture::Picture;
use super::super::state::AppState;
use super::super::viewer_panel::PaneFrame;
use super::views;
use crate::slide::Region;
use crate::tissue::{Flaw, SaturationMap, TissueMask};
use crate::viewer::tile_cache::SlideKey;

mod desk;
mod grid;
mod newest;
mod overlay;
mod panel;
mod update;

pub(super) use desk::SurveyDesk;
pub use grid::{PlanArea, PlanOrder};
pub(super) use update::{closed, command, event, opened};

/// Patches that are shown before they are made, at the most.
pub const MOST_SHOWN: usize = 500;
/// Patches that are made at once, at the most.
pub const MOST_MADE: usize = 100;
/// The gap between patches by rule in per cent of their side; below 0 they overlap.
pub const GAPS: std::ops::RangeInclusive<i32> = -75..=1000;

/// What of it is shown.
#[derive(Debug)]
pub struct SurveyState {
    /// The size of patches that are placed by a click or by rule.
    pub size: PatchSize,
    /// Within [`GAPS`].
    pub gap_percent: i32,
    pub over: GridArea,
    pub is_mask_shown: bool,
    /// Of open slides on which tissue was looked for.
    pub tissue: BTreeMap<SlideKey, TissueStatus>,
    /// Patches by rule that are shown and not made yet.
    pub plan: Option<PlanView>,
    judged: BTreeMap<(SlideKey, PatchId), Judged>,
}

impl Default for SurveyState {
    fn default() -> Self {
        Self {
            size: PatchSize::Package,
            gap_percent: 0,
            over: GridArea::Tissue,
            is_mask_shown: true,
            tissue: BTreeMap::new(),
            plan: None,
            judged: BTreeMap::new(),
        }
    }
}

impl SurveyState {
    /// The mask of a slide, once it was found.
    pub fn view(&self, key: SlideKey) -> Option<&TissueView> {
        match self.tissue.get(&key) {
            Some(TissueStatus::Found(view)) => Some(view),
            _ => None,
        }
    }

    /// What a patch suffers from; nothing before it was judged.
    pub fn flaws(&self, key: SlideKey, patch: PatchId) -> &[Flaw] {
        match self.judged.get(&(key, patch)) {
            Some(Judged::Known(flaws)) => flaws,
            _ => &[],
        }
    }

    /// Whether a patch was judged, or is about to be.
    pub fn is_judged(&self, key: SlideKey, patch: PatchId) -> bool {
        self.judged.contains_key(&(key, patch))
    }
}

#[derive(Debug)]
enum Judged {
    Asked,
    Known(Vec<Flaw>),
}

/// Over what patches are laid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridArea {
    /// The annotations that are selected.
    Annotations,
    #[default]
    Tissue,
}

/// How far the search for tissue is.
#[derive(Debug)]
pub enum TissueStatus {
    Searching {
        since: Instant,
    },
    Found(Box<TissueView>),
    /// Why it could not be looked for, as a sentence.
    Failed(String),
}

/// Where there is tissue, as it is shown.
#[derive(Clone, Debug)]
pub struct TissueView {
    pub map: Arc<SaturationMap>,
    pub mask: Arc<TissueMask>,
    /// The mask on its way to the screen, a pixel a cell.
    pub picture: Picture,
    /// In mm²; `None` where the slide's scale is not known.
    pub area_mm2: Option<f64>,
    /// The part of the slide that it covers, 0 to 1.
    pub share: f64,
    /// The threshold that the user chose; `None`: Otsu's.
    pub chosen: Option<u8>,
}

/// Patches by rule before they are made.
#[derive(Debug)]
pub struct PlanView {
    pub id: u64,
    pub key: SlideKey,
    /// `None` while it is being worked out.
    pub regions: Option<Vec<Region>>,
    /// Whether there are more than [`MOST_SHOWN`].
    pub is_cut: bool,
}

/// Wishes about it; where no slide is named, the one in view is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SurveyCommand {
    /// The size of patches that are placed from now on.
    Size(PatchSize),
    Gap(i32),
    Over(GridArea),
    FindTissue,
    ShowMask(bool),
    /// `None`: Otsu's.
    Threshold(Option<u8>),
    /// Lay a grid of patches.
    Plan,
    DropPlan,
    /// Make the patches that are planned.
    Make,
    /// Judge the patches of a slide that were not judged yet.
    Judge(SlideKey),
}

/// What happened to it.
#[derive(Debug)]
pub enum SurveyEvent {
    Tissue { key: SlideKey, found: Result<Box<TissueView>, String> },
    Planned { id: u64, regions: Vec<Region>, is_cut: bool },
    Judged { key: SlideKey, patch: PatchId, flaws: Vec<Flaw> },
}

/// What is to be done by threads.
#[derive(Clone, Debug, PartialEq)]
pub enum SurveyEffect {
    /// Read a coarse level and look for tissue.
    FindTissue {
        key: SlideKey,
    },
    /// Make the mask anew with another threshold.
    Threshold {
        key: SlideKey,
        map: Arc<SaturationMap>,
        chosen: Option<u8>,
    },
    Plan(Box<PlanOrder>),
    Judge {
        key: SlideKey,
        patch: PatchId,
        region: Region,
        is_upsampled: bool,
    },
}

/// Its commands with names and keys.
pub const NAMED: &[Named] = &[];

/// What is kept from frame to frame.
#[derive(Default)]
pub(in crate::window) struct SurveyPanel {}

#[expect(clippy::unused_self, reason = "all parts of the panel are drawn by methods")]
impl SurveyPanel {
    /// The right side's part.
    pub(in crate::window) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        panel::ui(ui, state, commands);
    }

    /// Over the tiles: the tissue mask, when it is shown; patches that are planned; whose pane it is.
    pub(in crate::window) fn draw(&mut self, ui: &Ui, frame: &PaneFrame<'_>) {
        overlay::draw(ui, frame);
        views::draw_head(ui, frame);
    }
}
