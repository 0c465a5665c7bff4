//! What macOS tells of the GPU.

use std::panic::catch_unwind;

use candle_core::{Device, MetalDevice};

use super::Memory;

/// Memory that programs should take of the GPU, which shares it with the processor.
pub(super) fn memory(device: &MetalDevice) -> Memory {
    let gpu = device.metal_device();
    let total = gpu.recommended_max_working_set_size() as u64;
    Memory { total, free: total.saturating_sub(gpu.current_allocated_size() as u64) }
}

/// The GPU; an error says why there is none.
pub(super) fn open() -> Result<Device, String> {
    // Candle panics where there is none, as on some virtual machines.
    match catch_unwind(|| Device::new_metal(0)) {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(error)) => Err(crate::reinpath::sentence(&error)),
        Err(_panic) => Err("macOS shows no GPU".to_owned()),
    }
}
