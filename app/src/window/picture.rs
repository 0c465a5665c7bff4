//! Small pictures that are shown as they are: overviews and thumbnails.

use egui::{ColorImage, Context, TextureHandle, TextureOptions};
use image::RgbImage;

/// A picture on its way to, or on, the screen. Clones share it.
#[derive(Clone)]
pub struct Picture {
    pub texture: TextureHandle,
}

impl Picture {
    /// Makes a texture; call it off the window thread, which then only uploads it.
    pub fn new(ctx: &Context, name: &str, image: &RgbImage) -> Self {
        let size = [image.width() as usize, image.height() as usize];
        let pixels = ColorImage::from_rgb(size, image.as_raw());
        Self { texture: ctx.load_texture(name, pixels, TextureOptions::LINEAR) }
    }

    /// Width over height.
    pub fn aspect(&self) -> f32 {
        self.texture.aspect_ratio()
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Picture").field(&self.texture.size()).finish()
    }
}
