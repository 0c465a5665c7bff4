//! The load of the machine: processors, main memory, GPUs. Sampled by a run into its folder, and by the window for what is
//! free now. A value that the system or the driver does not tell is `None`, never 0.
//!
//! GPUs are asked through NVML, the driver's own library, which is opened when the program runs; other makers' GPUs are
//! not seen. Memory is that of the whole machine, also within a container that may have less.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use serde::{Deserialize, Serialize};
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};

use crate::error::{Error, Result};

/// Time between two samples of a run.
pub const EVERY: Duration = Duration::from_secs(5);
/// What [`read_from`] reads at once.
pub const MOST_BYTES: u64 = 4 << 20;
/// The driver's library where nothing for developers is installed.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// One look at the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineSample {
    /// Seconds since 1970.
    pub at: u64,
    /// Share of all processors that is busy, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f32>,
    /// Bytes of main memory: all, and what programs can still have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_free: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuSample>,
}

/// One look at a GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuSample {
    /// As in `cuda:N`.
    pub index: u32,
    pub name: String,
    /// Share of the time in which it computed, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_free: Option<u64>,
    /// Degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watts: Option<f32>,
}

/// Looks at the machine, now and again.
pub struct Sampler {
    system: System,
    /// `None` where there is no driver.
    nvml: Option<Nvml>,
    /// The load of the processors is that since the last look.
    looked: Instant,
    cpu: Option<f32>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// Opens the driver's library, where there is one; that may take a moment.
    pub fn new() -> Self {
        let mut system = System::new();
        system.refresh_cpu_usage();
        let nvml = Nvml::init().or_else(|_no_library| Nvml::builder().lib_path(OsStr::new(LIBRARY)).init());
        Self { system, nvml: nvml.ok(), looked: Instant::now(), cpu: None }
    }

    /// How loaded the machine is. The load of the processors is unknown right after [`Self::new`], as it is that of a
    /// time.
    pub fn sample(&mut self) -> MachineSample {
        if self.looked.elapsed() >= MINIMUM_CPU_UPDATE_INTERVAL {
            self.looked = Instant::now();
            self.system.refresh_cpu_usage();
            let is_told = !self.system.cpus().is_empty();
            self.cpu = is_told.then(|| (self.system.global_cpu_usage() / 100.0).clamp(0.0, 1.0));
        }
        self.system.refresh_memory();
        let total = Some(self.system.total_memory()).filter(|&bytes| bytes > 0);
        MachineSample {
            at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            cpu: self.cpu,
            memory_total: total,
            memory_free: total.map(|_| self.system.available_memory()),
            gpus: self.nvml.as_ref().map(gpus).unwrap_or_default(),
        }
    }
}

/// The GPUs in the driver's order, which is that of CUDA with `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
fn gpus(nvml: &Nvml) -> Vec<GpuSample> {
    let look = |index: u32| -> Option<GpuSample> {
        let device = nvml.device_by_index(index).ok()?;
        let memory = device.memory_info().ok();
        Some(GpuSample {
            index,
            name: device.name().unwrap_or_else(|_untold| format!("GPU {index}")),
            load: device.utilization_rates().ok().map(|rates| rates.gpu as f32 / 100.0),
            memory_total: memory.as_ref().map(|memory| memory.total),
            memory_free: memory.as_ref().map(|memory| memory.free),
            temperature: device.temperature(TemperatureSensor::Gpu).ok().map(|degrees| degrees as f32),
            watts: device.power_usage().ok().map(|milliwatts| milliwatts as f32 / 1000.0),
        })
    };
    (0..nvml.device_count().unwrap_or(0)).filter_map(look).collect()
}

/// Writes a sample into a run's folder each [`EVERY`], in a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    /// Nothing is ever sent: dropping it ends the thread.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Goes on at the end of a file, or begins it.
    pub fn start(file: &Path) -> Result<Self> {
        let path = file.to_owned();
        let file = open(file).map_err(Error::io(file))?;
        let (alive, until_gone) = bounded(0);
        let name = "machine-recorder".to_owned();
        let at = path.clone();
        let thread = Builder::new().name(name).spawn(move || record(file, &at, &until_gone));
        Ok(Self { alive: Some(alive), thread: Some(thread.map_err(Error::io(&path))?) })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        drop(self.alive.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that records the machine's load panicked");
        }
    }
}

/// Opens a file of samples such that the next one begins a line.
fn open(path: &Path) -> std::io::Result<File> {
    let mut file = File::options().read(true).append(true).create(true).open(path)?;
    if file.metadata()?.len() > 0 {
        // What a process that was killed left of its last line.
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn record(mut file: File, path: &Path, until_gone: &Receiver<()>) {
    let mut sampler = Sampler::new();
    let mut is_told = false;
    while until_gone.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = write_line(&mut file, &sampler.sample())
            && !is_told
        {
            // A run needs these figures for nothing: it goes on without them.
            is_told = true;
            tracing::warn!("the machine's load cannot be recorded, {error}: {}", path.display());
        }
    }
}

fn write_line(file: &mut File, sample: &MachineSample) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(sample)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// The samples in the whole lines after byte `at`, and the place behind them, from where to read on; lines that hold no
/// sample are passed over. At most [`MOST_BYTES`] are read: call it again until the place stays the same. A file that
/// is not there has none; one that is shorter than `at` is another one, and read from its start.
pub fn read_from(file: &Path, at: u64) -> Result<(Vec<MachineSample>, u64)> {
    let path: PathBuf = file.to_owned();
    let read = || -> std::io::Result<(Vec<u8>, u64)> {
        let mut file = match File::open(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            opened => opened?,
        };
        let at = if file.metadata()?.len() < at { 0 } else { at };
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok((bytes, at))
    };
    let (mut bytes, at) = read().map_err(Error::io(&path))?;
    match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(end) => bytes.truncate(end + 1),
        // A line that never ends is none.
        None if bytes.len() as u64 == MOST_BYTES => {}
        None => bytes.clear(),
    }
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let samples = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Ok((samples, at + bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64) -> MachineSample {
        MachineSample {
            at,
            cpu: Some(0.5),
            gpus: vec![GpuSample { index: 1, name: "a".to_owned(), ..GpuSample::default() }],
            ..MachineSample::default()
        }
    }

    #[test]
    fn the_machine_has_processors_and_memory() {
        let mut sampler = Sampler::new();
        std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL + Duration::from_millis(50));
        let sample = sampler.sample();
        assert!(sample.at > 1_600_000_000);
        assert!(sample.cpu.is_some_and(|load| (0.0..=1.0).contains(&load)), "{sample:?}");
        let (total, free) = (sample.memory_total.unwrap(), sample.memory_free.unwrap());
        assert!(total >= free && free > 1 << 20, "{sample:?}");
        for gpu in &sample.gpus {
            assert!(gpu.load.is_none_or(|load| (0.0..=1.0).contains(&load)), "{gpu:?}");
        }
    }

    #[test]
    fn samples_are_read_on_from_where_the_last_look_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.jsonl");
        assert_eq!(read_from(&path, 0).unwrap(), (Vec::new(), 0), "nothing was recorded");
        let mut file = open(&path).unwrap();
        write_line(&mut file, &sample(1)).unwrap();
        let (samples, at) = read_from(&path, 0).unwrap();
        assert_eq!(samples, [sample(1)]);
        assert_eq!(read_from(&path, at).unwrap(), (Vec::new(), at));
        file.write_all(b"{\"at\":2,\"cp").unwrap();
        assert_eq!(read_from(&path, at).unwrap(), (Vec::new(), at), "half a line waits");
        drop(file);
        // As after a kill: the half line is given up, and what comes next stands on its own.
        let mut file = open(&path).unwrap();
        write_line(&mut file, &sample(3)).unwrap();
        let (samples, end) = read_from(&path, at).unwrap();
        assert_eq!(samples, [sample(3)]);
        std::fs::write(&path, "{\"at\":4}\n").unwrap();
        let (samples, from_start) = read_from(&path, end).unwrap();
        assert_eq!((samples[0].at, samples[0].cpu, from_start), (4, None, 9), "another file");
    }

    #[test]
    fn a_recorder_ends_at_once_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.jsonl");
        let begin = Instant::now();
        drop(Recorder::start(&path).unwrap());
        assert!(begin.elapsed() < EVERY, "{:?}", begin.elapsed());
        assert!(path.is_file());
        let error = Recorder::start(&folder.path().join("no/machine.jsonl")).unwrap_err().to_string();
        assert!(error.ends_with("machine.jsonl"), "{error}");
    }
}
