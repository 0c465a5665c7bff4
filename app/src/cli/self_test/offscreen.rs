//! The window without a window: the application's own frames, drawn by wgpu into a texture that nobody sees.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use eframe::egui_wgpu::{self, RenderState, ScreenDescriptor, WgpuConfiguration, WgpuSetup, wgpu};
use egui::{Rect, Vec2, vec2};

use crate::window::frame_times::FrameTime;
use crate::window::{App, Parts};

/// As large as the window opens.
const SIZE: Vec2 = vec2(1440.0, 900.0);
/// The pace of a usual screen.
const PACE: Duration = Duration::from_micros(16_667);
/// A wait for the picture ends with an error.
const LONGEST_DRAWING: Duration = Duration::from_secs(10);

/// The application and what it is drawn with.
pub(super) struct Offscreen {
    ctx: egui::Context,
    render_state: RenderState,
    target: wgpu::Texture,
    started: Instant,
    next_frame: Instant,
    frames: Vec<FrameTime>,
    pub app: App,
}

impl Offscreen {
    pub(super) fn new(parts: Parts) -> anyhow::Result<Self> {
        let config =
            WgpuConfiguration { wgpu_setup: WgpuSetup::without_display_handle(), ..Default::default() };
        let instance = pollster::block_on(config.wgpu_setup.new_instance());
        let options = egui_wgpu::RendererOptions::default();
        let render_state = pollster::block_on(RenderState::create(&config, &instance, None, options))
            .context("no graphics device can be used")?;
        let target = render_state.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("window"),
            size: wgpu::Extent3d { width: SIZE.x as u32, height: SIZE.y as u32, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: render_state.target_format,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
            view_formats: &[],
        });
        let ctx = egui::Context::default();
        let app = App::new(&ctx, Some(&render_state), parts);
        let now = Instant::now();
        Ok(Self { ctx, render_state, target, started: now, next_frame: now, frames: Vec::new(), app })
    }

    /// The graphics device in words.
    pub(super) fn device(&self) -> String {
        let info = self.render_state.adapter.get_info();
        format!("{} ({})", info.name, info.backend)
    }

    /// What every frame so far took: the application itself remembers only the last ones.
    pub(super) fn frames(&self) -> &[FrameTime] {
        &self.frames
    }

    /// One frame at the pace of a screen: waits for its turn, lays out, draws and waits until it is drawn.
    pub(super) fn frame(&mut self) -> anyhow::Result<()> {
        std::thread::sleep(self.next_frame.saturating_duration_since(Instant::now()));
        self.next_frame = Instant::now() + PACE;
        let input = egui::RawInput {
            screen_rect: Some(Rect::from_min_size(egui::Pos2::ZERO, SIZE)),
            time: Some(self.started.elapsed().as_secs_f64()),
            ..Default::default()
        };
        let (app, frames) = (&mut self.app, &mut self.frames);
        let mut output = self.ctx.run_ui(input, |ui| {
            app.advance(&ui.ctx().clone());
            app.draw(ui);
            frames.extend(app.frame_times().last());
        });
        let shapes = std::mem::take(&mut output.shapes);
        let primitives = self.ctx.tessellate(shapes, output.pixels_per_point);
        let screen = ScreenDescriptor {
            size_in_pixels: [SIZE.x as u32, SIZE.y as u32],
            pixels_per_point: output.pixels_per_point,
        };
        self.draw(&primitives, &screen, output.textures_delta)
    }

    fn draw(
        &self,
        primitives: &[egui::ClippedPrimitive],
        screen: &ScreenDescriptor,
        mut textures: egui::TexturesDelta,
    ) -> anyhow::Result<()> {
        let RenderState { device, queue, renderer, .. } = &self.render_state;
        let mut renderer = renderer.write();
        #[expect(clippy::iter_over_hash_type, reason = "each texture is set on its own")]
        for (id, deltas) in textures.set.drain() {
            for delta in deltas {
                renderer.update_texture(device, queue, id, &delta);
            }
        }
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let before = renderer.update_buffers(device, queue, &mut encoder, primitives, screen);
        let view = self.target.create_view(&wgpu::TextureViewDescriptor::default());
        let mut pass = encoder
            .begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("window"),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &view,
                    resolve_target: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                        store: wgpu::StoreOp::Store,
                    },
                    depth_slice: None,
                })],
                ..Default::default()
            })
            .forget_lifetime();
        renderer.render(&mut pass, primitives, screen);
        drop(pass);
        queue.submit(before.into_iter().chain([encoder.finish()]));
        #[expect(clippy::iter_over_hash_type, reason = "each texture is freed on its own")]
        for id in textures.free.drain() {
            renderer.free_texture(&id);
        }
        device
            .poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(LONGEST_DRAWING) })
            .context("the graphics device does not answer")?;
        Ok(())
    }
}
