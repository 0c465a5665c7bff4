//! The strip of drawing and measuring tools, left of the slide.

use egui::{Button, Frame, Margin, Panel, ScrollArea, Ui, vec2};

use crate::window::command::{Command, CommandSender, keys_of};
use crate::window::read::Side;
use crate::window::state::{AppState, Mark, Mode, Tool};
use crate::window::theme;
use crate::window::widgets::hairline;

/// Points.
const WIDTH: f32 = 92.0;

/// What a tool's button says, what its tip says, and the name of its command.
const TOOLS: [&[(Mark, &str, &str, &str)]; 3] = [
    &[
        (Mark::Rectangle, "Rectangle", "Drag from corner to corner; Shift keeps it square", "Draw rectangle"),
        (Mark::Ellipse, "Ellipse", "Drag from corner to corner; Shift makes a circle", "Draw ellipse"),
        (Mark::Polygon, "Polygon", "Click each corner; Enter or a double click closes it", "Draw polygon"),
        (Mark::Freehand, "Freehand", "Drag around an area", "Draw freehand"),
        (Mark::Line, "Line", "Drag, or click each place; Enter or a double click ends it", "Draw line"),
        (Mark::Point, "Point", "Click a place", "Draw point"),
    ],
    &[
        (Mark::Ruler, "Ruler", "Measure a length; nothing is kept of it", "Measure length"),
        (Mark::Area, "Area", "Measure an area; nothing is kept of it", "Measure area"),
        (Mark::Angle, "Angle", "Click three places", "Measure angle"),
    ],
    &[
        (Mark::Field, "Field", "Place the ring of a field of 0.24 mm² (553 µm across)", "Field of 0.24 mm²"),
        (Mark::Square, "Square", "Place a square of 1 mm²", "Square of 1 mm²"),
        (Mark::Counter, "Count", "Each click counts one, inside the ring or square placed last", "Count"),
    ],
];

/// Draws it while annotations are worked on.
pub(super) fn ui(ui: &mut Ui, state: &AppState, commands: &CommandSender) {
    let is_open = state.shown_slide().is_some_and(|slide| slide.info().is_some());
    let is_wanted = state.read.side == Side::Annotations || matches!(state.tool, Tool::Mark(_));
    if state.mode != Mode::Read || !is_open || !is_wanted {
        return;
    }
    let frame = Frame::new().fill(theme::of(ui).panel).inner_margin(Margin::symmetric(4, 8));
    Panel::left("tools").exact_size(WIDTH).resizable(false).frame(frame).show(ui, |ui| {
        ScrollArea::vertical().id_salt("tools").show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for (n, group) in TOOLS.into_iter().enumerate() {
                if n > 0 {
                    ui.add_space(4.0);
                    hairline(ui);
                }
                for (mark, name, tip, key) in group {
                    let tool = Tool::Mark(*mark);
                    let button =
                        Button::selectable(state.tool == tool, *name).min_size(vec2(WIDTH - 12.0, 24.0));
                    let keys = keys_of(ui.ctx(), key);
                    if ui.add(button).on_hover_text(format!("{tip} ({keys})")).clicked() {
                        // Pressing it again puts the tool away.
                        let next = if state.tool == tool { Tool::Pan } else { tool };
                        commands.send(Command::Tool(next));
                    }
                }
            }
        });
    });
}
