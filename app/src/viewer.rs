//! The slide view: what part of a slide is seen, which tiles that takes, and drawing them.
//!
//! In reading order: `viewport` (coordinates), `tile_plan` (what a frame needs), `tile_engine`
//! (where tiles come from), `tile_pixels` and `tile_cache` (what is there), `tile_renderer` (wgpu; only
//! this folder touches it), `colour` (how colours are shown), `shape_mesh` (annotations as
//! triangles and lines), `overlay` (what is drawn over the slide). The panel that puts them together is `window/viewer_panel.rs`.

pub mod colour;
pub mod overlay;
pub mod shape_mesh;
pub mod shape_renderer;
pub mod tile_cache;
pub mod tile_engine;
pub mod tile_pixels;
pub mod tile_plan;
pub mod tile_renderer;
pub mod viewport;
