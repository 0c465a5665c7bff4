//! Draws slide tiles with one wgpu pipeline from texture arrays, inside egui's own render pass.
//!
//! After re_renderer's split: [`TileRenderer`] is made once and holds what does not change, [`TileDrawData`] is one frame's
//! picture. Uploads wait in a queue shared with the frames and are carried out in `prepare`: a frame that egui lays out but never
//! renders must not lose them. Which tile lies in which slot is the business of `tile_cache.rs`.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use eframe::egui_wgpu::{self, CallbackResources, RenderState, ScreenDescriptor, wgpu};
use egui::{PaintCallback, PaintCallbackInfo, Rect};

use super::tile_cache::{TileDraw, Upload};
use super::tile_pixels::MIP_COUNT;
use super::viewport::SlideRect;
use crate::slide::TILE_PX;

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
    instances: wgpu::Buffer,
    /// Instances of each page in the buffer, for the frame that is being drawn.
    ranges: Vec<(usize, Range<u32>)>,
}

struct Page {
    texture: wgpu::Texture,
    bind_group: wgpu::BindGroup,
}

impl TileRenderer {
    /// Puts a renderer into egui's resources, where the frames find it.
    pub fn install(state: &RenderState) {
        let renderer = Self::new(&state.device, state.target_format);
        state.renderer.write().callback_resources.insert(renderer);
    }

    fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let shader = device.create_shader_module(wgpu::include_wgsl!("tiles.wgsl"));
        let layout = bind_group_layout(device);
        let pipeline = pipeline(device, &shader, &layout, format);
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            label: Some("tile sampler"),
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            mipmap_filter: wgpu::MipmapFilterMode::Linear,
            ..Default::default()
        });
        Self {
            pipeline,
            layout,
            sampler,
            pages: Vec::new(),
            instances: instance_buffer(device, 64),
            ranges: Vec::new(),
        }
    }

    fn upload(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, upload: &Upload) {
        let page = (upload.slot / LAYERS_PER_PAGE) as usize;
        while self.pages.len() <= page {
            let added = self.new_page(device);
            self.pages.push(added);
        }
        for (mip, pixels) in upload.pixels.mips.iter().enumerate() {
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

    /// Writes the instances, page by page: one draw call a page.
    fn write_instances(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, data: &TileDrawData) {
        self.ranges.clear();
        let mut bytes = Vec::with_capacity(data.draws.len() * gpu_data::FLOATS * 4);
        let mut count = 0;
        for page in 0..self.pages.len() {
            let start = count;
            for draw in data.draws.iter().filter(|draw| (draw.slot / LAYERS_PER_PAGE) as usize == page) {
                let rect = data.fractions(&draw.rect);
                let layer = (draw.slot % LAYERS_PER_PAGE) as f32;
                let floats = rect.into_iter().chain(draw.uv).chain([layer]);
                bytes.extend(floats.flat_map(f32::to_ne_bytes));
                count += 1;
            }
            if count > start {
                self.ranges.push((page, start..count));
            }
        }
        if (bytes.len() as u64) > self.instances.size() {
            self.instances = instance_buffer(device, u64::from(count).next_power_of_two());
        }
        queue.write_buffer(&self.instances, 0, &bytes);
    }
}

fn instance_buffer(device: &wgpu::Device, count: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("tile instances"),
        size: count * gpu_data::STRIDE,
        usage: wgpu::BufferUsages::VERTEX | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
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
    layout: &wgpu::BindGroupLayout,
    format: wgpu::TextureFormat,
) -> wgpu::RenderPipeline {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("tiles"),
        bind_group_layouts: &[Some(layout)],
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

/// One frame's tiles.
pub struct TileDrawData {
    /// What the viewer's rectangle shows of the slide's plane.
    pub view: SlideRect,
    pub draws: Vec<TileDraw>,
    pub uploads: UploadQueue,
    /// Nanoseconds of the window thread that the last `prepare` took, for the frame timer.
    pub prepare_nanos: Arc<AtomicU64>,
}

impl TileDrawData {
    /// The shape that draws it inside `screen`.
    pub fn into_shape(self, screen: Rect) -> PaintCallback {
        egui_wgpu::Callback::new_paint_callback(screen, self)
    }

    fn fractions(&self, rect: &SlideRect) -> [f32; 4] {
        let x = |x: f64| ((x - self.view.x0) / self.view.width()) as f32;
        let y = |y: f64| ((y - self.view.y0) / self.view.height()) as f32;
        [x(rect.x0), y(rect.y0), x(rect.x1), y(rect.y1)]
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
        let started = Instant::now();
        if let Some(renderer) = resources.get_mut::<TileRenderer>() {
            let uploads: Vec<Upload> =
                self.uploads.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
            for upload in &uploads {
                renderer.upload(device, queue, upload);
            }
            renderer.write_instances(device, queue, self);
        }
        self.prepare_nanos.store(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Vec::new()
    }

    fn paint(
        &self,
        _info: PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        let Some(renderer) = resources.get::<TileRenderer>() else { return };
        pass.set_pipeline(&renderer.pipeline);
        pass.set_vertex_buffer(0, renderer.instances.slice(..));
        for (page, instances) in &renderer.ranges {
            pass.set_bind_group(0, &renderer.pages[*page].bind_group, &[]);
            pass.draw(0..VERTICES, instances.clone());
        }
    }
}
