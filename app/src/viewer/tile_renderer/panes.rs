//! What the GPU keeps for each pane: its tiles' rectangles, its look, and the table of its slide's ICC profile.

use std::collections::BTreeMap;
use std::ops::Range;

use eframe::egui_wgpu::wgpu;

use super::gpu_data;
use crate::viewer::colour::shader_data::{LOOK_BYTES, LOOK_FLOATS};
use crate::viewer::colour::{ColourTable, TABLE_SIDE};

/// Frames after which what was not drawn is given back.
const FRAMES_KEPT: u64 = 60;
/// Stands where a look has no table.
const NO_TABLE: u64 = 0;

/// All panes; several are drawn in one frame, each with its own buffers.
pub(super) struct Panes {
    layout: wgpu::BindGroupLayout,
    sampler: wgpu::Sampler,
    /// By [`ColourTable::id`].
    tables: BTreeMap<u64, wgpu::TextureView>,
    by_number: BTreeMap<usize, Pane>,
}

/// One of them.
pub(super) struct Pane {
    look: wgpu::Buffer,
    /// With the look, the table and its sampler.
    pub(super) bind_group: wgpu::BindGroup,
    table: u64,
    pub(super) instances: wgpu::Buffer,
    /// Instances of each page in the buffer, for the frame that is being drawn.
    pub(super) ranges: Vec<(usize, Range<u32>)>,
    last_frame: u64,
}

impl Panes {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            label: Some("colour table"),
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..Default::default()
        });
        Self { layout: layout(device), sampler, tables: BTreeMap::new(), by_number: BTreeMap::new() }
    }

    pub(super) fn layout(&self) -> &wgpu::BindGroupLayout {
        &self.layout
    }

    pub(super) fn get(&self, pane: usize) -> Option<&Pane> {
        self.by_number.get(&pane)
    }

    /// Gives back what was not drawn for a while.
    pub(super) fn tidy(&mut self, frame: u64) {
        self.by_number.retain(|_, pane| pane.last_frame + FRAMES_KEPT >= frame);
        let panes = &self.by_number;
        self.tables.retain(|id, _| panes.values().any(|pane| pane.table == *id));
    }

    /// Hands a pane's look to the GPU; its rectangles are written by whoever has the pages.
    pub(super) fn prepare(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        (number, frame): (usize, u64),
        table: Option<&ColourTable>,
        look: &[f32; LOOK_FLOATS],
    ) -> &mut Pane {
        let id = table.map_or(NO_TABLE, |table| table.id);
        let view = &*self.tables.entry(id).or_insert_with(|| table_view(device, queue, table));
        let pane = self.by_number.entry(number).or_insert_with(|| {
            let buffer = look_buffer(device);
            Pane {
                bind_group: bind_group(device, &self.layout, &buffer, view, &self.sampler),
                look: buffer,
                table: id,
                instances: instance_buffer(device, 64),
                ranges: Vec::new(),
                last_frame: frame,
            }
        });
        if pane.table != id {
            pane.bind_group = bind_group(device, &self.layout, &pane.look, view, &self.sampler);
            pane.table = id;
        }
        pane.last_frame = frame;
        queue.write_buffer(&pane.look, 0, bytemuck::cast_slice(look));
        pane
    }
}

impl Pane {
    /// Takes over the rectangles, which are sorted by page as `ranges` says.
    pub(super) fn write(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        floats: &[f32],
        ranges: Vec<(usize, Range<u32>)>,
    ) {
        let count = (floats.len() / gpu_data::FLOATS) as u64;
        if count * gpu_data::STRIDE > self.instances.size() {
            self.instances = instance_buffer(device, count.next_power_of_two());
        }
        queue.write_buffer(&self.instances, 0, bytemuck::cast_slice(floats));
        self.ranges = ranges;
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

fn look_buffer(device: &wgpu::Device) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("look"),
        size: LOOK_BYTES,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn bind_group(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    look: &wgpu::Buffer,
    table: &wgpu::TextureView,
    sampler: &wgpu::Sampler,
) -> wgpu::BindGroup {
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("pane"),
        layout,
        entries: &[
            wgpu::BindGroupEntry { binding: 0, resource: look.as_entire_binding() },
            wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::TextureView(table) },
            wgpu::BindGroupEntry { binding: 2, resource: wgpu::BindingResource::Sampler(sampler) },
        ],
    })
}

fn layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding, visibility, ty| wgpu::BindGroupLayoutEntry { binding, visibility, ty, count: None };
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("pane"),
        entries: &[
            entry(
                0,
                wgpu::ShaderStages::VERTEX_FRAGMENT,
                wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Uniform,
                    has_dynamic_offset: false,
                    min_binding_size: wgpu::BufferSize::new(LOOK_BYTES),
                },
            ),
            entry(
                1,
                wgpu::ShaderStages::FRAGMENT,
                wgpu::BindingType::Texture {
                    sample_type: wgpu::TextureSampleType::Float { filterable: true },
                    view_dimension: wgpu::TextureViewDimension::D3,
                    multisampled: false,
                },
            ),
            entry(
                2,
                wgpu::ShaderStages::FRAGMENT,
                wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering),
            ),
        ],
    })
}

/// The table as a texture; a single texel where there is none.
fn table_view(device: &wgpu::Device, queue: &wgpu::Queue, table: Option<&ColourTable>) -> wgpu::TextureView {
    let (side, pixels) = table.map_or((1, &[255; 4][..]), |table| (TABLE_SIDE, table.rgba.as_slice()));
    let size = wgpu::Extent3d { width: side, height: side, depth_or_array_layers: side };
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("colour table"),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D3,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    queue.write_texture(
        texture.as_image_copy(),
        pixels,
        wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(side * 4), rows_per_image: Some(side) },
        size,
    );
    texture.create_view(&wgpu::TextureViewDescriptor::default())
}
