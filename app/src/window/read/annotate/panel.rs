//! The Annotations side: classes, the list, the selected one, how they are drawn, files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use egui::{Button, ComboBox, Response, RichText, ScrollArea, Slider, TextEdit, Ui, vec2};

use super::details::Details;
use super::drawing::Drawing;
use super::pointer::Editing;
use super::{AnnotateCommand, SlideAnnotations, details, draw, pointer, tools};
use crate::annotation::{Class, Place, geojson, measure};
use crate::slide::Mpp;
use crate::viewer::tile_cache::SlideKey;
use crate::window::command::CommandSender;
use crate::window::read::ReadCommand;
use crate::window::state::{AppState, Mark};
use crate::window::theme;
use crate::window::viewer_panel::PaneFrame;
use crate::window::widgets::{caption, hairline, tick_box, title, warning};

/// Points.
const ROW: f32 = 24.0;
const LIST: f32 = 240.0;

/// What is being drawn and typed, and what is kept from frame to frame.
#[derive(Default)]
pub(in crate::window) struct AnnotatePanel {
    pub(super) drawing: Option<Drawing>,
    pub(super) editing: Option<Editing>,
    /// The last length, area or angle, until the next one begins.
    pub(super) measured: Option<(SlideKey, Mark, Vec<Place>)>,
    /// How many wishes of each kind were carried out.
    pub(super) finishes: u64,
    pub(super) steps_back: u64,
    pub(super) prepare_nanos: Arc<AtomicU64>,
    details: Details,
    new_class: String,
    /// A class whose colour is being chosen.
    recoloured: Option<Class>,
    path: String,
}

pub(super) fn send(commands: &CommandSender, wish: AnnotateCommand) {
    commands.read(ReadCommand::Annotate(wish));
}

impl AnnotatePanel {
    /// The right side's part.
    pub(in crate::window) fn ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        let slide = state.shown_slide().and_then(|slide| Some((slide.key, slide.info()?.mpp)));
        let Some((key, mpp)) = slide else {
            caption(ui, "Open a slide to draw and measure on it.");
            return;
        };
        let Some(annotations) = state.read.annotate.of(key) else { return };
        ScrollArea::vertical().id_salt("annotations side").auto_shrink([false, false]).show(ui, |ui| {
            news_ui(ui, state, annotations, commands);
            self.classes_ui(ui, state, annotations, commands);
            hairline(ui);
            list_ui(ui, state, annotations, mpp, commands);
            if let Some((place, annotation)) = annotations.selected() {
                hairline(ui);
                details::ui(&mut self.details, ui, state, place, annotation, mpp, commands);
            }
            hairline(ui);
            looks_ui(ui, state, mpp, commands);
            hairline(ui);
            self.files_ui(ui, annotations, commands);
        });
    }

    /// The strip of drawing and measuring tools, left of the slide; draws nothing when there is none.
    #[expect(clippy::unused_self, reason = "as the other parts of the panel are called")]
    pub(in crate::window) fn tools_ui(&mut self, ui: &mut Ui, state: &AppState, commands: &CommandSender) {
        tools::ui(ui, state, commands);
    }

    /// Over the tiles: annotations, what is being drawn, measurements, the grid.
    pub(in crate::window) fn draw(&mut self, ui: &Ui, frame: &PaneFrame<'_>) {
        draw::ui(self, ui, frame);
    }

    /// The pointer while one of the tools of [`Mark`] is chosen, or an annotation is edited; true when it is busy with an annotation, so
    /// that nothing else happens.
    pub(in crate::window) fn pointer(&mut self, ui: &Ui, frame: &PaneFrame<'_>, response: &Response) -> bool {
        pointer::ui(self, ui, frame, response)
    }

    fn classes_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        annotations: &SlideAnnotations,
        commands: &CommandSender,
    ) {
        let annotate = &state.read.annotate;
        title(ui, "Classes");
        ui.horizontal(|ui| {
            let label = caption(ui, "Draw as");
            let used = annotate.class.as_ref().map_or("No class", |class| class.name.as_str());
            let chosen = ComboBox::from_id_salt("class of new ones").selected_text(used).show_ui(ui, |ui| {
                if ui.selectable_label(annotate.class.is_none(), "No class").clicked() {
                    send(commands, AnnotateCommand::UseClass(None));
                }
                for (name, rgb) in &annotate.classes {
                    let is_used = annotate.class.as_ref().is_some_and(|class| class.name == *name);
                    if ui.selectable_label(is_used, name.as_str()).clicked() {
                        let class = Class { name: name.clone(), rgb: *rgb };
                        send(commands, AnnotateCommand::UseClass(Some(class)));
                    }
                }
            });
            chosen.response.labelled_by(label.id);
        });
        for (name, rgb) in &annotate.classes {
            self.class_ui(ui, state, annotations, name, *rgb, commands);
        }
        let without = annotations.set.counts().get(&None).copied().unwrap_or(0);
        if without > 0 {
            shown_ui(ui, state, None, &format!("No class ({without})"), commands);
        }
        ui.horizontal(|ui| {
            let field = TextEdit::singleline(&mut self.new_class).hint_text("New class").desired_width(160.0);
            ui.add(field).accessible_name("New class");
            let name = self.new_class.trim();
            let is_new = !name.is_empty() && !annotate.classes.contains_key(name);
            if ui.add_enabled(is_new, Button::new("Add class")).clicked() {
                let class = Class { name: name.to_owned(), rgb: geojson::rgb_of_name(name) };
                send(commands, AnnotateCommand::SaveClass(class.clone()));
                send(commands, AnnotateCommand::UseClass(Some(class)));
                self.new_class.clear();
            }
        });
    }

    fn class_ui(
        &mut self,
        ui: &mut Ui,
        state: &AppState,
        annotations: &SlideAnnotations,
        name: &str,
        rgb: [u8; 3],
        commands: &CommandSender,
    ) {
        let of_class = annotations
            .set
            .counts()
            .iter()
            .filter(|(class, _)| class.as_ref().is_some_and(|class| class.name == name));
        let count: usize = of_class.map(|(_, count)| *count).sum();
        ui.horizontal(|ui| {
            let being_chosen = self.recoloured.as_ref().filter(|class| class.name == name);
            let mut colour = being_chosen.map_or(rgb, |class| class.rgb);
            let button = ui.color_edit_button_srgb(&mut colour);
            if button.accessible_name(format!("Colour of {name}")).changed() {
                self.recoloured = Some(Class { name: name.to_owned(), rgb: colour });
            }
            // Once the choice is made: while it goes on, every step would be saved.
            let is_choosing = ui.input(|input| input.pointer.any_down());
            if !is_choosing
                && let Some(class) = self.recoloured.take_if(|class| class.name == name)
                && class.rgb != rgb
            {
                send(commands, AnnotateCommand::SaveClass(class));
            }
            shown_ui(ui, state, Some(name.to_owned()), &format!("{name} ({count})"), commands);
        });
    }

    fn files_ui(&mut self, ui: &mut Ui, annotations: &SlideAnnotations, commands: &CommandSender) {
        title(ui, "Files");
        ui.horizontal(|ui| {
            let is_free = !annotations.is_busy;
            if ui.add_enabled(is_free, Button::new("Import…")).clicked() {
                send(commands, AnnotateCommand::PickImport);
            }
            let has_some = !annotations.set.is_empty();
            if ui.add_enabled(is_free && has_some, Button::new("Export…")).clicked() {
                send(commands, AnnotateCommand::PickExport);
            }
        });
        ui.horizontal(|ui| {
            let field = TextEdit::singleline(&mut self.path).hint_text("or a path").desired_width(200.0);
            ui.add(field).accessible_name("Path of annotations");
            let path = PathBuf::from(self.path.trim());
            let is_named = !self.path.trim().is_empty();
            if ui
                .add_enabled(is_named, Button::new("Import path"))
                .on_hover_text("Import from this path")
                .clicked()
            {
                send(commands, AnnotateCommand::Import(path.clone()));
            }
            if ui
                .add_enabled(is_named, Button::new("Export path"))
                .on_hover_text("Export to this path")
                .clicked()
            {
                send(commands, AnnotateCommand::Export(path));
            }
        });
        caption(ui, "QuPath GeoJSON (also .gz) in and out, ASAP XML in.");
    }
}

/// What an import came to, and what must be known about saving.
fn news_ui(ui: &mut Ui, state: &AppState, annotations: &SlideAnnotations, commands: &CommandSender) {
    if let Some(sentence) = &annotations.not_kept {
        warning(ui, sentence);
    } else if state.read.places.store.is_none() {
        caption(ui, "Nothing is saved here: export what you want to keep.");
    }
    if annotations.is_busy {
        ui.horizontal(|ui| {
            ui.spinner();
            caption(ui, "Reading annotations");
        });
    }
    if let Some(news) = &state.read.annotate.news {
        ui.horizontal_wrapped(|ui| {
            caption(ui, news);
            if ui.small_button("Dismiss").clicked() {
                send(commands, AnnotateCommand::DismissNews);
            }
        });
    }
}

/// Whether annotations of a class are drawn.
fn shown_ui(ui: &mut Ui, state: &AppState, class: Option<String>, words: &str, commands: &CommandSender) {
    let mut is_shown = !state.read.annotate.look.hidden.contains(&class);
    if ui.add(tick_box(&mut is_shown, words)).on_hover_text("Draw annotations of this class").changed() {
        send(commands, AnnotateCommand::ShowClass(class, is_shown));
    }
}

fn list_ui(
    ui: &mut Ui,
    state: &AppState,
    annotations: &SlideAnnotations,
    mpp: Option<Mpp>,
    commands: &CommandSender,
) {
    let count = annotations.set.len();
    title(ui, "List");
    if count == 0 {
        caption(ui, "Choose a tool on the left and draw on the slide.");
        return;
    }
    let mut search = state.read.annotate.look.search.clone();
    let field = TextEdit::singleline(&mut search)
        .hint_text("Search names, classes, notes")
        .desired_width(f32::INFINITY);
    if ui.add(field).accessible_name("Search annotations").changed() {
        send(commands, AnnotateCommand::Search(search));
    }
    let rows = &annotations.rows;
    caption(ui, format!("{} of {count}", rows.len()));
    let scroll =
        ScrollArea::vertical().id_salt("list of annotations").max_height(LIST).auto_shrink([false, true]);
    scroll.show_rows(ui, ROW, rows.len(), |ui, range| {
        for place in rows.get(range).unwrap_or_default() {
            // The rows may be a moment behind the set.
            let Some(annotation) = annotations.set.get(*place) else { continue };
            let is_selected = annotations.selected == Some(*place);
            let [r, g, b] = annotation.shown_rgb();
            let words = format!("{}, {}", annotation.title(), measure::in_words(annotation, mpp));
            ui.horizontal(|ui| {
                ui.label(RichText::new("■").color(theme::slide_background([r, g, b])));
                let size = vec2(ui.available_width(), ROW);
                // With nothing at the right, the words stand at the left.
                let row = Button::selectable(is_selected, words).right_text("").truncate().min_size(size);
                if ui.add(row).clicked() {
                    send(commands, AnnotateCommand::LookAt(*place));
                }
            });
        }
    });
}

/// How annotations and the grid are drawn.
fn looks_ui(ui: &mut Ui, state: &AppState, mpp: Option<Mpp>, commands: &CommandSender) {
    let annotate = &state.read.annotate;
    title(ui, "Shown");
    let mut is_shown = annotate.is_shown;
    if ui.add(tick_box(&mut is_shown, "Draw annotations")).changed() {
        send(commands, AnnotateCommand::ToggleShown);
    }
    let mut fill = annotate.fill;
    if ui.add(Slider::new(&mut fill, 0..=100).suffix(" %").text("fill")).changed() {
        send(commands, AnnotateCommand::Fill(fill));
    }
    let mut is_grid_shown = annotate.is_grid_shown;
    if ui.add(tick_box(&mut is_grid_shown, "Draw grid")).changed() {
        send(commands, AnnotateCommand::ToggleGrid);
    }
    let mut grid_um = state.settings.read.grid_um;
    let slider = Slider::new(&mut grid_um, 10..=5000).logarithmic(true).suffix(" µm").text("grid");
    if ui.add_enabled(mpp.is_some(), slider).changed() {
        send(commands, AnnotateCommand::Grid(grid_um));
    }
    if mpp.is_none() {
        caption(ui, "This slide has no scale: lengths are in pixels, and there is no grid.");
    }
}
