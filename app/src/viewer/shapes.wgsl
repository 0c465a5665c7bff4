// Draws a chunk of annotations: triangles that fill them, then lines of a constant width, in a dark casing (mirrors `gpu_data` in
// shape_renderer.rs).

struct Chunk {
    // Two rows of a matrix from points to the screen, with turn and mirror.
    turn: vec4<f32>,
    // The chunk's origin in points from the pane's middle, before the slide is turned; points per level-0 pixel; opacity of fills.
    place: vec4<f32>,
    // Half of a line's width, of its casing's, of a place's; points per physical pixel.
    widths: vec4<f32>,
};

@group(0) @binding(0) var<uniform> chunk: Chunk;

// As opaque as lines, so that joints do not show.
const CASING: vec3<f32> = vec3<f32>(0.08, 0.08, 0.08);

struct Filled {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec4<f32>,
};

struct Line {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec3<f32>,
    // From the line's beginning, along it and beside it, in points.
    @location(1) at: vec2<f32>,
    // In points.
    @location(2) @interpolate(flat) extent: f32,
    @location(3) @interpolate(flat) half_width: f32,
};

struct Segment {
    @location(0) ends: vec4<f32>,
    @location(1) colour: vec4<f32>,
};

fn on_screen(points: vec2<f32>) -> vec4<f32> {
    return vec4<f32>(dot(chunk.turn.xy, points), dot(chunk.turn.zw, points), 0.0, 1.0);
}

@vertex
fn vertex_fill(@location(0) place: vec2<f32>, @location(1) colour: vec4<f32>) -> Filled {
    var out: Filled;
    out.position = on_screen(chunk.place.xy + place * chunk.place.z);
    out.colour = vec4<f32>(colour.rgb * chunk.place.w, chunk.place.w);
    return out;
}

@fragment
fn fragment_fill(in: Filled) -> @location(0) vec4<f32> {
    return in.colour;
}

// A rectangle around a line, large enough for its round ends and a soft edge.
fn line(index: u32, segment: Segment, half_width: f32, colour: vec3<f32>) -> Line {
    var corners = array<u32, 6>(0u, 1u, 2u, 2u, 1u, 3u);
    let corner = corners[index];
    let begin = chunk.place.xy + segment.ends.xy * chunk.place.z;
    let end = chunk.place.xy + segment.ends.zw * chunk.place.z;
    let extent = distance(begin, end);
    var along = vec2<f32>(1.0, 0.0);
    if (extent > 0.0) {
        along = (end - begin) / extent;
    }
    let beside = vec2<f32>(-along.y, along.x);
    let reach = half_width + chunk.widths.w;
    let at = vec2<f32>(
        mix(-reach, extent + reach, f32(corner & 1u)),
        mix(-reach, reach, f32(corner >> 1u)),
    );
    var out: Line;
    out.position = on_screen(begin + along * at.x + beside * at.y);
    out.colour = colour;
    out.at = at;
    out.extent = extent;
    out.half_width = half_width;
    return out;
}

@vertex
fn vertex_casing(@builtin(vertex_index) index: u32, segment: Segment) -> Line {
    return line(index, segment, chunk.widths.y, CASING);
}

@vertex
fn vertex_line(@builtin(vertex_index) index: u32, segment: Segment) -> Line {
    return line(index, segment, chunk.widths.x, segment.colour.rgb);
}

@vertex
fn vertex_place(@builtin(vertex_index) index: u32, segment: Segment) -> Line {
    return line(index, segment, chunk.widths.z, segment.colour.rgb);
}

@fragment
fn fragment_line(in: Line) -> @location(0) vec4<f32> {
    let nearest = vec2<f32>(clamp(in.at.x, 0.0, in.extent), 0.0);
    let inside = (in.half_width - distance(in.at, nearest)) / chunk.widths.w + 0.5;
    let opacity = clamp(inside, 0.0, 1.0);
    return vec4<f32>(in.colour * opacity, opacity);
}
