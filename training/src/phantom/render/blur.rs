//! Loss of focus: a separable Gaussian over a plane.

/// The plane blurred with standard deviation `sigma`, with its border of `margin` pixels cut off.
pub(super) fn blurred(plane: &[f32], width: usize, margin: usize, sigma: f32) -> Vec<f32> {
    let height = plane.len() / width;
    let (inner_w, inner_h) = (width - 2 * margin, height - 2 * margin);
    let radius = if sigma < 0.05 { 0 } else { margin.min((3.0 * sigma).ceil() as usize) };
    let mut kernel: Vec<f32> = (0..=2 * radius)
        .map(|k| (-0.5 * ((k as f32 - radius as f32) / sigma.max(0.05)).powi(2)).exp())
        .collect();
    let sum: f32 = kernel.iter().sum();
    for weight in &mut kernel {
        *weight /= sum;
    }
    let mut across = vec![0.0f32; inner_w * height];
    for (row, out) in plane.chunks_exact(width).zip(across.chunks_exact_mut(inner_w)) {
        for (k, weight) in kernel.iter().enumerate() {
            let start = margin + k - radius;
            for (o, v) in out.iter_mut().zip(&row[start..start + inner_w]) {
                *o += weight * v;
            }
        }
    }
    let mut down = vec![0.0f32; inner_w * inner_h];
    for (j, out) in down.chunks_exact_mut(inner_w).enumerate() {
        for (k, weight) in kernel.iter().enumerate() {
            let start = (j + margin + k - radius) * inner_w;
            for (o, v) in out.iter_mut().zip(&across[start..start + inner_w]) {
                *o += weight * v;
            }
        }
    }
    down
}
