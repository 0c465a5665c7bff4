//! Devices by the names that people give them: `cpu`, `cuda`, `cuda:N`, `metal`.

use candle_core::Device;

use crate::request::DeviceInfo;

/// A device that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("'{0}' is no device: use cpu, cuda, cuda:N or metal")]
    Unknown(String),
    #[error("the device {name} cannot be used: {reason}")]
    Unavailable { name: String, reason: String },
}

/// The device of that name.
pub fn open(name: &str) -> Result<Device, Error> {
    let unavailable = |e: candle_core::Error| Error::Unavailable {
        name: name.to_owned(),
        reason: crate::reinpath::sentence(&e),
    };
    match name.split_once(':') {
        None if name == "cpu" => Ok(Device::Cpu),
        None if name == "cuda" => Device::new_cuda(0).map_err(unavailable),
        None if name == "metal" => Device::new_metal(0).map_err(unavailable),
        Some(("cuda", index)) => {
            let index = index.parse().map_err(|_not_a_number| Error::Unknown(name.to_owned()))?;
            Device::new_cuda(index).map_err(unavailable)
        }
        _ => Err(Error::Unknown(name.to_owned())),
    }
}

/// The devices that this build can compute on.
pub fn list() -> Vec<DeviceInfo> {
    let (memory_total, memory_free) = main_memory().unwrap_or((0, 0));
    vec![DeviceInfo { name: "cpu".to_owned(), kind: "cpu".to_owned(), memory_total, memory_free }]
}

/// Total and available bytes of main memory; `None` where the system does not say.
fn main_memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |key: &str| {
        let line = text.lines().find(|l| l.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((kib("MemTotal:")? * 1024, kib("MemAvailable:")? * 1024))
}

#[cfg(test)]
mod tests {
    use super::open;

    #[test]
    fn names_are_understood_or_refused_in_a_sentence() {
        assert!(open("cpu").unwrap().is_cpu());
        for name in ["gpu", "cuda:x", "", "metal:0", "tpu:1"] {
            assert!(open(name).unwrap_err().to_string().contains("use cpu, cuda"), "{name}");
        }
    }
}
