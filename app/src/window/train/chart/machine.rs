//! The load of the machine while the run went on, as small plots over time, with what it is now.

use egui::{Color32, Role, Ui, WidgetInfo};
use egui_plot::{Line, Plot};
use reinpath_model::stage::AnswerStage;
use reinpath_training::machine::{GpuSample, MachineSample};

use super::super::super::theme;
use super::super::super::widgets::{caption, title};
use super::grid;
use super::line;
use crate::runs::told::RunTold;

/// Places of a line.
const PLACES: usize = 400;

/// Something that is sampled.
#[derive(Clone, Debug, PartialEq)]
struct Gauge {
    what: What,
    title: String,
    unit: &'static str,
    /// The top of the axis, where it is known; in the unit.
    top: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Cpu,
    Memory,
    /// Of the GPU with this index.
    GpuLoad(u32),
    GpuMemory(u32),
    GpuTemperature(u32),
    GpuPower(u32),
}

/// Draws the plots; `now` is the machine that the window runs on at this moment.
pub(super) fn ui(ui: &mut Ui, told: &RunTold, now: Option<&MachineSample>) {
    let samples = told.machine.as_slice();
    let Some(newest) = samples.last().or(now) else {
        caption(ui, "Nothing is known of the machine's load: the run has written none down.");
        return;
    };
    let gauges = gauges(newest);
    if newest.gpus.is_empty() {
        caption(ui, "No GPU is seen through the driver's library (NVML).");
    } else {
        caption(ui, names(newest).join(" · "));
    }
    let id = ui.scope_id().with(told.key.folder());
    grid::ui(ui, "machine", gauges.len(), |ui, n| {
        let gauge = &gauges[n];
        ui.horizontal(|ui| {
            title(ui, &gauge.title);
            caption(ui, values_in_words(gauge, samples.last(), now.filter(|_| told.is_running())));
        });
        let height = ui.available_height();
        let colour = theme::of(ui).stage(AnswerStage::Observation);
        plot(ui, id.with(n), gauge, points(samples, gauge.what), height, colour);
    });
}

fn plot(ui: &mut Ui, id: egui::Id, gauge: &Gauge, points: Vec<[f64; 2]>, height: f32, colour: Color32) {
    let unit = gauge.unit;
    let mut plot = Plot::new(&gauge.title)
        .id(id)
        .height(height)
        .allow_scroll(false)
        .include_y(0.0)
        .y_axis_min_width(52.0)
        .x_axis_formatter(|mark, _range| format!("{} min", line::in_words(mark.value)))
        .y_axis_formatter(|mark, _range| line::in_words(mark.value))
        .label_formatter(move |position| {
            let (egui_plot::HoverPosition::NearDataPoint { position, .. }
            | egui_plot::HoverPosition::Elsewhere { position }) = position;
            let minutes = line::in_words((position.x * 10.0).round() / 10.0);
            Some(format!("{} {unit} after {minutes} min", line::in_words(position.y)))
        });
    if let Some(top) = gauge.top {
        plot = plot.include_y(top);
    }
    let shown = plot.show(ui, |plot| plot.line(Line::new("", points).color(colour).width(1.5)));
    let title = &gauge.title;
    shown
        .response
        .widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Plot of {title} in {unit}")));
}

/// What is known of a machine.
fn gauges(sample: &MachineSample) -> Vec<Gauge> {
    let mut gauges = Vec::new();
    let mut add = |what, title: String, unit, top| gauges.push(Gauge { what, title, unit, top });
    if sample.cpu.is_some() {
        add(What::Cpu, "Processors".to_owned(), "%", Some(100.0));
    }
    if sample.memory_total.is_some() && sample.memory_free.is_some() {
        add(What::Memory, "Main memory in use".to_owned(), "GiB", sample.memory_total.map(gib));
    }
    for gpu in &sample.gpus {
        let name = |what: &str| format!("GPU {} {what}", gpu.index);
        if gpu.load.is_some() {
            add(What::GpuLoad(gpu.index), name("load"), "%", Some(100.0));
        }
        if gpu.memory_total.is_some() && gpu.memory_free.is_some() {
            add(What::GpuMemory(gpu.index), name("memory in use"), "GiB", gpu.memory_total.map(gib));
        }
        if gpu.temperature.is_some() {
            add(What::GpuTemperature(gpu.index), name("temperature"), "°C", None);
        }
        if gpu.watts.is_some() {
            add(What::GpuPower(gpu.index), name("power"), "W", None);
        }
    }
    gauges
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// A value in the gauge's unit.
fn value(sample: &MachineSample, what: What) -> Option<f64> {
    let gpu = |index: u32| sample.gpus.iter().find(|gpu| gpu.index == index);
    let used = |total: Option<u64>, free: Option<u64>| Some(gib(total?.saturating_sub(free?)));
    match what {
        What::Cpu => sample.cpu.map(|share| f64::from(share) * 100.0),
        What::Memory => used(sample.memory_total, sample.memory_free),
        What::GpuLoad(index) => gpu(index)?.load.map(|share| f64::from(share) * 100.0),
        What::GpuMemory(index) => gpu(index).and_then(|gpu| used(gpu.memory_total, gpu.memory_free)),
        What::GpuTemperature(index) => gpu(index)?.temperature.map(f64::from),
        What::GpuPower(index) => gpu(index)?.watts.map(f64::from),
    }
}

/// Minutes since the first sample, and means of neighbouring samples: at most [`PLACES`], however many there are.
fn points(samples: &[MachineSample], what: What) -> Vec<[f64; 2]> {
    let Some(first) = samples.first() else { return Vec::new() };
    let together = samples.len().div_ceil(PLACES).max(1);
    let mean = |part: &[MachineSample]| {
        let values: Vec<f64> = part.iter().filter_map(|sample| value(sample, what)).collect();
        let middle = part.get(part.len() / 2)?;
        let minutes = middle.at.saturating_sub(first.at) as f64 / 60.0;
        (!values.is_empty()).then(|| [minutes, values.iter().sum::<f64>() / values.len() as f64])
    };
    samples.chunks(together).filter_map(mean).collect()
}

/// The last value of the run, and the value of this moment.
fn values_in_words(gauge: &Gauge, last: Option<&MachineSample>, now: Option<&MachineSample>) -> String {
    let words = |sample: &MachineSample| {
        value(sample, gauge.what).map(|value| {
            let value = line::in_words((value * 10.0).round() / 10.0);
            match gauge.top.filter(|_| gauge.unit == "GiB") {
                Some(top) => {
                    format!("{value} of {} {}", line::in_words((top * 10.0).round() / 10.0), gauge.unit)
                }
                None => format!("{value} {}", gauge.unit),
            }
        })
    };
    match (now.and_then(words), last.and_then(words)) {
        (Some(now), _) => format!("now {now}"),
        (None, Some(last)) => format!("last {last}"),
        (None, None) => String::new(),
    }
}

/// The GPUs with their names.
fn names(sample: &MachineSample) -> Vec<String> {
    let name = |gpu: &GpuSample| format!("GPU {}: {}", gpu.index, gpu.name);
    sample.gpus.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, cpu: f32) -> MachineSample {
        let gpu = GpuSample {
            index: 1,
            name: "A".to_owned(),
            load: Some(0.5),
            memory_total: Some(24 << 30),
            memory_free: Some(18 << 30),
            temperature: None,
            watts: Some(120.5),
        };
        MachineSample { at, cpu: Some(cpu), memory_total: Some(16 << 30), memory_free: None, gpus: vec![gpu] }
    }

    #[test]
    fn only_what_the_system_tells_is_shown_and_in_its_unit() {
        let sample = sample(0, 0.25);
        let gauges = gauges(&sample);
        let titles: Vec<&str> = gauges.iter().map(|gauge| gauge.title.as_str()).collect();
        assert_eq!(titles, ["Processors", "GPU 1 load", "GPU 1 memory in use", "GPU 1 power"]);
        let words: Vec<String> =
            gauges.iter().map(|gauge| values_in_words(gauge, Some(&sample), None)).collect();
        assert_eq!(words, ["last 25 %", "last 50 %", "last 6 of 24 GiB", "last 120.5 W"]);
        assert!(values_in_words(&gauges[0], None, Some(&sample)).starts_with("now "));
        assert_eq!(value(&sample, What::Memory), None);
        assert_eq!(value(&sample, What::GpuLoad(0)), None);
        assert_eq!(names(&sample), ["GPU 1: A"]);
    }

    #[test]
    fn many_samples_become_few_places() {
        let samples: Vec<MachineSample> =
            (0..4000).map(|n| sample(1000 + 6 * n, if n % 2 == 0 { 0.2 } else { 0.4 })).collect();
        let points = points(&samples, What::Cpu);
        assert_eq!(points.len(), PLACES);
        assert!(points.iter().all(|[_, cpu]| (cpu - 30.0).abs() < 1e-3));
        assert!(points[0][0] < 1.0 && points[PLACES - 1][0] > 390.0);
        assert!(super::points(&[], What::Cpu).is_empty());
    }
}
