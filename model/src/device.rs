//! Devices by the names that people give them: `cpu`, `cuda`, `cuda:N`, `metal`.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "metal")]
mod metal;

use candle_core::{DType, Device, DeviceLocation};

use crate::request::DeviceInfo;

/// A device that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("'{0}' is no device: use cpu, cuda, cuda:N or metal")]
    Unknown(String),
    #[error("the device {name} cannot be used: {reason}")]
    Unavailable { name: String, reason: String },
    #[error("the device {name} cannot be used: this program is built for {BUILT_FOR} alone")]
    NotBuilt { name: String },
}

/// The kinds of devices that this program is built for, in words.
const BUILT_FOR: &str = match (cfg!(feature = "cuda"), cfg!(feature = "metal")) {
    (false, false) => "cpu",
    (true, false) => "cpu and cuda",
    (false, true) => "cpu and metal",
    (true, true) => "cpu, cuda and metal",
};

/// Bytes of a device's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    total: u64,
    free: u64,
}

/// Precision of a language model's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
    F16,
}

impl Precision {
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// What suits a device: on the CPU, candle's products in less than f32 are far slower.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::F32 } else { Self::Bf16 }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The precision of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    pub fn from_dtype(dtype: DType) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.dtype() == dtype)
    }
}

/// The device of that name.
pub fn open(name: &str) -> Result<Device, Error> {
    match name.split_once(':') {
        None if name == "cpu" => Ok(Device::Cpu),
        None if name == "cuda" => open_cuda(name, 0),
        None if name == "metal" => open_metal(name),
        Some(("cuda", index)) => {
            open_cuda(name, index.parse().map_err(|_not_a_number| Error::Unknown(name.to_owned()))?)
        }
        _ => Err(Error::Unknown(name.to_owned())),
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(name: &str, index: usize) -> Result<Device, Error> {
    let unavailable = |reason: String| Error::Unavailable { name: name.to_owned(), reason };
    match cuda::count().map_err(unavailable)? {
        0 => return Err(unavailable("the driver shows no GPU".to_owned())),
        count if index >= count => {
            let last = count - 1;
            return Err(unavailable(format!("the driver shows {count} of them, up to cuda:{last}")));
        }
        _ => {}
    }
    Device::new_cuda(index).map_err(|error| unavailable(crate::reinpath::sentence(&error)))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(name: &str, _index: usize) -> Result<Device, Error> {
    Err(Error::NotBuilt { name: name.to_owned() })
}

#[cfg(feature = "metal")]
fn open_metal(name: &str) -> Result<Device, Error> {
    metal::open().map_err(|reason| Error::Unavailable { name: name.to_owned(), reason })
}

#[cfg(not(feature = "metal"))]
fn open_metal(name: &str) -> Result<Device, Error> {
    Err(Error::NotBuilt { name: name.to_owned() })
}

/// The devices that this build can compute on and this machine has, the CPU first. Memory is 0 where the system does
/// not tell.
pub fn list() -> Vec<DeviceInfo> {
    let mut devices = vec![info("cpu".to_owned(), "cpu", main_memory())];
    devices.extend(gpus());
    devices
}

#[cfg(feature = "cuda")]
fn gpus() -> Vec<DeviceInfo> {
    let named = |(index, memory): (usize, Option<Memory>)| info(format!("cuda:{index}"), "cuda", memory);
    cuda::all().into_iter().enumerate().map(named).collect()
}

#[cfg(all(feature = "metal", not(feature = "cuda")))]
fn gpus() -> Vec<DeviceInfo> {
    let memory = metal::open().ok().and_then(|device| Some(metal::memory(device.as_metal_device().ok()?)));
    memory.map(|memory| info("metal".to_owned(), "metal", Some(memory))).into_iter().collect()
}

#[cfg(not(any(feature = "cuda", feature = "metal")))]
fn gpus() -> Vec<DeviceInfo> {
    Vec::new()
}

fn info(name: String, kind: &str, memory: Option<Memory>) -> DeviceInfo {
    let Memory { total, free } = memory.unwrap_or_default();
    DeviceInfo { name, kind: kind.to_owned(), memory_total: total, memory_free: free }
}

/// Bytes that a device has free, what the system can take back at once with them; `None` where the system does not say.
pub fn free(device: &Device) -> Option<u64> {
    let memory = match device {
        Device::Cpu => main_memory(),
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::memory(device),
        #[cfg(feature = "metal")]
        Device::Metal(device) => Some(metal::memory(device)),
        // A build without a kind of device has none of it.
        #[cfg(not(all(feature = "cuda", feature = "metal")))]
        _ => None,
    };
    memory.map(|memory| memory.free)
}

/// Where a device's values lie, in words.
pub(crate) fn memory_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "main memory".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("the memory of cuda:{gpu_id}"),
        DeviceLocation::Metal { .. } => "the memory of metal".to_owned(),
    }
}

/// Main memory; `None` where the system does not say.
fn main_memory() -> Option<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(Memory { total: bytes_of(&text, "MemTotal:")?, free: bytes_of(&text, "MemAvailable:")? })
}

/// Bytes of this process that are in main memory, mapped files with them; `None` where the system does not say.
pub fn resident() -> Option<u64> {
    bytes_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The value of a line such as `VmRSS:   1234 kB`, in bytes.
fn bytes_of(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, list, memory_name, open};

    #[test]
    fn lines_of_the_system_are_read_in_bytes() {
        let text = "VmPeak:\t  90 kB\nVmRSS:\t   12 kB\nVmData: many\n";
        assert_eq!(bytes_of(text, "VmRSS:"), Some(12 * 1024));
        assert_eq!((bytes_of(text, "VmSwap:"), bytes_of(text, "VmData:")), (None, None));
    }

    #[test]
    fn names_are_understood_or_refused_in_a_sentence() {
        assert!(open("cpu").unwrap().is_cpu());
        for name in ["gpu", "cuda:x", "", "metal:0", "tpu:1"] {
            assert!(open(name).unwrap_err().to_string().contains("use cpu, cuda"), "{name}");
        }
    }

    #[test]
    fn the_cpu_is_listed_first_with_its_memory_and_every_name_opens() {
        let devices = list();
        assert_eq!((devices[0].name.as_str(), devices[0].kind.as_str()), ("cpu", "cpu"));
        assert!(devices.iter().all(|device| device.memory_free <= device.memory_total), "{devices:?}");
        for device in &devices {
            let opened = open(&device.name).unwrap();
            let name = if device.kind == "cpu" { "main memory" } else { device.name.as_str() };
            assert!(memory_name(&opened).ends_with(name));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn main_memory_that_is_free_is_known_on_linux() {
        assert!(super::free(&candle_core::Device::Cpu).is_some_and(|bytes| bytes > 0));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_built_in_is_a_sentence() {
        for name in ["cuda", "cuda:1"] {
            let sentence = open(name).unwrap_err().to_string();
            assert!(sentence.starts_with(&format!("the device {name} cannot be used")), "{sentence}");
            assert!(sentence.contains("built for cpu"), "{sentence}");
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_gpu_that_is_not_there_is_a_sentence() {
        let sentence = open("cuda:999").unwrap_err().to_string();
        assert!(sentence.starts_with("the device cuda:999 cannot be used"), "{sentence}");
    }
}
