//! `reinpath self-test`: how fast the viewer is on this machine, measured by `self_test.rs` and put into words.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

use super::Failure;
use crate::demo_slide;
use crate::self_test::{FRAME_LIMIT_MS, Plan, Quantiles, Report, ThreadFigures, measure};

/// Arguments of `reinpath self-test`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct SelfTestArguments {
    /// The slide to look at (default: the demo slide)
    slide: Option<PathBuf>,
    /// One JSON object, {"type": "self_test", "data": {…}}
    #[arg(long)]
    json: bool,
    /// Fail (exit code 1) when the window thread took longer than the limit for a frame; without this, measuring is success
    #[arg(long)]
    strict: bool,
    /// Jumps to unseen neighbouring fields at the finest scale; 0: neither jumps nor zooms
    #[arg(long, value_name = "N", default_value_t = 200)]
    jumps: usize,
    /// Drop what the system remembers of the file before it is opened and before the jumps
    #[arg(long)]
    cold: bool,
    /// Make every read of the file wait so long, as on a slow disk
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=10_000))]
    read_delay_ms: u64,
    /// Show so many polygons while jumping and zooming
    #[arg(long, value_name = "N", default_value_t = 0)]
    annotations: usize,
    /// Let a scripted answer stream while jumping and zooming, too
    #[arg(long)]
    scripted_answer: bool,
}

/// Measures and prints.
pub(super) fn self_test(arguments: &SelfTestArguments) -> Result<(), Failure> {
    let slide = match &arguments.slide {
        Some(slide) => slide.clone(),
        None => demo_slide::ensure(&mut |_| true).context("there is no demo slide")?,
    };
    let report = measure(&Plan {
        jumps: arguments.jumps,
        read_delay: Duration::from_millis(arguments.read_delay_ms),
        annotations: arguments.annotations,
        is_cold: arguments.cold,
        keeps_answering: arguments.scripted_answer,
        ..Plan::of(slide)
    })?;
    let text = if arguments.json {
        let json = serde_json::json!({"type": "self_test", "data": report});
        format!("{json}\n")
    } else {
        in_words(&report)
    };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    if arguments.strict { check(&report) } else { Ok(()) }
}

/// Whether the window thread kept its limit in every frame.
fn check(report: &Report) -> Result<(), Failure> {
    let all = [&report.frames, &report.steady_frames];
    let over: usize = all.iter().map(|frames| frames.frames_over_limit).sum();
    if over == 0 {
        return Ok(());
    }
    let count: usize = all.iter().map(|frames| frames.count).sum();
    let longest = all.iter().map(|frames| frames.longest_frame_ms).fold(0.0, f64::max);
    Err(Failure::Failed(anyhow!(
        "the window thread was over its limit of {FRAME_LIMIT_MS:.0} ms in {over} of {count} frames, \
         {longest:.1} ms at the longest"
    )))
}

fn in_words(report: &Report) -> String {
    let optional =
        |number: Option<f64>, unit: &str| number.map_or("unknown".to_owned(), |n| format!("{n:.1} {unit}"));
    let text = format!(
        "slide                {}\n\
         graphics             {}\n\
         start                {:.2} s\n\
         open                 {:.2} s\n\
         field of view        {:.0} ms p50, {:.0} ms p95, {:.0} ms p99 of {}\n\
         tiles                {:.0} a second\n\
         window thread        {}\n\
         with egui and wgpu   {} of processor time at the longest\n\
         peak memory          {}\n",
        report.slide.display(),
        report.graphics,
        report.start_secs,
        report.open_secs,
        report.field_p50_secs * 1e3,
        report.field_p95_secs * 1e3,
        report.field_p99_secs * 1e3,
        report.fields,
        report.tiles_per_sec,
        thread_in_words(&report.frames),
        optional(report.frames.longest_thread_ms, "ms"),
        optional(report.peak_memory_mib, "MiB"),
    );
    if report.jumps.is_empty() {
        return text;
    }
    let mut lines = paths_in_words(report);
    lines.push(format!("peak memory of all   {}", optional(report.peak_memory_of_all_mib, "MiB")));
    lines.push(format!("reading processes    {}", optional(report.children_peak_memory_mib, "MiB")));
    format!("{text}\n{}\n", lines.join("\n"))
}

fn paths_in_words(report: &Report) -> Vec<String> {
    let [width, height] = report.view;
    let disk = if report.is_cold { "cold" } else { "warm" };
    let (delay, polygons) = (report.read_delay_ms, report.annotations);
    let mut lines = vec![format!(
        "on {width} × {height} points, the file {disk}, {delay} ms added to reads, {polygons} polygons"
    )];
    lines.extend(report.jumps.iter().map(|jumps| {
        let drawn = if jumps.is_rasterised { ", drawn" } else { "" };
        let name = format!("jump at 1:{}{drawn}", jumps.scale);
        format!("{name:<20} {}", times_in_words(&jumps.times))
    }));
    let missing = report.share_of_frames_with_a_missing_tile * 100.0;
    let blanks = report.frames_with_a_blank;
    lines.extend([
        format!("step of the zoom     {}", times_in_words(&report.zoom)),
        format!("while zooming        {}", thread_in_words(&report.zoom_frames)),
        format!("jumps and zooms      {}", thread_in_words(&report.steady_frames)),
        format!("coarser tiles        in {missing:.1} % of frames, {blanks} frames with a blank"),
        format!(
            "drawing              {:.1} ms p50, {:.1} ms p95",
            report.drawing_p50_ms, report.drawing_p95_ms
        ),
    ]);
    lines
}

fn times_in_words(times: &Quantiles) -> String {
    let [p50, p95, p99] = [times.p50_secs, times.p95_secs, times.p99_secs].map(|secs| secs * 1e3);
    format!("{p50:.0} ms p50, {p95:.0} ms p95, {p99:.0} ms p99 of {}", times.count)
}

fn thread_in_words(frames: &ThreadFigures) -> String {
    let verdict = match frames.frames_over_limit {
        0 => "within the limit".to_owned(),
        over => format!("{over} over the limit"),
    };
    format!(
        "{:.1} ms longest frame, {:.1} ms p99, {:.1} ms p99.9 of {}, {verdict} of {FRAME_LIMIT_MS:.0} ms",
        frames.longest_frame_ms, frames.frame_p99_ms, frames.frame_p999_ms, frames.count
    )
}
