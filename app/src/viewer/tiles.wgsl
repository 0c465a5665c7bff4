// Draws slide tiles: one instance is one rectangle cut from one layer of the texture array (mirrors `gpu_data` in tile_renderer.rs), in the
// colours that the pane's look asks for (mirrors `colour/shader_data.rs`; the same steps as `ColourLook::apply`).

struct Instance {
    // Left, top, right, bottom of the drawn rectangle in points from the pane's middle, before the slide is turned.
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

struct Look {
    // Two rows of a matrix from points to the screen, with turn and mirror.
    turn: vec4<f32>,
    // The background that becomes white; 1 / gamma.
    white: vec4<f32>,
    // Brightness, contrast, whether there is a table, whether a stain is shown alone.
    adjust: vec4<f32>,
    // What gives the amount of the stain; whether anything is changed at all.
    unmix: vec4<f32>,
    // Density of a unit of the stain.
    stain: vec4<f32>,
};

@group(0) @binding(0) var tiles: texture_2d_array<f32>;
@group(0) @binding(1) var tile_sampler: sampler;
@group(1) @binding(0) var<uniform> look: Look;
@group(1) @binding(1) var table: texture_3d<f32>;
@group(1) @binding(2) var table_sampler: sampler;

// `DARKEST` and `TABLE_SIDE` in colour.rs.
const DARKEST: f32 = 0.00392156862745098;
const TABLE_SIDE: f32 = 33.0;
const LOG2_OF_10: f32 = 3.321928094887362;

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
    out.position = vec4<f32>(dot(look.turn.xy, at), dot(look.turn.zw, at), 0.0, 1.0);
    out.uv = vec2<f32>(
        mix(instance.uv.x, instance.uv.z, right),
        mix(instance.uv.y, instance.uv.w, bottom),
    );
    out.layer = i32(instance.layer);
    return out;
}

// The stain of a colour alone, on a white ground.
fn one_stain(colour: vec3<f32>) -> vec3<f32> {
    let density = -log2(max(colour, vec3<f32>(DARKEST))) / LOG2_OF_10;
    let amount = max(dot(look.unmix.xyz, density), 0.0);
    return clamp(exp2(-amount * look.stain.xyz * LOG2_OF_10), vec3<f32>(0.0), vec3<f32>(1.0));
}

fn shown(slide: vec3<f32>) -> vec3<f32> {
    var colour = slide;
    if (look.adjust.z > 0.5) {
        // The corners of the table's cells are the middles of its texels.
        let at = (colour * (TABLE_SIDE - 1.0) + 0.5) / TABLE_SIDE;
        colour = textureSampleLevel(table, table_sampler, at, 0.0).rgb;
    }
    colour = min(colour / max(look.white.rgb, vec3<f32>(DARKEST)), vec3<f32>(1.0));
    if (look.adjust.w > 0.5) {
        colour = one_stain(colour);
    }
    colour = (colour + look.adjust.x - 0.5) * look.adjust.y + 0.5;
    return pow(clamp(colour, vec3<f32>(0.0), vec3<f32>(1.0)), vec3<f32>(look.white.w));
}

@fragment
fn fragment_main(in: Corner) -> @location(0) vec4<f32> {
    // The tiles and the window both hold sRGB values as they are: no conversion on the way.
    let slide = textureSample(tiles, tile_sampler, in.uv, in.layer).rgb;
    if (look.unmix.w < 0.5) {
        return vec4<f32>(slide, 1.0);
    }
    return vec4<f32>(shown(slide), 1.0);
}
