//! How slides look: what the shader makes of known colours, turned, mirrored, in several panes, and under annotations.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use egui::{Key, Modifiers, Pos2, Rect, pos2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use image::{Rgb, RgbImage, RgbaImage};
use reinpath::viewer::colour::{ColourLook, ColourTable, StainChannel, StainVectors, StainView};
use reinpath::viewer::shape_mesh::{Shape, ShapeChunk};
use reinpath::viewer::shape_renderer::ShapeDrawData;
use reinpath::viewer::tile_cache::{TileDraw, Upload};
use reinpath::viewer::tile_pixels::TilePixels;
use reinpath::viewer::tile_renderer::{TileDrawData, TileRenderer, UploadQueue};
use reinpath::viewer::viewport::{SlideRect, Viewport};
use reinpath::window::App;
use reinpath::window::read::ReadCommand;
use reinpath::window::read::colour::{ColourCommand, StainPair};
use reinpath::window::state::Tool;

use super::support::{QUARTERS, Script, click_at, draw_slide, pass_notice, pixel, until, viewer, window};

/// From the middle of the viewer into each quarter of the test slide.
const OFFSETS: [[f32; 2]; 4] = [[-90.0, -90.0], [90.0, -90.0], [-90.0, 90.0], [90.0, 90.0]];

fn near(a: [u8; 3], b: [u8; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2)
}

fn opened(folder: &std::path::Path) -> Harness<'static, App> {
    let script = Script::default();
    let mut harness = window(vec![draw_slide(folder)], Vec::new(), &script);
    pass_notice(&mut harness);
    harness
}

fn wish(harness: &mut Harness<'_, App>, wish: ColourCommand) {
    harness.state().commands().read(ReadCommand::Colour(wish));
    harness.step();
    harness.step();
}

fn quarters_look_as(harness: &mut Harness<'_, App>, look: &ColourLook, what: &str) {
    let middle = viewer(harness).center();
    let image = harness.render().unwrap();
    for (quarter, [x, y]) in QUARTERS.into_iter().zip(OFFSETS) {
        let found = pixel(&image, middle + vec2(x, y));
        let wanted = look.apply(quarter);
        assert!(near(found, wanted), "{what}: {quarter:?} is shown as {found:?} instead of {wanted:?}");
    }
}

#[test]
fn each_step_shows_what_it_is_said_to_show_and_reset_takes_all_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    quarters_look_as(&mut harness, &ColourLook::default(), "nothing chosen");

    let mut look = ColourLook { brightness: 0.2, ..ColourLook::default() };
    wish(&mut harness, ColourCommand::Brightness(0.2));
    quarters_look_as(&mut harness, &look, "brightness");
    look.contrast = 1.7;
    wish(&mut harness, ColourCommand::Contrast(1.7));
    quarters_look_as(&mut harness, &look, "contrast");
    look.gamma = 0.6;
    wish(&mut harness, ColourCommand::Gamma(0.6));
    quarters_look_as(&mut harness, &look, "gamma");

    wish(&mut harness, ColourCommand::Reset);
    quarters_look_as(&mut harness, &ColourLook::default(), "reset");
    for (pair, vectors) in [
        (StainPair::HaematoxylinEosin, StainVectors::haematoxylin_eosin()),
        (StainPair::HaematoxylinDab, StainVectors::haematoxylin_dab()),
    ] {
        wish(&mut harness, ColourCommand::Stains(pair));
        for shown in [StainChannel::First, StainChannel::Second, StainChannel::Residual] {
            wish(&mut harness, ColourCommand::Show(Some(shown)));
            let look = ColourLook { stain: Some(StainView { vectors, shown }), ..ColourLook::default() };
            quarters_look_as(&mut harness, &look, &format!("{pair:?} {shown:?}"));
        }
    }
    harness.key_press_modifiers(Modifiers::ALT, Key::Num0);
    harness.step();
    harness.step();
    quarters_look_as(&mut harness, &ColourLook::default(), "all stains");
}

#[test]
fn a_click_on_the_background_makes_it_white() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    harness.key_press_modifiers(Modifiers::SHIFT, Key::W);
    harness.step();
    assert_eq!(harness.state().state().tool, Tool::White);
    let [x, y] = OFFSETS[3];
    let glass = viewer(&harness).center() + vec2(x, y);
    click_at(&mut harness, glass);
    until(&mut harness, "the background to be read", |app| {
        app.state().read.colour.slides.values().any(|slide| slide.choices.white.is_some())
    });
    assert_eq!(harness.state().state().tool, Tool::Pan);
    let white = QUARTERS[3].map(|value| f32::from(value) / 255.0);
    let look = ColourLook { white, ..ColourLook::default() };
    assert_eq!(look.apply(QUARTERS[3]), [255; 3]);
    quarters_look_as(&mut harness, &look, "the picked background");
}

#[test]
fn the_panel_says_that_the_model_sees_the_slides_own_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(folder.path());
    harness.key_press_modifiers(Modifiers::SHIFT, Key::C);
    harness.run_ok();
    harness.get_by_label("The model sees the slide's own pixels.");
    harness.get_by_label_contains("this slide has no profile");
    harness.get_by_label("Haematoxylin").click();
    harness.run_ok();
    let state = harness.state().state();
    let slide = &state.read.colour.slides[&state.shown.unwrap()];
    assert_eq!(slide.choices.shown, Some(StainChannel::First));
}

/// One tile of four quarters, drawn in several panes by the renderers alone.
struct Canvas {
    panes: Vec<Pane>,
    uploads: UploadQueue,
}

struct Pane {
    screen: Rect,
    viewport: Viewport,
    look: ColourLook,
    chunks: Vec<Arc<ShapeChunk>>,
}

const SIDE: u32 = 256;
const WINDOW: egui::Vec2 = vec2(640.0, 320.0);

impl Pane {
    fn new(screen: Rect) -> Self {
        let viewport = Viewport::fitted(SIDE, SIDE, screen.size());
        Self { screen, viewport, look: ColourLook::default(), chunks: Vec::new() }
    }

    /// The middles of the quarters, on screen.
    fn quarters(&self) -> [Pos2; 4] {
        let (near, far) = (f64::from(SIDE) * 0.25, f64::from(SIDE) * 0.75);
        [(near, near), (far, near), (near, far), (far, far)]
            .map(|place| self.viewport.screen_from_slide(self.screen, place))
    }

    fn assert_right(&self, image: &RgbaImage, what: &str) {
        for (at, quarter) in self.quarters().into_iter().zip(QUARTERS) {
            let (found, wanted) = (pixel(image, at), self.look.apply(quarter));
            assert!(near(found, wanted), "{what}, {at:?}: {found:?} instead of {wanted:?}");
        }
    }
}

impl eframe::App for Canvas {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        for (number, pane) in self.panes.iter().enumerate() {
            let whole = SlideRect::of_size(f64::from(SIDE), f64::from(SIDE));
            let tiles = TileDrawData {
                pane: number,
                viewport: pane.viewport,
                screen: pane.screen,
                draws: vec![TileDraw { slot: 0, rect: whole, uv: [0.0, 0.0, 1.0, 1.0] }],
                uploads: Arc::clone(&self.uploads),
                look: pane.look.clone(),
                prepare_nanos: Arc::default(),
            };
            let painter = ui.painter().with_clip_rect(pane.screen);
            painter.add(tiles.into_shape());
            let shapes = ShapeDrawData {
                pane: number,
                viewport: pane.viewport,
                screen: pane.screen,
                chunks: pane.chunks.clone(),
                line_points: 4.0,
                fill_opacity: 1.0,
                prepare_nanos: Arc::default(),
                ctx: ui.ctx().clone(),
            };
            painter.add(shapes.into_shape());
        }
    }
}

/// A picture of panes.
fn drawn(panes: Vec<Pane>) -> (Harness<'static, Canvas>, RgbaImage) {
    let half = SIDE / 2;
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        Rgb(QUARTERS[usize::from(x >= half) + 2 * usize::from(y >= half)])
    });
    let pixels = Arc::new(TilePixels::from_rgb(&picture));
    let uploads = Arc::new(Mutex::new(VecDeque::from([Upload { slot: 0, pixels }])));
    let mut harness = Harness::builder().with_size(WINDOW).wgpu().build_eframe(|cc| {
        TileRenderer::install(cc.wgpu_render_state.as_ref().unwrap());
        Canvas { panes, uploads }
    });
    harness.step();
    let image = harness.render().unwrap();
    (harness, image)
}

fn left() -> Rect {
    Rect::from_min_size(pos2(0.0, 0.0), vec2(320.0, 320.0))
}

fn right() -> Rect {
    left().translate(vec2(320.0, 0.0))
}

#[test]
fn a_turned_and_mirrored_slide_has_its_quarters_where_they_belong() {
    let quarter_turn = std::f64::consts::FRAC_PI_2;
    for (rotation, is_mirrored) in
        [(0.0, false), (quarter_turn, false), (0.0, true), (quarter_turn, true), (0.3, false), (-2.0, true)]
    {
        let mut pane = Pane::new(left());
        (pane.viewport.rotation, pane.viewport.is_mirrored) = (rotation, is_mirrored);
        let (harness, image) = drawn(vec![pane]);
        let pane = &harness.state().panes[0];
        pane.assert_right(&image, &format!("turned by {rotation}, mirrored: {is_mirrored}"));
        if rotation == quarter_turn && !is_mirrored {
            let top_right = left().center() + vec2(70.0, -70.0);
            assert!(near(pixel(&image, top_right), QUARTERS[0]), "what was left is above, clockwise");
        }
    }
}

#[test]
fn two_panes_at_once_keep_their_own_views_and_colours() {
    let mut second = Pane::new(right());
    (second.viewport.is_mirrored, second.viewport.rotation) = (true, 1.0);
    let table = ColourTable::from_fn(|[red, green, blue]| [1.0 - blue, red * red, green]);
    second.look = ColourLook { table: Some(Arc::new(table)), gamma: 1.4, ..ColourLook::default() };
    let (harness, image) = drawn(vec![Pane::new(left()), second]);
    for (number, pane) in harness.state().panes.iter().enumerate() {
        pane.assert_right(&image, &format!("pane {number}"));
    }
}

#[test]
fn a_polygon_is_filled_but_not_in_its_hole_and_has_a_line_around_it() {
    const RED: [u8; 3] = [250, 10, 20];
    let square = |near: f64, far: f64| vec![[near, near], [far, near], [far, far], [near, far]];
    let rings = [square(20.0, 236.0), square(90.0, 166.0)];
    let filled = Shape { rings: &rings, is_closed: true, is_filled: true, rgb: RED };
    let empty = Shape { is_filled: false, ..filled };
    let mut panes = Vec::new();
    for (screen, shape) in [(left(), filled), (right(), empty)] {
        let mut pane = Pane::new(screen);
        pane.viewport.rotation = 0.4;
        pane.viewport.is_mirrored = true;
        // So that the corners are in the pane, turned as it is.
        pane.viewport.slide_per_point *= 1.5;
        pane.chunks = vec![Arc::new(ShapeChunk::build(&[shape]))];
        panes.push(pane);
    }
    let (harness, image) = drawn(panes);
    let at = |number: usize, place: (f64, f64)| {
        let pane = &harness.state().panes[number];
        pixel(&image, pane.viewport.screen_from_slide(pane.screen, place))
    };
    for (number, inside) in [(0, RED), (1, QUARTERS[0])] {
        assert!(near(at(number, (50.0, 50.0)), inside), "in it: {:?}", at(number, (50.0, 50.0)));
        assert!(near(at(number, (110.0, 110.0)), QUARTERS[0]), "in its hole");
        assert!(near(at(number, (10.0, 10.0)), QUARTERS[0]), "beside it");
        let [red, green, _] = at(number, (20.0, 100.0));
        assert!(red > 150 && green < 60, "on its line: {:?}", at(number, (20.0, 100.0)));
    }
}
