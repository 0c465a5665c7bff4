//! Patches by rule: squares side by side over an area, row by row. Pure functions; a thread calls them.

use std::sync::Arc;

use super::MOST_SHOWN;
use crate::annotation::Polygon;
use crate::slide::Region;
use crate::tissue::TissueMask;
use crate::viewer::viewport::SlideRect;

/// A patch is kept when at least this part of it lies in the area.
const LEAST_INSIDE: f64 = 0.5;
/// Places along each side of a patch at which it is tested.
const SAMPLES: u32 = 5;
/// Squares that are tested at the most: a slide of 200,000 × 200,000 px has fewer of any usual size.
const MOST_TESTED: u64 = 4_000_000;

/// A grid of patches to be laid. Lengths are level-0 pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanOrder {
    pub id: u64,
    /// Width and height of a patch.
    pub side: (f64, f64),
    /// From one patch to the next.
    pub step: (f64, f64),
    /// Width and height of the slide: no patch reaches past it.
    pub slide: (u32, u32),
    pub area: PlanArea,
}

/// Over what it is laid.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanArea {
    Polygons(Vec<Polygon>),
    Tissue(Arc<TissueMask>),
}

/// An area that can be asked for places.
enum Inside<'a> {
    /// Polygons with the rectangles around them, which decide most places by themselves.
    Polygons(Vec<(SlideRect, &'a Polygon)>),
    Tissue(&'a TissueMask),
}

impl Inside<'_> {
    fn has(&self, (x, y): (f64, f64)) -> bool {
        match self {
            Self::Polygons(polygons) => {
                polygons.iter().any(|(around, polygon)| around.contains((x, y)) && polygon.contains([x, y]))
            }
            Self::Tissue(mask) => mask.contains((x, y)),
        }
    }

    /// The part of a rectangle that lies inside, 0 to 1, by samples.
    fn share(&self, (x, y): (f64, f64), (w, h): (f64, f64)) -> f64 {
        let at = |start: f64, length: f64, n: u32| start + length * (f64::from(n) + 0.5) / f64::from(SAMPLES);
        let places = (0..SAMPLES).flat_map(|row| (0..SAMPLES).map(move |column| (column, row)));
        let inside = places.filter(|&(column, row)| self.has((at(x, w, column), at(y, h, row)))).count();
        inside as f64 / f64::from(SAMPLES * SAMPLES)
    }
}

/// The smallest rectangle around a polygon; `None` when it has no place.
fn around(polygon: &Polygon) -> Option<SlideRect> {
    let mut places = polygon.rings.first()?.iter();
    let &[x, y] = places.next()?;
    let first = SlideRect { x0: x, y0: y, x1: x, y1: y };
    Some(places.fold(first, |around, &[x, y]| SlideRect {
        x0: around.x0.min(x),
        y0: around.y0.min(y),
        x1: around.x1.max(x),
        y1: around.y1.max(y),
    }))
}

fn both(a: SlideRect, b: SlideRect) -> SlideRect {
    SlideRect { x0: a.x0.min(b.x0), y0: a.y0.min(b.y0), x1: a.x1.max(b.x1), y1: a.y1.max(b.y1) }
}

/// How many patches cover a length, and where the first begins so that they lie in its middle.
fn along(start: f64, length: f64, side: f64, step: f64) -> (u64, f64) {
    let more = ((length - side) / step).ceil().max(0.0);
    let covered = more * step + side;
    (more as u64 + 1, start + (length - covered) / 2.0)
}

/// The patches of a grid, row by row, at most [`MOST_SHOWN`]; true when there are more. None when no patch fits on the slide.
pub(super) fn lay(order: &PlanOrder) -> (Vec<Region>, bool) {
    let (side, step) = (order.side, order.step);
    let whole = SlideRect::of_size(f64::from(order.slide.0), f64::from(order.slide.1));
    let lengths = [side.0, side.1, step.0, step.1];
    if lengths.iter().any(|length| !length.is_finite() || *length < 1.0) {
        return (Vec::new(), false);
    }
    let (inside, bounds) = match &order.area {
        PlanArea::Polygons(polygons) => {
            let known: Vec<_> =
                polygons.iter().filter_map(|polygon| Some((around(polygon)?, polygon))).collect();
            let bounds = known.iter().map(|(around, _)| *around).reduce(both);
            (Inside::Polygons(known), bounds)
        }
        PlanArea::Tissue(mask) => (Inside::Tissue(mask), Some(whole)),
    };
    let Some(bounds) = bounds.and_then(|bounds| bounds.intersection(&whole)) else {
        return (Vec::new(), false);
    };
    let (columns, left) = along(bounds.x0, bounds.width(), side.0, step.0);
    let (rows, top) = along(bounds.y0, bounds.height(), side.1, step.1);
    let mut regions = Vec::new();
    let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
    for (tested, (column, row)) in (0_u64..).zip(cells) {
        if tested == MOST_TESTED {
            return (regions, true);
        }
        let corner = (left + column as f64 * step.0, top + row as f64 * step.1);
        let is_on_slide = corner.0 >= 0.0
            && corner.1 >= 0.0
            && corner.0 + side.0 <= whole.x1
            && corner.1 + side.1 <= whole.y1;
        if is_on_slide && inside.share(corner, side) >= LEAST_INSIDE {
            if regions.len() == MOST_SHOWN {
                return (regions, true);
            }
            regions.push(Region {
                x: corner.0.round() as i64,
                y: corner.1.round() as i64,
                w: side.0.round() as u32,
                h: side.1.round() as u32,
            });
        }
    }
    (regions, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64, side: f64) -> Vec<[f64; 2]> {
        vec![[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
    }

    fn order(area: PlanArea) -> PlanOrder {
        PlanOrder { id: 1, side: (100.0, 100.0), step: (100.0, 100.0), slide: (10_000, 8_000), area }
    }

    #[test]
    fn a_square_is_filled_row_by_row_and_its_hole_is_left_out() {
        let polygon = Polygon { rings: vec![square(1000.0, 1000.0, 300.0), square(1100.0, 1100.0, 100.0)] };
        let (regions, is_cut) = lay(&order(PlanArea::Polygons(vec![polygon])));
        assert!(!is_cut);
        let corners: Vec<_> = regions.iter().map(|region| (region.x, region.y)).collect();
        let expected = [
            (1000, 1000),
            (1100, 1000),
            (1200, 1000),
            (1000, 1100),
            (1200, 1100),
            (1000, 1200),
            (1100, 1200),
            (1200, 1200),
        ];
        assert_eq!(corners, expected);
        assert!(regions.iter().all(|region| (region.w, region.h) == (100, 100)));
    }

    #[test]
    fn gaps_and_overlaps_keep_the_grid_in_the_middle() {
        let polygon = || Polygon { rings: vec![square(1000.0, 1000.0, 300.0)] };
        let with_step = |step: f64| {
            lay(&PlanOrder { step: (step, step), ..order(PlanArea::Polygons(vec![polygon()])) }).0
        };
        let apart = with_step(200.0);
        assert_eq!(apart.iter().map(|region| region.x).collect::<Vec<_>>(), [1000, 1200, 1000, 1200]);
        assert_eq!(with_step(50.0).len(), 25, "half a side apart, five fit along 300 px");
    }

    #[test]
    fn no_patch_reaches_past_the_slide() {
        let polygon = Polygon { rings: vec![square(-500.0, -500.0, 20_000.0)] };
        let (regions, is_cut) = lay(&order(PlanArea::Polygons(vec![polygon.clone()])));
        assert!(is_cut && regions.len() == MOST_SHOWN);
        assert!(regions.iter().all(|region| region.x >= 0 && region.y >= 0));
        let small = PlanOrder { slide: (90, 90), ..order(PlanArea::Polygons(vec![polygon])) };
        assert_eq!(lay(&small), (Vec::new(), false));
    }

    #[test]
    fn tissue_is_covered_where_half_of_a_patch_shows_it() {
        // Cells of 50 px: tissue from (200, 200) to (400, 400).
        let is_tissue = (0..16)
            .flat_map(|row| (0..16).map(move |column| (4..8).contains(&row) && (4..8).contains(&column)));
        let mask =
            TissueMask { columns: 16, rows: 16, cell: 50.0, is_tissue: is_tissue.collect(), threshold: 9 };
        let order = PlanOrder { slide: (800, 800), ..order(PlanArea::Tissue(Arc::new(mask))) };
        let corners: Vec<_> = lay(&order).0.iter().map(|region| (region.x, region.y)).collect();
        assert_eq!(corners, [(200, 200), (300, 200), (200, 300), (300, 300)]);
    }

    #[test]
    fn nothing_to_lay_is_no_trouble() {
        assert_eq!(lay(&order(PlanArea::Polygons(Vec::new()))), (Vec::new(), false));
        let empty = Polygon { rings: Vec::new() };
        assert_eq!(lay(&order(PlanArea::Polygons(vec![empty]))), (Vec::new(), false));
        let line = Polygon { rings: vec![vec![[0.0, 0.0], [500.0, 0.0]]] };
        assert!(lay(&order(PlanArea::Polygons(vec![line]))).0.is_empty());
        let broken = PlanOrder { step: (f64::NAN, 0.0), ..order(PlanArea::Polygons(Vec::new())) };
        assert_eq!(lay(&broken), (Vec::new(), false));
    }
}
