//! The selected annotation: name, class, colour, notes, lock, and what can be measured of it.

use std::sync::Arc;

use egui::{Button, ComboBox, TextEdit, Ui};

use super::AnnotateCommand;
use super::panel::send;
use crate::annotation::{Annotation, Class, Geometry, edit, measure};
use crate::slide::Mpp;
use crate::window::command::CommandSender;
use crate::window::state::AppState;
use crate::window::widgets::{caption, tick_box, title};

/// What is being typed about an annotation, until the field is left.
#[derive(Default)]
pub(super) struct Details {
    /// Its place in the set, its id, and the texts as they were when typing began.
    of: Option<(u64, String)>,
    name: String,
    notes: String,
    is_typing: bool,
}

/// Draws it.
pub(super) fn ui(
    details: &mut Details,
    ui: &mut Ui,
    state: &AppState,
    place: u64,
    annotation: &Arc<Annotation>,
    mpp: Option<Mpp>,
    commands: &CommandSender,
) {
    let of = Some((place, annotation.id.clone()));
    if details.of != of || !details.is_typing {
        let name = annotation.name.clone().unwrap_or_default();
        *details = Details { of, name, notes: annotation.notes.clone(), is_typing: false };
    }
    let replace = |changed: Annotation| send(commands, AnnotateCommand::Replace(place, Box::new(changed)));
    title(ui, "Selected");
    caption(ui, in_words(annotation, mpp));
    if annotation.is_locked {
        caption(ui, "Locked: unlock it to change its shape or to delete it.");
    }
    let name = ui.add(TextEdit::singleline(&mut details.name).hint_text("Name")).accessible_name("Name");
    let notes = TextEdit::multiline(&mut details.notes).hint_text("Notes").desired_rows(2);
    let notes = ui.add(notes.desired_width(f32::INFINITY)).accessible_name("Notes");
    details.is_typing = name.has_focus() || notes.has_focus();
    if name.lost_focus() || notes.lost_focus() {
        let typed = Some(details.name.trim().to_owned()).filter(|name| !name.is_empty());
        if typed != annotation.name || details.notes != annotation.notes {
            let notes = details.notes.clone();
            replace(Annotation { name: typed, notes, ..(**annotation).clone() });
        }
    }
    ui.horizontal(|ui| {
        let label = caption(ui, "Class");
        let used = annotation.class.as_ref().map_or("No class", |class| class.name.as_str());
        let chosen =
            ComboBox::from_id_salt("class of the selected one").selected_text(used).show_ui(ui, |ui| {
                if ui.selectable_label(annotation.class.is_none(), "No class").clicked() {
                    replace(edit::with_class(annotation, None));
                }
                for (name, rgb) in &state.read.annotate.classes {
                    let is_used = annotation.class.as_ref().is_some_and(|class| class.name == *name);
                    if ui.selectable_label(is_used, name.as_str()).clicked() {
                        let class = Arc::new(Class { name: name.clone(), rgb: *rgb });
                        replace(edit::with_class(annotation, Some(class)));
                    }
                }
            });
        chosen.response.labelled_by(label.id);
    });
    ui.horizontal(|ui| {
        let mut is_locked = annotation.is_locked;
        if ui.add(tick_box(&mut is_locked, "Locked")).changed() {
            replace(Annotation { is_locked, ..(**annotation).clone() });
        }
        if annotation.rgb.is_some() && ui.button("Colour of its class").clicked() {
            replace(Annotation { rgb: None, ..(**annotation).clone() });
        }
        if ui.add_enabled(!annotation.is_locked, Button::new("Delete")).clicked() {
            send(commands, AnnotateCommand::Remove(place));
        }
    });
    if !annotation.measurements.is_empty() {
        ui.collapsing(format!("{} measurements", annotation.measurements.len()), |ui| {
            for (name, value) in &annotation.measurements {
                caption(ui, format!("{name}: {value}"));
            }
        });
    }
}

/// Area and outline, or length, or the number of points.
fn in_words(annotation: &Annotation, mpp: Option<Mpp>) -> String {
    let words = measure::in_words(annotation, mpp);
    let Geometry::Polygons(polygons) = &annotation.geometry else { return words };
    let outer = polygons.iter().filter_map(|polygon| polygon.rings.first());
    let mut outlines = outer.map(|ring| ring.iter().chain(ring.first()).copied().collect::<Vec<_>>());
    match (outlines.next(), polygons.len()) {
        (Some(outline), 1) => format!("{words}, around {}", measure::length_in_words(&outline, mpp)),
        (_, parts) => format!("{words} in {parts} parts"),
    }
}
