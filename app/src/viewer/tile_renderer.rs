//! Draws slide tiles with one wgpu pipeline from texture arrays, inside egui's own render pass.
//!
//! After re_renderer's split: [`TileRenderer`] is made once and holds what does not change, [`TileDrawData`] is one frame's
//! picture of one pane. Uploads wait in a queue shared with the frames and are carried out in `prepare`: a frame that egui lays out but
//! never renders must not lose them. Which tile lies in which slot is the business of `tile_cache.rs`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui_wgpu::{self, CallbackResources, RenderState, ScreenDescriptor, wgpu};
use egui::{PaintCallback, PaintCallbackInfo, Rect};

use super::colour::ColourLook;
use super::colour::shader_data::{look_floats, turn_floats, upright_points};
use super::shape_renderer::ShapeRenderer;
use super::tile_cache::{TileDraw, Upload};
use super::tile_pixels::MIP_COUNT;
use super::viewport::Viewport;
use crate::slide::TILE_PX;

pub(super) mod frame_clock;
mod panes;

use frame_clock::FrameClock;
use panes::Panes;

/// Layers of one texture array: 21 MiB, so that memory grows in small portions.
const LAYERS_PER_PAGE: u32 = 64;
const VERTICES: u32 = 6;

/// What the vertex shader reads; mirrors `Instance` in `tiles.wgsl`.
mod gpu_data {
    use eframe::egui_wgpu::wgpu;

    /// rect, uv, layer
    pub(super) const FLOATS: usize = 9;
    pub(super) const STRIDE: u64 = (FLOATS * size_of::<f32>()) as u64;
    pub(super) const ATTRIBUTES: [wgpu::VertexAttribute; 3] =
        wgpu::vertex_attr_array![0 => Float32x4, 1 => Float32x4, 2 => Float32];
}

/// Uploads that no rendered frame has carried out yet, in order.
pub type UploadQueue = Arc<Mutex<VecDeque<Upload>>>;

/// The pipeline and the textures; lives in egui's callback resources.
pub struct TileRenderer {
    pipeline: wgpu::RenderPipeline,
    layout: wgpu::BindGroupLayout,
    sampler: wgpu::Sampler,
    pages: Vec<Page>,
    panes: Panes,
}

struct Page {
    texture: wgpu::Texture,
    bind_group: wgpu::BindGroup,
}

impl TileRenderer {
    /// Puts the renderers of tiles and of annotations into egui's resources, where the frames find them.
    pub fn install(state: &RenderState) {
        let tiles = Self::new(&state.device, state.target_format);
        let shapes = ShapeRenderer::new(&state.device, state.target_format);
        let mut renderer = state.renderer.write();
        let resources = &mut renderer.callback_resources;
        resources.insert(tiles);
        resources.insert(shapes);
        resources.insert(FrameClock::default());
    }

    fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let shader = device.create_shader_module(wgpu::include_wgsl!("tiles.wgsl"));
        let layout = bind_group_layout(device);
        let panes = Panes::new(device);
        let pipeline = pipeline(device, &shader, [&layout, panes.layout()], format);
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            label: Some("tile sampler"),
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            mipmap_filter: wgpu::MipmapFilterMode::Linear,
            ..Default::default()
        });
        Self { pipeline, layout, sampler, pages: Vec::new(), panes }
    }

    fn upload(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, upload: &Upload) {
        let page = (upload.slot / LAYERS_PER_PAGE) as usize;
        while self.pages.len() <= page {
            let added = self.new_page(device);
            self.pages.push(added);
        }
        for (mip, pixels) in upload.pixels.mips().into_iter().enumerate() {
            let side = TILE_PX >> mip;
            queue.write_texture(
                wgpu::TexelCopyTextureInfo {
                    texture: &self.pages[page].texture,
                    mip_level: mip as u32,
                    origin: wgpu::Origin3d { x: 0, y: 0, z: upload.slot % LAYERS_PER_PAGE },
                    aspect: wgpu::TextureAspect::All,
                },
                pixels,
                wgpu::TexelCopyBufferLayout {
                    offset: 0,
                    bytes_per_row: Some(side * 4),
                    rows_per_image: Some(side),
                },
                wgpu::Extent3d { width: side, height: side, depth_or_array_layers: 1 },
            );
        }
    }

    fn new_page(&self, device: &wgpu::Device) -> Page {
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("tile page"),
            size: wgpu::Extent3d { width: TILE_PX, height: TILE_PX, depth_or_array_layers: LAYERS_PER_PAGE },
            mip_level_count: MIP_COUNT,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor {
            label: Some("tile page"),
            dimension: Some(wgpu::TextureViewDimension::D2Array),
            ..Default::default()
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("tile page"),
            layout: &self.layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::Sampler(&self.sampler) },
            ],
        });
        Page { texture, bind_group }
    }

    /// Writes a pane's look and its instances, page by page: one draw call a page.
    fn prepare_pane(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, frame: u64, data: &TileDrawData) {
        let mut floats = Vec::with_capacity(data.draws.len() * gpu_data::FLOATS);
        let mut ranges = Vec::new();
        let mut count = 0;
        for page in 0..self.pages.len() {
            let start = count;
            for draw in data.draws.iter().filter(|draw| (draw.slot / LAYERS_PER_PAGE) as usize == page) {
                let layer = (draw.slot % LAYERS_PER_PAGE) as f32;
                floats.extend(data.upright(draw).into_iter().chain(draw.uv).chain([layer]));
                count += 1;
            }
            if count > start {
                ranges.push((page, start..count));
            }
        }
        let look = look_floats(&data.look, turn_floats(&data.viewport, data.screen));
        let table = data.look.table.as_deref();
        let pane = self.panes.prepare(device, queue, (data.pane, frame), table, &look);
        pane.write(device, queue, &floats, ranges);
    }
}

fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty,
        count: None,
    };
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("tiles"),
        entries: &[
            entry(
                0,
                wgpu::BindingType::Texture {
                    sample_type: wgpu::TextureSampleType::Float { filterable: true },
                    view_dimension: wgpu::TextureViewDimension::D2Array,
                    multisampled: false,
                },
            ),
            entry(1, wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering)),
        ],
    })
}

fn pipeline(
    device: &wgpu::Device,
    shader: &wgpu::ShaderModule,
    layouts: [&wgpu::BindGroupLayout; 2],
    format: wgpu::TextureFormat,
) -> wgpu::RenderPipeline {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("tiles"),
        bind_group_layouts: &layouts.map(Some),
        immediate_size: 0,
    });
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("tiles"),
        layout: Some(&layout),
        vertex: wgpu::VertexState {
            module: shader,
            entry_point: Some("vertex_main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            buffers: &[Some(wgpu::VertexBufferLayout {
                array_stride: gpu_data::STRIDE,
                step_mode: wgpu::VertexStepMode::Instance,
                attributes: &gpu_data::ATTRIBUTES,
            })],
        },
        // Nothing is culled: the rectangles of a mirrored slide show their backs.
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: shader,
            entry_point: Some("fragment_main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            targets: &[Some(format.into())],
        }),
        multiview_mask: None,
        cache: None,
    })
}

/// One frame's tiles of one pane.
pub struct TileDrawData {
    /// The pane's number: each has its own instances.
    pub pane: usize,
    pub viewport: Viewport,
    /// The pane's rectangle, in points.
    pub screen: Rect,
    pub draws: Vec<TileDraw>,
    pub uploads: UploadQueue,
    pub look: ColourLook,
    /// Nanoseconds of the window thread that preparing the last frame took, all panes and annotations together, for the frame timer.
    pub prepare_nanos: Arc<AtomicU64>,
}

impl TileDrawData {
    /// The shape that draws it inside its screen.
    pub fn into_shape(self) -> PaintCallback {
        egui_wgpu::Callback::new_paint_callback(self.screen, self)
    }

    /// Left, top, right, bottom in points from the pane's middle, before the slide is turned.
    fn upright(&self, draw: &TileDraw) -> [f32; 4] {
        let [left, top] = upright_points(&self.viewport, (draw.rect.x0, draw.rect.y0));
        let [right, bottom] = upright_points(&self.viewport, (draw.rect.x1, draw.rect.y1));
        [left, top, right, bottom]
    }
}

impl egui_wgpu::CallbackTrait for TileDrawData {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        FrameClock::timed(resources, |resources, frame| {
            if let Some(shapes) = resources.get_mut::<ShapeRenderer>() {
                // Also where none are drawn any more.
                shapes.tidy(frame);
            }
            if let Some(renderer) = resources.get_mut::<TileRenderer>() {
                let uploads: Vec<Upload> =
                    self.uploads.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
                for upload in &uploads {
                    renderer.upload(device, queue, upload);
                }
                renderer.panes.tidy(frame);
                renderer.prepare_pane(device, queue, frame, self);
            }
        });
        Vec::new()
    }

    fn finish_prepare(
        &self,
        _device: &wgpu::Device,
        _queue: &wgpu::Queue,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        // That of all panes and annotations: the first pane tells it.
        if let Some(spent) = resources.get_mut::<FrameClock>().and_then(FrameClock::finish) {
            self.prepare_nanos.store(spent.as_nanos() as u64, Ordering::Relaxed);
        }
        Vec::new()
    }

    fn paint(
        &self,
        _info: PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        let Some(renderer) = resources.get::<TileRenderer>() else { return };
        let Some(pane) = renderer.panes.get(self.pane) else { return };
        pass.set_pipeline(&renderer.pipeline);
        pass.set_bind_group(1, &pane.bind_group, &[]);
        pass.set_vertex_buffer(0, pane.instances.slice(..));
        for (page, instances) in &pane.ranges {
            pass.set_bind_group(0, &renderer.pages[*page].bind_group, &[]);
            pass.draw(0..VERTICES, instances.clone());
        }
    }
}
