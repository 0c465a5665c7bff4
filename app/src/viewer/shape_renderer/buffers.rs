//! A chunk's buffers on the GPU, and the uniforms of one drawing.

use eframe::egui_wgpu::wgpu;
use eframe::egui_wgpu::wgpu::util::DeviceExt as _;

use super::gpu_data::{BYTES, FLOATS, STEP};
use crate::viewer::shape_mesh::ShapeChunk;

/// Bytes of buffers made in one frame, at the most: 1 ms of the window thread. A chunk that is larger is made alone.
const MOST_MADE: u64 = 4 << 20;
const VERTICES: u32 = 6;
/// Place and colour.
pub(super) const FILL_STRIDE: u64 = 12;
/// Both ends and colour.
pub(super) const SEGMENT_STRIDE: u64 = 20;

/// What a chunk is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fill,
    Segments,
    Places,
}

/// Those of one chunk, as far as they were needed.
#[derive(Default)]
pub(super) struct ChunkBuffers {
    /// By [`Kind`].
    parts: [Option<Part>; 3],
    pub(super) last_frame: u64,
}

/// One of them.
pub(super) struct Part {
    buffer: wgpu::Buffer,
    count: u32,
}

impl ChunkBuffers {
    /// What is there of a kind.
    pub(super) fn part(&self, kind: Kind) -> Option<&Part> {
        self.parts[kind as usize].as_ref()
    }

    /// Sees to it that a kind is there; false when this frame has made enough already.
    pub(super) fn make(
        &mut self,
        device: &wgpu::Device,
        chunk: &ShapeChunk,
        kind: Kind,
        made: &mut u64,
    ) -> bool {
        let bytes = size(chunk, kind);
        let part = &mut self.parts[kind as usize];
        if part.is_some() || bytes == 0 {
            return true;
        }
        if *made > 0 && *made + bytes > MOST_MADE {
            return false;
        }
        *made += bytes;
        let contents = contents(chunk, kind);
        let label = Some("annotations");
        let usage = wgpu::BufferUsages::VERTEX;
        let descriptor = wgpu::util::BufferInitDescriptor { label, contents: &contents, usage };
        *part = Some(Part { buffer: device.create_buffer_init(&descriptor), count: count(chunk, kind) });
        true
    }
}

impl Part {
    /// With pipeline and uniform set.
    pub(super) fn draw(&self, pass: &mut wgpu::RenderPass<'static>, kind: Kind) {
        pass.set_vertex_buffer(0, self.buffer.slice(..));
        match kind {
            Kind::Fill => pass.draw(0..self.count, 0..1),
            Kind::Segments | Kind::Places => pass.draw(0..VERTICES, 0..self.count),
        }
    }
}

fn count(chunk: &ShapeChunk, kind: Kind) -> u32 {
    let count = match kind {
        Kind::Fill => chunk.fill.len(),
        Kind::Segments => chunk.segments.len(),
        Kind::Places => chunk.places.len(),
    };
    count as u32
}

fn size(chunk: &ShapeChunk, kind: Kind) -> u64 {
    let stride = if kind == Kind::Fill { FILL_STRIDE } else { SEGMENT_STRIDE };
    u64::from(count(chunk, kind)) * stride
}

fn contents(chunk: &ShapeChunk, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size(chunk, kind) as usize);
    let mut add = |place: &[f32], [red, green, blue]: [u8; 3]| {
        bytes.extend_from_slice(bytemuck::cast_slice(place));
        bytes.extend_from_slice(&[red, green, blue, 255]);
    };
    match kind {
        Kind::Fill => {
            for (at, rgb) in &chunk.fill {
                add(at, *rgb);
            }
        }
        Kind::Segments => {
            for line in &chunk.segments {
                add(&line.ends, line.rgb);
            }
        }
        Kind::Places => {
            for ([x, y], rgb) in &chunk.places {
                // A dot is a line without length.
                add(&[*x, *y, *x, *y], *rgb);
            }
        }
    }
    bytes
}

/// One uniform for each chunk of a drawing, in one buffer.
pub(super) struct Uniforms {
    buffer: wgpu::Buffer,
    pub(super) bind_group: wgpu::BindGroup,
}

impl Uniforms {
    pub(super) fn new(device: &wgpu::Device, layout: &wgpu::BindGroupLayout) -> Self {
        Self::with_room(device, layout, 16)
    }

    fn with_room(device: &wgpu::Device, layout: &wgpu::BindGroupLayout, chunks: u64) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("annotations' places"),
            size: chunks * STEP,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("annotations' places"),
            layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(BYTES),
                }),
            }],
        });
        Self { buffer, bind_group }
    }

    /// Takes them over; the buffer grows as needed.
    pub(super) fn write(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        layout: &wgpu::BindGroupLayout,
        uniforms: &[[f32; FLOATS]],
    ) {
        let count = uniforms.len() as u64;
        if count * STEP > self.buffer.size() {
            *self = Self::with_room(device, layout, count.next_power_of_two());
        }
        let mut bytes = vec![0; uniforms.len() * STEP as usize];
        for (room, floats) in bytes.chunks_exact_mut(STEP as usize).zip(uniforms) {
            room[..BYTES as usize].copy_from_slice(bytemuck::cast_slice(floats));
        }
        queue.write_buffer(&self.buffer, 0, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewer::shape_mesh::Shape;

    #[test]
    fn what_is_handed_over_has_the_size_that_was_counted() {
        let rings = [vec![[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]]];
        let shape = Shape { rings: &rings, is_closed: true, is_filled: true, rgb: [1, 2, 3] };
        let chunk = ShapeChunk::build(&[shape]);
        for (kind, number) in [(Kind::Fill, 3), (Kind::Segments, 3), (Kind::Places, 1)] {
            assert_eq!(count(&chunk, kind), number, "{kind:?}");
            let bytes = contents(&chunk, kind);
            assert_eq!(bytes.len() as u64, size(&chunk, kind), "{kind:?}");
            assert_eq!(bytes[bytes.len() - 4..], [1, 2, 3, 255], "{kind:?}");
        }
    }
}
