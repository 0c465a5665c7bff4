//! What NVIDIA's driver tells of its GPUs.

use candle_core::CudaDevice;
use candle_core::cuda::cudarc::driver::CudaContext;

use super::Memory;

/// Memory of a GPU that is in use.
pub(super) fn memory(device: &CudaDevice) -> Option<Memory> {
    let stream = device.cuda_stream();
    let context = stream.context();
    // What was freed goes back to the driver only when the GPU has come so far.
    context.synchronize().ok()?;
    of_context(context)
}

/// How many GPUs the driver shows; an error is its word for why there are none.
pub(super) fn count() -> Result<usize, String> {
    let count = CudaContext::device_count().map_err(|error| error.to_string())?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Memory of each GPU, in the driver's order; `None` for one that cannot be used.
pub(super) fn all() -> Vec<Option<Memory>> {
    let count = count().unwrap_or_else(|reason| {
        tracing::debug!("the driver shows no GPU: {reason}");
        0
    });
    // The context is what makes the driver tell; it goes at once.
    (0..count).map(|index| of_context(CudaContext::new(index).ok()?.as_ref())).collect()
}

fn of_context(context: &CudaContext) -> Option<Memory> {
    let (free, total) = context.mem_get_info().ok()?;
    Some(Memory { total: total as u64, free: free as u64 })
}
