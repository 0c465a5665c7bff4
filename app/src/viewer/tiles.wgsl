// Draws slide tiles: one instance is one rectangle cut from one layer of the texture array (mirrors `gpu_data` in tile_renderer.rs).

struct Instance {
    // Left, top, right, bottom of the drawn rectangle, as fractions of the viewer's rectangle.
    @location(0) rect: vec4<f32>,
    // Left, top, right, bottom within the tile, 0 to 1.
    @location(1) uv: vec4<f32>,
    @location(2) layer: f32,
};

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) uv: vec2<f32>,
    @location(1) @interpolate(flat) layer: i32,
};

@group(0) @binding(0) var tiles: texture_2d_array<f32>;
@group(0) @binding(1) var tile_sampler: sampler;

@vertex
fn vertex_main(@builtin(vertex_index) index: u32, instance: Instance) -> Corner {
    // Two triangles: corners 0 1 2 and 2 1 3, bit 0 is right, bit 1 is bottom.
    var corners = array<u32, 6>(0u, 1u, 2u, 2u, 1u, 3u);
    let corner = corners[index];
    let right = f32(corner & 1u);
    let bottom = f32(corner >> 1u);
    let at = vec2<f32>(
        mix(instance.rect.x, instance.rect.z, right),
        mix(instance.rect.y, instance.rect.w, bottom),
    );
    var out: Corner;
    out.position = vec4<f32>(at.x * 2.0 - 1.0, 1.0 - at.y * 2.0, 0.0, 1.0);
    out.uv = vec2<f32>(
        mix(instance.uv.x, instance.uv.z, right),
        mix(instance.uv.y, instance.uv.w, bottom),
    );
    out.layer = i32(instance.layer);
    return out;
}

@fragment
fn fragment_main(in: Corner) -> @location(0) vec4<f32> {
    // The tiles and the window both hold sRGB values as they are: no conversion on the way.
    return vec4<f32>(textureSample(tiles, tile_sampler, in.uv, in.layer).rgb, 1.0);
}
