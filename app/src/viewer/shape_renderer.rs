//! Draws chunks of annotations with wgpu, inside egui's own render pass: triangles that fill them, then lines of a constant width.
//!
//! A chunk's buffers are made when it is first seen, a few megabytes a frame, and given back when it was not seen for long. Where its
//! shapes would be smaller than two pixels, each is drawn as a dot. All is placed relative to the middle of the view, so that single
//! precision is enough on a slide of any size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eframe::egui_wgpu::{self, CallbackResources, ScreenDescriptor, wgpu};
use egui::{PaintCallback, PaintCallbackInfo, Rect};

use super::colour::shader_data::{turn_floats, upright_points};
use super::shape_mesh::ShapeChunk;
use super::tile_renderer::frame_clock::FrameClock;
use super::viewport::{SlideRect, Viewport};

mod buffers;
mod pipelines;

use buffers::{ChunkBuffers, Kind, Uniforms};
use pipelines::Pipelines;

/// Frames after which a chunk that was not seen is given back.
const FRAMES_KEPT: u64 = 600;
/// Shapes that are smaller than this, in physical pixels, are drawn as dots.
const SMALLEST_PX: f64 = 2.0;
/// Shapes that are smaller than this, in physical pixels, have no casing: it would hide the tissue between them.
const SMALLEST_CASED_PX: f64 = 16.0;
/// How much of the casing is seen on each side of a line, in points.
const CASING: f32 = 0.75;

/// What the shaders read; mirrors `Chunk` in `shapes.wgsl`.
pub(super) mod gpu_data {
    /// Three rows of four: turn; origin, scale and opacity; widths.
    pub(in crate::viewer) const FLOATS: usize = 12;
    pub(in crate::viewer) const BYTES: u64 = (FLOATS * size_of::<f32>()) as u64;
    const _: () = assert!(BYTES == 48);
    /// From one chunk's uniform to the next: what every adapter allows.
    pub(in crate::viewer) const STEP: u64 = 256;
}

/// One frame's annotations of one pane.
pub struct ShapeDrawData {
    /// The pane's number.
    pub pane: usize,
    pub viewport: Viewport,
    /// The pane's rectangle, in points.
    pub screen: Rect,
    pub chunks: Vec<Arc<ShapeChunk>>,
    /// How wide lines are, in points.
    pub line_points: f32,
    /// 0: nothing is filled.
    pub fill_opacity: f32,
    /// Nanoseconds of the window thread that preparing this took; it is part of what the tiles' frame timer is told, too.
    pub prepare_nanos: Arc<AtomicU64>,
    /// Asked for another frame while chunks still wait to be handed to the GPU.
    pub ctx: egui::Context,
}

impl ShapeDrawData {
    /// The shape that draws it inside its screen; several a frame are possible, also in one pane.
    pub fn into_shape(self) -> PaintCallback {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
        egui_wgpu::Callback::new_paint_callback(self.screen, ShapeCallback { id, data: self })
    }

    /// What may be seen of the slide, with room for the lines.
    fn seen(&self) -> SlideRect {
        let seen = self.viewport.visible(self.screen);
        let room = f64::from(self.line_points + 2.0 * CASING) * self.viewport.slide_per_point;
        SlideRect { x0: seen.x0 - room, y0: seen.y0 - room, x1: seen.x1 + room, y1: seen.y1 + room }
    }

    /// How a chunk is drawn at this scale.
    fn detail(&self, chunk: &ShapeChunk, pixels_per_point: f32) -> Detail {
        let pixels = chunk.mean_side / self.viewport.slide_per_point * f64::from(pixels_per_point);
        // Points alone have no size at any scale.
        if chunk.mean_side > 0.0 && pixels < SMALLEST_PX {
            return Detail::Dots;
        }
        Detail::Shapes { is_cased: chunk.mean_side == 0.0 || pixels >= SMALLEST_CASED_PX }
    }

    fn uniform(&self, chunk: &ShapeChunk, pixels_per_point: f32) -> [f32; gpu_data::FLOATS] {
        let [a, b, c, d] = turn_floats(&self.viewport, self.screen);
        let [x, y] = upright_points(&self.viewport, chunk.origin);
        let scale = (1.0 / self.viewport.slide_per_point) as f32;
        let half = self.line_points / 2.0;
        let pixel = 1.0 / pixels_per_point.max(0.1);
        [a, b, c, d, x, y, scale, self.fill_opacity.clamp(0.0, 1.0), half, half + CASING, 0.75 * pixel, pixel]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    Dots,
    Shapes { is_cased: bool },
}

impl Detail {
    fn is_shapes(self) -> bool {
        matches!(self, Self::Shapes { .. })
    }
}

/// Whether two rectangles touch; either may have no area, as around a point.
fn touch(a: &SlideRect, b: &SlideRect) -> bool {
    a.x0 <= b.x1 && b.x0 <= a.x1 && a.y0 <= b.y1 && b.y0 <= a.y1
}

/// The pipelines, and the buffers of the chunks that were seen lately; lives in egui's callback resources.
pub(super) struct ShapeRenderer {
    pipelines: Pipelines,
    chunks: BTreeMap<u64, ChunkBuffers>,
    frame: u64,
    /// Bytes of buffers that were made in this frame.
    made: u64,
    /// One for each drawing of a frame, used again in the next.
    uniforms: Vec<Uniforms>,
    /// By the drawing's id, for the frame that is being drawn.
    drawings: BTreeMap<u64, Drawing>,
}

/// What is drawn by one callback.
struct Drawing {
    uniforms: usize,
    /// In the order of their uniforms.
    chunks: Vec<(u64, Detail)>,
    is_filled: bool,
}

impl ShapeRenderer {
    pub(super) fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        Self {
            pipelines: Pipelines::new(device, format),
            chunks: BTreeMap::new(),
            frame: 0,
            made: 0,
            uniforms: Vec::new(),
            drawings: BTreeMap::new(),
        }
    }

    /// Begins a frame, if it is a new one: gives back what was not seen for long.
    pub(super) fn tidy(&mut self, frame: u64) {
        if frame == self.frame {
            return;
        }
        self.frame = frame;
        self.made = 0;
        self.drawings.clear();
        self.chunks.retain(|_, chunk| chunk.last_frame + FRAMES_KEPT >= frame);
    }

    /// Hands to the GPU what it lacks; true when some of it has to wait for the next frame.
    fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pixels_per_point: f32,
        ShapeCallback { id, data }: &ShapeCallback,
    ) -> bool {
        let (mut chunks, mut floats, mut is_waiting) = (Vec::new(), Vec::new(), false);
        let (seen, is_filled) = (data.seen(), data.fill_opacity > 0.0);
        for chunk in data.chunks.iter().filter(|chunk| touch(&chunk.bounds, &seen)) {
            let detail = data.detail(chunk, pixels_per_point);
            let buffers = self.chunks.entry(chunk.id).or_default();
            buffers.last_frame = self.frame;
            let kinds: &[Kind] = match detail {
                Detail::Dots => &[Kind::Places],
                Detail::Shapes { .. } if is_filled => &[Kind::Segments, Kind::Fill],
                Detail::Shapes { .. } => &[Kind::Segments],
            };
            let mut is_there = true;
            for &kind in kinds {
                is_there &= buffers.make(device, chunk, kind, &mut self.made);
            }
            is_waiting |= !is_there;
            chunks.push((chunk.id, detail));
            floats.push(data.uniform(chunk, pixels_per_point));
        }
        let drawing = self.drawings.len();
        let uniforms = self.drawings.get(id).map_or(drawing, |drawing| drawing.uniforms);
        if self.uniforms.len() <= uniforms {
            self.uniforms.push(Uniforms::new(device, &self.pipelines.layout));
        }
        if let Some(uniforms) = self.uniforms.get_mut(uniforms) {
            uniforms.write(device, queue, &self.pipelines.layout, &floats);
        }
        self.drawings.insert(*id, Drawing { uniforms, chunks, is_filled });
        is_waiting
    }

    /// Fills first, then casings, then lines: those of one chunk do not cover those of another.
    fn paint(&self, pass: &mut wgpu::RenderPass<'static>, id: u64) {
        let Some(drawing) = self.drawings.get(&id) else { return };
        let Some(uniforms) = self.uniforms.get(drawing.uniforms) else { return };
        let pipelines = &self.pipelines;
        let mut all = |pipeline: &wgpu::RenderPipeline, kind: Kind, takes: fn(Detail) -> bool| {
            pass.set_pipeline(pipeline);
            for ((chunk, detail), at) in drawing.chunks.iter().zip(0_u32..) {
                let part = self.chunks.get(chunk).and_then(|chunk| chunk.part(kind));
                let Some(part) = part.filter(|_| takes(*detail)) else { continue };
                pass.set_bind_group(0, &uniforms.bind_group, &[at * gpu_data::STEP as u32]);
                part.draw(pass, kind);
            }
        };
        if drawing.is_filled {
            all(&pipelines.fill, Kind::Fill, Detail::is_shapes);
        }
        all(&pipelines.casing, Kind::Segments, |detail| detail == Detail::Shapes { is_cased: true });
        all(&pipelines.line, Kind::Segments, Detail::is_shapes);
        all(&pipelines.place, Kind::Places, |detail| detail == Detail::Dots);
    }
}

/// What egui holds.
struct ShapeCallback {
    id: u64,
    data: ShapeDrawData,
}

impl egui_wgpu::CallbackTrait for ShapeCallback {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        let spent = FrameClock::timed(resources, |resources, frame| {
            let Some(renderer) = resources.get_mut::<ShapeRenderer>() else { return };
            renderer.tidy(frame);
            if renderer.prepare(device, queue, screen.pixels_per_point, self) {
                self.data.ctx.request_repaint();
            }
        });
        if let Some(spent) = spent {
            self.data.prepare_nanos.store(spent.as_nanos() as u64, Ordering::Relaxed);
        }
        Vec::new()
    }

    fn paint(
        &self,
        _info: PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        if let Some(renderer) = resources.get::<ShapeRenderer>() {
            renderer.paint(pass, self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use egui::{pos2, vec2};

    use super::super::shape_mesh::Shape;
    use super::*;

    fn data(slide_per_point: f64) -> ShapeDrawData {
        let screen = Rect::from_min_size(pos2(0.0, 0.0), vec2(800.0, 600.0));
        let mut viewport = Viewport::fitted(20_000, 15_000, screen.size());
        viewport.slide_per_point = slide_per_point;
        ShapeDrawData {
            pane: 0,
            viewport,
            screen,
            chunks: Vec::new(),
            line_points: 1.5,
            fill_opacity: 0.2,
            prepare_nanos: Arc::default(),
            ctx: egui::Context::default(),
        }
    }

    fn chunk(at: (f64, f64), side: f64) -> ShapeChunk {
        let (x, y) = at;
        let rings = [vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]]];
        ShapeChunk::build(&[Shape { rings: &rings, is_closed: true, is_filled: true, rgb: [255, 0, 0] }])
    }

    #[test]
    fn small_shapes_become_dots_and_points_never_do() {
        let nucleus = chunk((0.0, 0.0), 30.0);
        assert_eq!(data(1.0).detail(&nucleus, 1.0), Detail::Shapes { is_cased: true });
        assert_eq!(data(4.0).detail(&nucleus, 1.0), Detail::Shapes { is_cased: false });
        assert_eq!(data(16.0).detail(&nucleus, 1.0), Detail::Dots);
        assert_eq!(data(10.0).detail(&nucleus, 2.0), Detail::Shapes { is_cased: false }, "on a finer screen");
        let rings = [vec![[5.0, 5.0]]];
        let point = Shape { rings: &rings, is_closed: false, is_filled: false, rgb: [0; 3] };
        let point = ShapeChunk::build(&[point]);
        assert_eq!(data(60.0).detail(&point, 1.0), Detail::Shapes { is_cased: true });
    }

    #[test]
    fn chunks_beside_the_view_are_skipped_and_those_that_touch_it_are_not() {
        let view = data(1.0);
        let seen = view.seen();
        assert!(touch(&chunk((10_000.0, 7_500.0), 0.0).bounds, &seen), "a point has no area");
        assert!(touch(&chunk((9_599.0, 7_500.0), 1.0).bounds, &seen), "its line reaches into the view");
        assert!(!touch(&chunk((9_000.0, 7_500.0), 100.0).bounds, &seen));
        assert!(touch(&chunk((0.0, 0.0), 20_000.0).bounds, &seen), "the view lies inside it");
    }

    #[test]
    fn a_chunk_is_placed_from_the_middle_of_the_view_at_any_distance() {
        let mut view = data(1.0 / 16.0);
        view.viewport.centre = (199_990.25, 99_990.0);
        let far = chunk((199_980.0, 99_980.0), 20.0);
        let uniform = view.uniform(&far, 1.0);
        assert_eq!(uniform[4..7], [-4.0, 0.0, 16.0], "a quarter of a pixel, sixteen times");
        assert_eq!(uniform[7], 0.2);
        assert_eq!(uniform[8..], [0.75, 1.5, 0.75, 1.0]);
    }
}
