//! Annotations as the GPU draws them: triangles that fill them and lines of a constant width around them, in chunks.
//!
//! A chunk is made once, off the window thread, from shapes that lie near each other, and is drawn whole or not at all. Places are
//! relative to the chunk's origin, so that single precision is enough on a slide of any size.

use std::sync::atomic::{AtomicU64, Ordering};

use earcut::Earcut;

use super::viewport::SlideRect;

/// Corners of a shape that is filled, at the most: cutting a larger one into triangles may take minutes, and its line shows it as well.
const MOST_FILLED: usize = 200_000;

/// One shape to be drawn: the outer ring and holes of a polygon, or an open line.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Level-0 pixels; a ring's last point is not its first.
    pub rings: &'a [Vec<[f64; 2]>],
    /// Whether rings are closed; only closed ones are filled.
    pub is_closed: bool,
    pub is_filled: bool,
    pub rgb: [u8; 3],
}

/// A line between two places, and its colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Level-0 pixels from the chunk's origin: x, y of both ends.
    pub ends: [f32; 4],
    pub rgb: [u8; 3],
}

/// Shapes near each other.
#[derive(Debug)]
pub struct ShapeChunk {
    /// Different for each chunk of a running program: what the renderer keeps its buffers by.
    pub id: u64,
    pub bounds: SlideRect,
    /// Level-0 pixels.
    pub origin: (f64, f64),
    pub segments: Vec<Segment>,
    /// Corners of triangles, three by three: x and y from the origin, colour.
    pub fill: Vec<([f32; 2], [u8; 3])>,
    /// One place for each shape, drawn instead of it where it would be smaller than two pixels.
    pub places: Vec<([f32; 2], [u8; 3])>,
    /// The mean of the longer sides of the shapes, in level-0 pixels: what tells when `places` is enough.
    pub mean_side: f64,
}

impl ShapeChunk {
    /// Makes a chunk of at most a few thousand shapes; for any thread but the window's. What is no number, or too short for a ring, is
    /// left out.
    pub fn build(shapes: &[Shape<'_>]) -> Self {
        let mut chunk = Self::empty(shapes);
        let mut earcut = Earcut::new();
        let mut sides = 0.0;
        for shape in shapes {
            let rings: Vec<Vec<[f64; 2]>> = shape.rings.iter().map(|ring| chunk.place(ring)).collect();
            let Some(around) = bounds(rings.iter().flatten().copied()) else { continue };
            for ring in &rings {
                chunk.add_lines(ring, shape);
            }
            if shape.is_closed && shape.is_filled {
                chunk.add_fill(&mut earcut, &rings, shape.rgb);
            }
            let middle = [f64::midpoint(around.x0, around.x1), f64::midpoint(around.y0, around.y1)];
            chunk.places.push((single(middle), shape.rgb));
            sides += around.width().max(around.height());
        }
        if !chunk.places.is_empty() {
            chunk.mean_side = sides / chunk.places.len() as f64;
        }
        chunk
    }

    /// Without shapes, but with the place of all of them.
    fn empty(shapes: &[Shape<'_>]) -> Self {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let points = shapes.iter().flat_map(|shape| shape.rings).flatten().copied();
        let nowhere = SlideRect { x0: 0.0, y0: 0.0, x1: 0.0, y1: 0.0 };
        let bounds = bounds(points.filter(is_finite)).unwrap_or(nowhere);
        Self {
            id: LAST_ID.fetch_add(1, Ordering::Relaxed) + 1,
            bounds,
            origin: (f64::midpoint(bounds.x0, bounds.x1), f64::midpoint(bounds.y0, bounds.y1)),
            segments: Vec::new(),
            fill: Vec::new(),
            places: Vec::new(),
            mean_side: 0.0,
        }
    }

    /// A ring's points from the origin, without repetitions and what is no number.
    fn place(&self, ring: &[[f64; 2]]) -> Vec<[f64; 2]> {
        let finite = ring.iter().copied().filter(is_finite);
        let mut points: Vec<[f64; 2]> = finite.map(|[x, y]| [x - self.origin.0, y - self.origin.1]).collect();
        points.dedup();
        points
    }

    /// The lines of a ring or of an open line; a single point is a line without length, which is drawn as a dot.
    fn add_lines(&mut self, ring: &[[f64; 2]], shape: &Shape<'_>) {
        let mut add = |from: [f64; 2], to: [f64; 2]| {
            let ([x0, y0], [x1, y1]) = (single(from), single(to));
            self.segments.push(Segment { ends: [x0, y0, x1, y1], rgb: shape.rgb });
        };
        if let [point] = ring {
            add(*point, *point);
        }
        for pair in ring.windows(2) {
            add(pair[0], pair[1]);
        }
        if let (true, [first, _, .., last]) = (shape.is_closed, ring)
            && first != last
        {
            add(*last, *first);
        }
    }

    /// The triangles of a polygon: its first ring without the others.
    fn add_fill(&mut self, earcut: &mut Earcut<f64>, rings: &[Vec<[f64; 2]>], rgb: [u8; 3]) {
        let Some((outer, holes)) = rings.split_first() else { return };
        let corners: usize = rings.iter().map(Vec::len).sum();
        if outer.len() < 3 || corners > MOST_FILLED {
            return;
        }
        let mut points = outer.clone();
        let mut starts: Vec<u32> = Vec::new();
        for hole in holes.iter().filter(|hole| hole.len() >= 3) {
            starts.push(points.len() as u32);
            points.extend(hole);
        }
        let mut triangles: Vec<u32> = Vec::new();
        earcut.earcut(points.iter().copied(), &starts, &mut triangles);
        // Whole triangles, of places that there are.
        for triangle in triangles.chunks_exact(3) {
            let corners = triangle.iter().filter_map(|at| points.get(*at as usize));
            let corners: Vec<_> = corners.map(|point| (single(*point), rgb)).collect();
            if corners.len() == 3 {
                self.fill.extend(corners);
            }
        }
    }
}

fn is_finite(point: &[f64; 2]) -> bool {
    point.iter().all(|value| value.is_finite() && value.abs() < 1e12)
}

/// For places near the origin.
fn single([x, y]: [f64; 2]) -> [f32; 2] {
    [x as f32, y as f32]
}

/// The smallest rectangle around points; `None` without points. It may have no area.
fn bounds(points: impl Iterator<Item = [f64; 2]>) -> Option<SlideRect> {
    points.fold(None, |around: Option<SlideRect>, [x, y]| {
        let Some(around) = around else { return Some(SlideRect { x0: x, y0: y, x1: x, y1: y }) };
        Some(SlideRect {
            x0: around.x0.min(x),
            y0: around.y0.min(y),
            x1: around.x1.max(x),
            y1: around.y1.max(y),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: [u8; 3] = [230, 40, 40];

    fn square(left: f64, top: f64, side: f64) -> Vec<[f64; 2]> {
        vec![[left, top], [left + side, top], [left + side, top + side], [left, top + side]]
    }

    fn polygon(rings: &[Vec<[f64; 2]>]) -> Shape<'_> {
        Shape { rings, is_closed: true, is_filled: true, rgb: RED }
    }

    fn open_line(rings: &[Vec<[f64; 2]>]) -> Shape<'_> {
        Shape { is_closed: false, ..polygon(rings) }
    }

    fn filled_area(chunk: &ShapeChunk) -> f64 {
        let corners: Vec<[f64; 2]> = chunk.fill.iter().map(|(at, _)| at.map(f64::from)).collect();
        let twice = |a: [f64; 2], b: [f64; 2], c: [f64; 2]| {
            ((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])).abs()
        };
        corners.chunks_exact(3).map(|three| twice(three[0], three[1], three[2]) / 2.0).sum()
    }

    #[test]
    fn a_polygon_is_filled_but_for_its_holes() {
        let rings = [square(60_000.0, 40_000.0, 100.0), square(60_020.0, 40_020.0, 30.0)];
        let chunk = ShapeChunk::build(&[polygon(&rings)]);
        assert!((filled_area(&chunk) - (10_000.0 - 900.0)).abs() < 1e-3, "{}", filled_area(&chunk));
        assert_eq!(chunk.segments.len(), 8, "both rings have lines, and are closed");
        assert_eq!(chunk.origin, (60_050.0, 40_050.0));
        assert_eq!(chunk.places, [([0.0, 0.0], RED)]);
        assert_eq!(chunk.mean_side, 100.0);
        assert_eq!(chunk.fill.len() % 3, 0);
    }

    #[test]
    fn a_concave_polygon_is_filled_only_inside() {
        let ring = vec![[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [2.0, 1.0], [0.0, 4.0]];
        let rings = [ring];
        assert!((filled_area(&ShapeChunk::build(&[polygon(&rings)])) - 10.0).abs() < 1e-5);
    }

    #[test]
    fn an_open_line_stays_open_and_unfilled_and_a_point_is_a_dot() {
        let line = [vec![[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]]];
        let point = [vec![[5.0, 5.0]]];
        let chunk = ShapeChunk::build(&[open_line(&line), open_line(&point)]);
        assert_eq!(chunk.segments.len(), 3);
        assert!(chunk.fill.is_empty());
        assert_eq!(chunk.segments[2].ends, [0.0; 4], "the point lies at the origin");
        assert_eq!(chunk.places.len(), 2);
    }

    #[test]
    fn degenerate_shapes_are_left_out_and_stop_nothing() {
        let (nan, infinite) = (f64::NAN, f64::INFINITY);
        let strange = [
            vec![],
            vec![vec![]],
            vec![vec![[nan, 1.0], [2.0, infinite]]],
            vec![vec![[3.0, 3.0]; 5]],
            vec![vec![[0.0, 0.0], [5.0, 5.0]]],
            vec![vec![[0.0, 0.0], [5.0, 0.0], [9.0, 0.0]]],
            vec![square(0.0, 0.0, 4.0), vec![], vec![[1.0, 1.0]], square(10.0, 10.0, 2.0)],
            vec![vec![[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]]],
        ];
        let shapes: Vec<Shape<'_>> = strange.iter().map(|rings| polygon(rings)).collect();
        let chunk = ShapeChunk::build(&shapes);
        assert_eq!(chunk.places.len(), 5, "three have no place");
        assert!(chunk.segments.iter().flat_map(|segment| segment.ends).all(f32::is_finite));
        assert!(chunk.fill.iter().flat_map(|(at, _)| *at).all(f32::is_finite));
        let nothing = ShapeChunk::build(&[]);
        assert!(nothing.segments.is_empty() && nothing.mean_side == 0.0);
        assert!(nothing.id != chunk.id);
    }
}
