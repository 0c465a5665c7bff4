//! The pipelines that annotations are drawn with.

use eframe::egui_wgpu::wgpu;

use super::buffers::{FILL_STRIDE, SEGMENT_STRIDE};
use super::gpu_data::BYTES;

const FILL: [wgpu::VertexAttribute; 2] = wgpu::vertex_attr_array![0 => Float32x2, 1 => Unorm8x4];
const SEGMENT: [wgpu::VertexAttribute; 2] = wgpu::vertex_attr_array![0 => Float32x4, 1 => Unorm8x4];

/// All of them; they differ in their entry points.
pub(super) struct Pipelines {
    /// One uniform, at an offset that each drawing of a chunk gives.
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) fill: wgpu::RenderPipeline,
    pub(super) casing: wgpu::RenderPipeline,
    pub(super) line: wgpu::RenderPipeline,
    pub(super) place: wgpu::RenderPipeline,
}

impl Pipelines {
    pub(super) fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let shader = device.create_shader_module(wgpu::include_wgsl!("../shapes.wgsl"));
        let layout = bind_group_layout(device);
        let fill = wgpu::VertexBufferLayout {
            array_stride: FILL_STRIDE,
            step_mode: wgpu::VertexStepMode::Vertex,
            attributes: &FILL,
        };
        let segment = wgpu::VertexBufferLayout {
            array_stride: SEGMENT_STRIDE,
            step_mode: wgpu::VertexStepMode::Instance,
            attributes: &SEGMENT,
        };
        let make = |entries: (&str, &str), vertices: &wgpu::VertexBufferLayout<'_>| {
            pipeline(device, &shader, &layout, format, entries, vertices)
        };
        let fill = make(("vertex_fill", "fragment_fill"), &fill);
        let [casing, line, place] = ["vertex_casing", "vertex_line", "vertex_place"]
            .map(|vertex| make((vertex, "fragment_line"), &segment));
        Self { layout, fill, casing, line, place }
    }
}

fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("annotations"),
        entries: &[wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::VERTEX_FRAGMENT,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: true,
                min_binding_size: wgpu::BufferSize::new(BYTES),
            },
            count: None,
        }],
    })
}

fn pipeline(
    device: &wgpu::Device,
    shader: &wgpu::ShaderModule,
    layout: &wgpu::BindGroupLayout,
    format: wgpu::TextureFormat,
    (vertex, fragment): (&str, &str),
    vertices: &wgpu::VertexBufferLayout<'_>,
) -> wgpu::RenderPipeline {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("annotations"),
        bind_group_layouts: &[Some(layout)],
        immediate_size: 0,
    });
    let target = wgpu::ColorTargetState {
        format,
        blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
        write_mask: wgpu::ColorWrites::ALL,
    };
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("annotations"),
        layout: Some(&layout),
        vertex: wgpu::VertexState {
            module: shader,
            entry_point: Some(vertex),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            buffers: &[Some(vertices.clone())],
        },
        // Nothing is culled: a mirrored slide shows the backs of triangles, and rings go round either way.
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: shader,
            entry_point: Some(fragment),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            targets: &[Some(target)],
        }),
        multiview_mask: None,
        cache: None,
    })
}
