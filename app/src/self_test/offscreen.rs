//! The window without a window: the application's own frames, drawn by wgpu into a texture that nobody sees.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use eframe::egui_wgpu::{self, RenderState, ScreenDescriptor, WgpuConfiguration, WgpuSetup, wgpu};
use egui::{Rect, Vec2};

use crate::window::frame_times::FrameTime;
use crate::window::state::SlideStatus;
use crate::window::{App, Parts};

/// The pace of a usual screen.
const PACE: Duration = Duration::from_micros(16_667);
/// A wait for the picture ends with an error.
const LONGEST_DRAWING: Duration = Duration::from_secs(10);
/// A slide or a field that takes longer ends the test.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The application and what it is drawn with.
pub(super) struct Offscreen {
    ctx: egui::Context,
    render_state: RenderState,
    target: wgpu::Texture,
    size: Vec2,
    started: Instant,
    next_frame: Instant,
    frames: Vec<FrameTime>,
    drawing: Vec<Duration>,
    /// Without it, frames are laid out and tiles handed to the GPU, but nothing is rasterised: software that stands in for a graphics
    /// card takes the processors away from the decoders.
    pub is_rasterising: bool,
    pub app: App,
}

impl Offscreen {
    /// A window of `size` points, one pixel each.
    pub(super) fn new(parts: Parts, size: Vec2) -> anyhow::Result<Self> {
        let config =
            WgpuConfiguration { wgpu_setup: WgpuSetup::without_display_handle(), ..Default::default() };
        let instance = pollster::block_on(config.wgpu_setup.new_instance());
        let options = egui_wgpu::RendererOptions::default();
        let render_state = pollster::block_on(RenderState::create(&config, &instance, None, options))
            .context("no graphics device can be used")?;
        let target = target(&render_state, size);
        let ctx = egui::Context::default();
        let app = App::new(&ctx, Some(&render_state), parts);
        let now = Instant::now();
        Ok(Self {
            ctx,
            render_state,
            target,
            size,
            started: now,
            next_frame: now,
            frames: Vec::new(),
            drawing: Vec::new(),
            is_rasterising: true,
            app,
        })
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

    /// How long the pictures took that were rasterised.
    pub(super) fn drawing(&self) -> &[Duration] {
        &self.drawing
    }

    /// Makes the window as large as it must be for the slide to be shown on `view` points.
    pub(super) fn give_the_slide(&mut self, view: Vec2) -> anyhow::Result<()> {
        // Panels may take another part of a larger window.
        for _ in 0..3 {
            self.frame()?;
            let viewer = self.app.state().viewer.context("no slide is in view")?;
            let lacking = view - viewer.size();
            if lacking.length() < 0.5 {
                return Ok(());
            }
            self.size = (self.size + lacking).round();
            self.target = target(&self.render_state, self.size);
        }
        self.frame()?;
        let viewer = self.app.state().viewer.context("no slide is in view")?.size();
        if (viewer - view).length() > 2.0 {
            bail!(
                "the slide is shown on {} × {} points instead of {} × {}",
                viewer.x,
                viewer.y,
                view.x,
                view.y
            );
        }
        Ok(())
    }

    /// Frames until `done`.
    pub(super) fn until(&mut self, what: &str, done: impl Fn(&App) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            self.frame()?;
            if done(&self.app) {
                return Ok(());
            }
            if let Some(SlideStatus::Failed { sentence }) = self.app.state().shown_slide().map(|s| &s.status)
            {
                bail!("{sentence}");
            }
            if begun.elapsed() > LONGEST_WAIT {
                bail!("waited {} s for {what}", LONGEST_WAIT.as_secs());
            }
        }
    }

    /// Until the screen could take the next frame: a window at rest answers at once.
    pub(super) fn rest(&self) {
        std::thread::sleep(self.next_frame.saturating_duration_since(Instant::now()));
    }

    /// One frame at the pace of a screen: waits for its turn, lays out, draws and waits until it is drawn.
    pub(super) fn frame(&mut self) -> anyhow::Result<()> {
        self.rest();
        self.next_frame = Instant::now() + PACE;
        let input = egui::RawInput {
            screen_rect: Some(Rect::from_min_size(egui::Pos2::ZERO, self.size)),
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
            size_in_pixels: [self.size.x as u32, self.size.y as u32],
            pixels_per_point: output.pixels_per_point,
        };
        let drawing = self.draw(&primitives, &screen, output.textures_delta)?;
        if self.is_rasterising {
            self.drawing.push(drawing);
        }
        Ok(())
    }

    /// The time from handing the frame over until it is drawn.
    fn draw(
        &self,
        primitives: &[egui::ClippedPrimitive],
        screen: &ScreenDescriptor,
        mut textures: egui::TexturesDelta,
    ) -> anyhow::Result<Duration> {
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
        if self.is_rasterising {
            self.rasterise(&renderer, &mut encoder, primitives, screen);
        }
        let handed_over = Instant::now();
        queue.submit(before.into_iter().chain([encoder.finish()]));
        #[expect(clippy::iter_over_hash_type, reason = "each texture is freed on its own")]
        for id in textures.free.drain() {
            renderer.free_texture(&id);
        }
        device
            .poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(LONGEST_DRAWING) })
            .context("the graphics device does not answer")?;
        Ok(handed_over.elapsed())
    }

    fn rasterise(
        &self,
        renderer: &egui_wgpu::Renderer,
        encoder: &mut wgpu::CommandEncoder,
        primitives: &[egui::ClippedPrimitive],
        screen: &ScreenDescriptor,
    ) {
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
    }
}

fn target(render_state: &RenderState, size: Vec2) -> wgpu::Texture {
    render_state.device.create_texture(&wgpu::TextureDescriptor {
        label: Some("window"),
        size: wgpu::Extent3d { width: size.x as u32, height: size.y as u32, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: render_state.target_format,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
        view_formats: &[],
    })
}
