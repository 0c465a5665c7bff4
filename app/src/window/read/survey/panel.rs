//! The right side's part: the mask, how large patches are, and the grid.

use egui::{Button, ScrollArea, Slider, Ui};

use super::super::super::command::CommandSender;
use super::super::super::patches::{self, PatchSize};
use super::super::super::state::{AppState, ModelInfo, PATIENCE};
use super::super::super::theme;
use super::super::super::widgets::{caption, hairline, main_button, tick_box, title, toggle, warning};
use super::super::{ReadCommand, views};
use super::{GAPS, GridArea, MOST_MADE, MOST_SHOWN, PlanView, SurveyCommand, TissueStatus, TissueView};
use crate::slide::{Mpp, SlideInfo};
use crate::viewer::tile_cache::SlideKey;

/// Sides that are offered, in µm.
const SIDES_UM: [u32; 3] = [250, 500, 1000];
/// Scales that are offered, in µm/px.
const SCALES: [f64; 4] = [0.25, 0.5, 1.0, 2.0];

fn wish(commands: &CommandSender, command: SurveyCommand) {
    commands.read(ReadCommand::Survey(command));
}

/// Draws it.
pub(super) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    ScrollArea::vertical().id_salt("tissue panel").auto_shrink(false).show(ui, |ui| {
        let shown = state.shown_slide().and_then(|slide| Some((slide.key, slide.info()?)));
        let Some((key, info)) = shown else {
            caption(ui, "Open a slide to find its tissue and to lay patches over it.");
            return;
        };
        title(ui, "Tissue");
        tissue_ui(ui, state, key, commands);
        ui.add_space(theme::GRID);
        hairline(ui);
        title(ui, "Patches by rule");
        let Some(model) = state.model.info() else {
            caption(ui, "The patch size is not known before the model package is.");
            return;
        };
        size_ui(ui, state, model, info, commands);
        grid_ui(ui, state, key, commands);
    });
}

fn tissue_ui(ui: &mut Ui, state: &AppState, key: SlideKey, commands: &CommandSender) {
    match state.read.survey.tissue.get(&key) {
        None => {
            caption(ui, "Found by Otsu's threshold on the saturation of a coarse level.");
            if ui.button("Find tissue").clicked() {
                wish(commands, SurveyCommand::FindTissue);
            }
        }
        Some(TissueStatus::Searching { since }) => {
            ui.horizontal(|ui| {
                ui.spinner();
                let waited = since.elapsed();
                let words = if waited > PATIENCE {
                    format!("Looking for tissue, {} s", waited.as_secs())
                } else {
                    "Looking for tissue".to_owned()
                };
                ui.label(words);
            });
        }
        Some(TissueStatus::Failed(sentence)) => {
            warning(ui, &views::masked(state, sentence));
            if ui.button("Look again").clicked() {
                wish(commands, SurveyCommand::FindTissue);
            }
        }
        Some(TissueStatus::Found(view)) => found_ui(ui, state, view, commands),
    }
}

fn found_ui(ui: &mut Ui, state: &AppState, view: &TissueView, commands: &CommandSender) {
    ui.label(area_in_words(view));
    let mut is_shown = state.read.survey.is_mask_shown;
    if ui.add(tick_box(&mut is_shown, "Show the mask on the slide")).changed() {
        wish(commands, SurveyCommand::ShowMask(is_shown));
    }
    let mut threshold = view.chosen.unwrap_or(view.mask.threshold);
    ui.horizontal(|ui| {
        let label = ui.label("Threshold");
        let slider = ui.add(Slider::new(&mut threshold, 0..=255)).labelled_by(label.id);
        if slider.on_hover_text("What is more saturated than this is tissue").changed() {
            wish(commands, SurveyCommand::Threshold(Some(threshold)));
        }
        let automatic = ui.add_enabled(view.chosen.is_some(), Button::new("Automatic"));
        if automatic.on_hover_text("Otsu's threshold").clicked() {
            wish(commands, SurveyCommand::Threshold(None));
        }
    });
}

fn area_in_words(view: &TissueView) -> String {
    let share = 100.0 * view.share;
    view.area_mm2.map_or_else(
        || format!("{share:.1} % of the slide; its scale is not known, so there is no area"),
        |area| format!("{area:.2} mm², {share:.1} % of the slide"),
    )
}

fn size_ui(ui: &mut Ui, state: &AppState, model: &ModelInfo, info: &SlideInfo, commands: &CommandSender) {
    let chosen = state.read.survey.size;
    let package = format!("Package ({:.0} µm)", PatchSize::Package.side_um(model));
    ui.label("Size of patches that are placed by a click or by rule");
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        let sides = SIDES_UM.map(|side| (PatchSize::Um(side), format!("{side} µm")));
        for (size, words) in std::iter::once((PatchSize::Package, package)).chain(sides) {
            size_button(ui, chosen, size, words, info.mpp, commands);
        }
    });
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        caption(ui, format!("{} px at", model.patch.size_px));
        for mpp in SCALES {
            size_button(ui, chosen, PatchSize::Mpp(mpp), format!("{mpp} µm/px"), info.mpp, commands);
        }
    });
    caption(ui, size_in_words(chosen, model, info.mpp, state.max_pixels()));
}

fn size_button(
    ui: &mut Ui,
    chosen: PatchSize,
    size: PatchSize,
    words: String,
    mpp: Option<Mpp>,
    commands: &CommandSender,
) {
    // Without a scale there are no microns, only the package's pixels.
    let is_possible = mpp.is_some() || size == PatchSize::Package;
    ui.add_enabled_ui(is_possible, |ui| {
        if toggle(ui, chosen == size, words).clicked() {
            wish(commands, SurveyCommand::Size(size));
        }
    });
}

/// What a size means for the model: the pixels are read at the package's scale, and each encoder makes its own picture of them, or the tower
/// is given all of them up to the limit that was `asked` for.
fn size_in_words(size: PatchSize, model: &ModelInfo, mpp: Option<Mpp>, asked: Option<u64>) -> String {
    if mpp.is_none() {
        let px = model.patch.size_px;
        return format!("The slide's scale is not known: patches have {px} × {px} of its own pixels.");
    }
    let side = size.side_um(model);
    let given = side / f64::from(model.patch.size_px);
    let read = model.patch.mpp;
    let square = size.square_at((0.0, 0.0), model, mpp);
    if let Some(tokens) = patches::tokens_in_words(&square, model, mpp, asked) {
        return format!("{side:.0} × {side:.0} µm at the package's {read:.2} µm/px: {tokens}.");
    }
    if (given / read - 1.0).abs() < 0.01 {
        return format!("{side:.0} × {side:.0} µm at the package's {read:.2} µm/px.");
    }
    format!(
        "{side:.0} × {side:.0} µm: {given:.2} µm/px over the package's {} px, which expects {read:.2} µm/px. The thumbnail is \
         exactly what the model sees.",
        model.patch.size_px
    )
}

fn grid_ui(ui: &mut Ui, state: &AppState, key: SlideKey, commands: &CommandSender) {
    let survey = &state.read.survey;
    ui.add_space(theme::GRID);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        ui.label("Over");
        for (area, words) in
            [(GridArea::Annotations, "Selected annotations"), (GridArea::Tissue, "All tissue")]
        {
            if toggle(ui, survey.over == area, words).clicked() {
                wish(commands, SurveyCommand::Over(area));
            }
        }
    });
    ui.horizontal(|ui| {
        let label = ui.label("Gap");
        let mut gap = survey.gap_percent;
        let slider = ui.add(Slider::new(&mut gap, GAPS).suffix(" %")).labelled_by(label.id);
        if slider.on_hover_text("In per cent of a patch's side; below 0 patches overlap").changed() {
            wish(commands, SurveyCommand::Gap(gap));
        }
    });
    match survey.plan.as_ref().filter(|plan| plan.key == key) {
        None => {
            if ui.button("Lay a grid").clicked() {
                wish(commands, SurveyCommand::Plan);
            }
        }
        Some(plan) => plan_ui(ui, plan, commands),
    }
}

fn plan_ui(ui: &mut Ui, plan: &PlanView, commands: &CommandSender) {
    let Some(regions) = &plan.regions else {
        ui.spinner();
        return;
    };
    let count = regions.len();
    let sentence = match count {
        0 => "No patch of this size fits.".to_owned(),
        1 => "1 patch.".to_owned(),
        _ if plan.is_cut => format!("More than {MOST_SHOWN} patches: choose a larger size or gap."),
        _ if count > MOST_MADE => {
            format!("{count} patches; at most {MOST_MADE} are made at once: choose a larger size or gap.")
        }
        _ => format!("{count} patches, row by row."),
    };
    ui.label(sentence);
    ui.horizontal(|ui| {
        let can_be_made = (1..=MOST_MADE).contains(&count) && !plan.is_cut;
        let words = if count == 1 { "Make 1 patch".to_owned() } else { format!("Make {count} patches") };
        if can_be_made && ui.add(main_button(ui, &words)).clicked() {
            wish(commands, SurveyCommand::Make);
        }
        if ui.button("Drop the grid").clicked() {
            wish(commands, SurveyCommand::DropPlan);
        }
    });
}
