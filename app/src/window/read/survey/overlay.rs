//! What lies over the tiles: the tissue mask, and patches that are planned.

use egui::epaint::Vertex;
use egui::{Color32, Mesh, Shape, Stroke, Ui, pos2};

use super::super::super::theme;
use super::super::super::viewer_panel::PaneFrame;
use crate::viewer::overlay::rect_of;
use crate::viewer::viewport::SlideRect;

/// Draws both into a pane.
pub(super) fn draw(ui: &Ui, frame: &PaneFrame<'_>) {
    let survey = &frame.state.read.survey;
    let painter = ui.painter_at(frame.screen);
    if survey.is_mask_shown
        && let Some(view) = survey.view(frame.slide.key)
    {
        let (columns, rows) = (f64::from(view.mask.columns), f64::from(view.mask.rows));
        let whole = SlideRect::of_size(columns * view.mask.cell, rows * view.mask.cell);
        let corners = frame.viewport.screen_quad(frame.screen, whole);
        let uvs = [pos2(0.0, 0.0), pos2(1.0, 0.0), pos2(1.0, 1.0), pos2(0.0, 1.0)];
        let mut mesh = Mesh::with_texture(view.picture.texture.id());
        let vertices = corners.into_iter().zip(uvs);
        mesh.vertices.extend(vertices.map(|(pos, uv)| Vertex { pos, uv, color: Color32::WHITE }));
        mesh.add_triangle(0, 1, 2);
        mesh.add_triangle(0, 2, 3);
        painter.add(Shape::mesh(mesh));
    }
    let plan = survey.plan.as_ref().filter(|plan| plan.key == frame.slide.key);
    let planned = plan.and_then(|plan| plan.regions.as_ref()).into_iter().flatten();
    for region in planned {
        let corners = frame.viewport.screen_quad(frame.screen, rect_of(region)).to_vec();
        let casing = Stroke::new(3.0, theme::MARK_CASING);
        painter.add(Shape::closed_line(corners.clone(), casing));
        painter.add(Shape::closed_line(corners, Stroke::new(1.0, theme::MARK_SELECTED)));
    }
}
