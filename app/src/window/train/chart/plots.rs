//! One plot: curves of one or several runs over steps, with what they are worth at the pointer.

use std::sync::Arc;

use egui::{Color32, Id, Role, Ui, WidgetInfo};
use egui_plot::{
    Corner, FilledArea, GridMark, HoverPosition, Legend, Line, LineStyle, Plot, PlotMemory, PlotUi, Points,
};

use super::super::super::state::ChartSettings;
use super::super::super::theme::Palette;
use super::line::{self, Drawn};
use crate::runs::RunKey;
use crate::runs::told::{EvaluationTold, RunTold, StageTold};

/// A curve that is not of steps but of a stage's held-out rows: their accuracy, with its interval.
pub(in crate::window::train) const HELD_OUT: &str = "held_out_accuracy";

/// Points: the height of a plot that stands by itself.
const HEIGHT: f32 = 200.0;
/// Points: room for the labels of the axis, so that plots below each other begin at the same place.
const AXIS: f32 = 52.0;
/// Held-out figures that are drawn at once; of more, some are passed over evenly.
const MOST_EVALUATIONS: usize = 100;

/// A measure of a run.
pub(in crate::window::train) struct Curve<'a> {
    /// In the legend and at the pointer; each name of a plot once.
    pub(in crate::window::train) name: String,
    pub(in crate::window::train) told: &'a RunTold,
    /// `alignment`, `cold_start` or `grpo`.
    pub(in crate::window::train) stage: &'a str,
    /// As in [`StageTold::measures`], or [`HELD_OUT`].
    pub(in crate::window::train) measure: &'a str,
    pub(in crate::window::train) colour: Color32,
    pub(in crate::window::train) style: LineStyle,
}

impl Curve<'_> {
    fn stage(&self) -> Option<&StageTold> {
        self.told.stage(self.stage)
    }
}

/// Where a plot stands.
pub(super) struct Place {
    /// The plot's own, which keeps its zoom.
    pub(super) id: Id,
    /// Plots of the same group show the same steps.
    pub(super) group: Option<Id>,
    /// Points.
    pub(super) height: f32,
}

/// What was drawn.
pub(super) struct Shown {
    /// The step that was clicked on.
    pub(super) clicked: Option<usize>,
    /// Places that the curves left out, as on a log scale those that are not above 0.
    pub(super) left_out: usize,
}

/// Colour and line of the n-th curve of a plot, told apart by either alone as far as they go.
pub(in crate::window::train) fn look(palette: &Palette, n: usize) -> (Color32, LineStyle) {
    use reinpath_model::stage::AnswerStage::{Analysis, Conclusion, Observation};
    let colours = [
        palette.stage(Observation),
        palette.stage(Analysis),
        palette.stage(Conclusion),
        palette.error,
        palette.text,
        palette.weak,
    ];
    let styles = [
        LineStyle::Solid,
        LineStyle::dashed_loose(),
        LineStyle::dotted_dense(),
        LineStyle::dashed_dense(),
        LineStyle::dotted_loose(),
    ];
    (colours[n % colours.len()], styles[n % styles.len()])
}

/// Draws a plot that stands by itself; returns the step that was clicked on.
pub(in crate::window::train) fn one(
    ui: &mut Ui,
    id: Id,
    title: &str,
    curves: &[Curve<'_>],
    settings: &ChartSettings,
) -> Option<usize> {
    draw(ui, &Place { id, group: None, height: HEIGHT }, title, curves, settings).clicked
}

/// Draws a plot.
pub(super) fn draw(
    ui: &mut Ui,
    place: &Place,
    title: &str,
    curves: &[Curve<'_>],
    settings: &ChartSettings,
) -> Shown {
    let seen = zoomed(ui, place.id);
    let range = seen.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let width = ui.available_width().max(1.0) as usize;
    let cached: Vec<Arc<Cached>> = (0..)
        .zip(curves)
        .map(|(n, curve): (usize, _)| cached(ui, place.id.with(n), curve, range, width, settings))
        .collect();
    let is_log = settings.is_logarithmic;
    let mut plot = Plot::new(title)
        .id(place.id)
        .height(place.height)
        .allow_scroll(false)
        .y_axis_min_width(AXIS)
        .x_axis_formatter(|mark, _range| step_label(mark))
        .y_axis_formatter(move |mark, _range| value_label(mark, is_log))
        .label_formatter(|position| at_pointer(curves, position));
    if let Some(group) = place.group {
        plot = plot.link_axis(group, [true, false]);
    }
    if let Some((first, last)) = all_steps(curves) {
        // Never a single step alone: egui_plot takes the height for an axis without width, which may be as good as none.
        plot = plot.include_x(first).include_x(last.max(first + 1.0));
    }
    if curves.len() > 1 {
        plot = plot.legend(Legend::default().position(Corner::LeftTop).follow_insertion_order(true));
    }
    let shown = plot.show(ui, |plot| {
        for (curve, cached) in curves.iter().zip(&cached) {
            if curve.measure == HELD_OUT {
                let told = curve.stage().map(|stage| stage.evaluations.as_slice()).unwrap_or_default();
                held_out(plot, curve, told, is_log);
            } else {
                add(plot, curve, &cached.drawn);
            }
        }
    });
    shown.response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Plot of {title}")));
    // What is seen changed in this frame, by this plot or another one of its group: the curves are computed for it now.
    if zoomed(ui, place.id) != seen {
        ui.ctx().request_repaint();
    }
    let pointer = shown.response.interact_pointer_pos().filter(|_| shown.response.clicked());
    let clicked = pointer.and_then(|pointer| {
        let wanted = shown.transform.value_from_position(pointer).x;
        curves.iter().find_map(|curve| nearest_step(curve, wanted))
    });
    let left_out = cached.iter().map(|cached| cached.drawn.left_out).sum();
    Shown { clicked, left_out }
}

/// The steps that the user zoomed to; `None` while all are shown.
fn zoomed(ui: &Ui, id: Id) -> Option<(f64, f64)> {
    let memory = PlotMemory::load(ui.ctx(), id).filter(|memory| !memory.auto_bounds.x)?;
    Some((memory.bounds().min()[0], memory.bounds().max()[0]))
}

/// The first and the last step of all curves.
fn all_steps(curves: &[Curve<'_>]) -> Option<(f64, f64)> {
    let ends = curves.iter().filter_map(Curve::stage).filter_map(|stage| {
        let last = stage.steps.len().checked_sub(1)?;
        Some((f64::from(stage.steps.get(0)?), f64::from(stage.steps.get(last)?)))
    });
    ends.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
}

fn nearest_step(curve: &Curve<'_>, wanted: f64) -> Option<usize> {
    let steps = &curve.stage()?.steps;
    steps.get(line::nearest(steps, wanted)?).map(|step| step as usize)
}

/// A curve's line, with what it was smoothed from and what it stands for.
fn add(plot: &mut PlotUi<'_>, curve: &Curve<'_>, drawn: &Drawn) {
    // What has no name of its own is hidden with the line, whose id it shares, and not in the legend.
    let name = curve.name.as_str();
    if drawn.band.len() > 1 {
        let column = |n: usize| drawn.band.iter().map(|point| point[n]).collect::<Vec<f64>>();
        let band = FilledArea::new("", &column(0), &column(1), &column(2));
        plot.add(band.id(name).fill_color(curve.colour.gamma_multiply(0.18)).allow_hover(false));
    }
    if !drawn.raw.is_empty() {
        let raw = Line::new("", drawn.raw.clone()).id(name).allow_hover(false);
        plot.line(raw.color(curve.colour.gamma_multiply(0.4)).width(1.0));
    }
    if let [point] = drawn.line[..] {
        plot.points(Points::new("", point).id(name).color(curve.colour).radius(2.5).allow_hover(false));
    }
    plot.line(Line::new(name, drawn.line.clone()).color(curve.colour).style(curve.style).width(1.5));
}

/// Held-out accuracy: a point for each time, with its interval as a bar.
fn held_out(plot: &mut PlotUi<'_>, curve: &Curve<'_>, told: &[EvaluationTold], is_log: bool) {
    let name = curve.name.as_str();
    let stride = told.len().div_ceil(MOST_EVALUATIONS).max(1);
    // From the newest back, which is always there.
    let mut points: Vec<[f64; 2]> = Vec::new();
    for evaluation in told.iter().rev().step_by(stride) {
        let at = |value: f64| line::place(value, is_log).map(|y| [evaluation.step as f64, y]);
        points.extend(at(evaluation.figures.accuracy));
        let [low, high] = evaluation.figures.interval_95.map(at);
        if let (Some(low), Some(high)) = (low, high) {
            let bar = Line::new("", vec![low, high]).id(name).allow_hover(false);
            plot.line(bar.color(curve.colour).width(1.0));
        }
    }
    points.reverse();
    let joined = Line::new("", points.clone()).id(name).allow_hover(false);
    plot.line(joined.color(curve.colour.gamma_multiply(0.5)).style(curve.style).width(1.0));
    plot.points(Points::new(name, points).color(curve.colour).radius(3.5));
}

/// What the curves are worth at the pointer: not smoothed, of the nearest step.
fn at_pointer(curves: &[Curve<'_>], position: &HoverPosition<'_>) -> Option<String> {
    let (HoverPosition::NearDataPoint { position, .. } | HoverPosition::Elsewhere { position }) = position;
    worth(curves, position.x)
}

/// The same in words, a line each.
fn worth(curves: &[Curve<'_>], wanted: f64) -> Option<String> {
    let step = curves.iter().find_map(|curve| nearest_step(curve, wanted))?;
    let mut words = format!("Step {step}");
    for curve in curves {
        words.push('\n');
        words.push_str(&curve.name);
        words.push_str(": ");
        words.push_str(&of_curve(curve, wanted).unwrap_or_else(|| "not measured".to_owned()));
    }
    Some(words)
}

fn of_curve(curve: &Curve<'_>, wanted: f64) -> Option<String> {
    let stage = curve.stage()?;
    if curve.measure == HELD_OUT {
        let after = stage.evaluations.partition_point(|evaluation| (evaluation.step as f64) < wanted);
        let near = &stage.evaluations[after.saturating_sub(1)..(after + 1).min(stage.evaluations.len())];
        let distance = |evaluation: &&EvaluationTold| (evaluation.step as f64 - wanted).abs();
        let found = near.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        return Some(held_out_in_words(found));
    }
    let at = line::nearest(&stage.steps, wanted)?;
    stage.measure(curve.measure)?.get(at).map(|value| line::in_words(f64::from(value)))
}

/// An accuracy with what it rests on.
pub(in crate::window::train) fn held_out_in_words(evaluation: &EvaluationTold) -> String {
    let figures = &evaluation.figures;
    let [low, high] = figures.interval_95.map(line::in_words);
    let accuracy = line::in_words(figures.accuracy);
    format!("{accuracy} ({low} to {high}, n = {}) after step {}", figures.n, evaluation.step)
}

/// Steps are whole.
fn step_label(mark: GridMark) -> String {
    if mark.value.fract() == 0.0 && mark.value >= 0.0 { format!("{}", mark.value) } else { String::new() }
}

fn value_label(mark: GridMark, is_log: bool) -> String {
    // A mark may miss 0 by what rounding leaves.
    let value = if mark.value.abs() < mark.step_size * 1e-6 { 0.0 } else { mark.value };
    line::in_words(if is_log { 10.0_f64.powf(value) } else { value })
}

/// A curve as it was drawn last, and what it was drawn of.
struct Cached {
    run: RunKey,
    version: u64,
    stage: String,
    measure: String,
    range: (f64, f64),
    width: usize,
    smoothing: u8,
    is_log: bool,
    drawn: Drawn,
}

/// The points of a curve, computed when something about them has changed.
fn cached(
    ui: &Ui,
    id: Id,
    curve: &Curve<'_>,
    range: (f64, f64),
    width: usize,
    settings: &ChartSettings,
) -> Arc<Cached> {
    let (smoothing, is_log) = (settings.smoothing, settings.is_logarithmic);
    let known: Option<Arc<Cached>> = ui.data(|data| data.get_temp(id));
    if let Some(known) = known.filter(|known| {
        known.run == curve.told.key
            && known.version == curve.told.version
            && known.stage == curve.stage
            && known.measure == curve.measure
            && (known.range, known.width, known.smoothing, known.is_log) == (range, width, smoothing, is_log)
    }) {
        return known;
    }
    let measured = curve.stage().and_then(|stage| Some((&stage.steps, stage.measure(curve.measure)?)));
    let drawn = measured.map_or_else(Drawn::default, |(steps, values)| {
        line::points(steps, values, range, width, smoothing, is_log)
    });
    let new = Arc::new(Cached {
        run: curve.told.key.clone(),
        version: curve.told.version,
        stage: curve.stage.to_owned(),
        measure: curve.measure.to_owned(),
        range,
        width,
        smoothing,
        is_log,
        drawn,
    });
    ui.data_mut(|data| data.insert_temp(id, Arc::clone(&new)));
    new
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reinpath_training::event::RowFigures;

    use super::super::example::{running, told};
    use super::*;

    fn run() -> RunTold {
        let figures =
            RowFigures { n: 100, accuracy: 0.7, interval_95: [0.604, 0.781], ..RowFigures::default() };
        let stage = StageTold {
            name: "grpo".to_owned(),
            planned: 30,
            steps: [1.0_f32, 2.0, 3.0].into_iter().collect(),
            measures: BTreeMap::from([("loss".to_owned(), [0.5_f32, f32::NAN, 0.25].into_iter().collect())]),
            evaluations: vec![EvaluationTold { step: 2, figures }],
        };
        told(running(), vec![stage])
    }

    fn curve<'a>(told: &'a RunTold, measure: &'a str) -> Curve<'a> {
        let (colour, style) = (Color32::WHITE, LineStyle::Solid);
        Curve { name: measure.to_owned(), told, stage: "grpo", measure, colour, style }
    }

    #[test]
    fn the_pointer_tells_the_values_of_the_nearest_step_as_they_were_measured() {
        let told = run();
        let curves = [curve(&told, "loss"), curve(&told, HELD_OUT)];
        let words = worth(&curves, 2.8).unwrap();
        assert_eq!(
            words,
            "Step 3\nloss: 0.25\nheld_out_accuracy: 0.7 (0.604 to 0.781, n = 100) after step 2"
        );
        assert!(worth(&curves, 1.9).unwrap().contains("loss: not measured"));
        assert_eq!(worth(&[], 1.0), None);
    }

    #[test]
    fn a_place_on_the_axis_is_a_step() {
        let told = run();
        assert_eq!(nearest_step(&curve(&told, "loss"), 2.4), Some(2));
        assert_eq!(all_steps(&[curve(&told, "loss")]), Some((1.0, 3.0)));
        let nowhere = Curve { stage: "alignment", ..curve(&told, "loss") };
        assert_eq!(nearest_step(&nowhere, 2.4), None);
        assert_eq!(all_steps(&[nowhere]), None);
    }

    #[test]
    fn a_single_step_has_an_axis_also_where_smoothing_rounds_its_value() {
        let mut told = run();
        for loss in (1..200).map(|n| 0.344_408_2 / n as f32) {
            let steps = [1.0_f32].into_iter().collect();
            let measures = BTreeMap::from([("loss".to_owned(), [loss].into_iter().collect())]);
            told.stages[0] = StageTold { steps, measures, ..told.stages[0].clone() };
            egui::__run_test_ui(|ui| {
                let id = Id::unique(loss.to_bits());
                one(ui, id, "Loss", &[curve(&told, "loss")], &ChartSettings::default());
            });
        }
    }

    #[test]
    fn axes_have_whole_steps_and_values_behind_their_logarithms() {
        let mark = |value| GridMark { value, step_size: 1.0 };
        assert_eq!((step_label(mark(20.0)), step_label(mark(2.5))), ("20".to_owned(), String::new()));
        assert_eq!(
            (value_label(mark(-2.0), true), value_label(mark(-2.0), false)),
            ("0.01".into(), "-2".into())
        );
        assert_eq!(value_label(mark(1e-9), false), "0");
    }

    #[test]
    fn curves_of_a_plot_differ_in_colour_or_line() {
        let palette = super::super::super::super::theme::palette(egui::Theme::Dark);
        let looks: Vec<_> = (0..10).map(|n| look(palette, n)).collect();
        for (n, a) in looks.iter().enumerate() {
            assert!(!looks[..n].contains(a), "{n}");
        }
    }
}
