//! Products with few rows of `x`: the same whatever the vectors, the threads and the other rows.

use super::*;

/// Bytes of a matrix (n, k) whose scales are small numbers, the same on every run.
fn matrix(format: Format, (n, k): (usize, usize)) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes: Vec<u8> = (0..n * k / SPAN * format.bytes())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    // Of numbers in half precision the second byte has the exponent.
    let (size, scales): (usize, &[usize]) = match format {
        Format::Q4K => (Q4K_BYTES, &[1, 3]),
        Format::Q6K => (Q6K_BYTES, &[209]),
        Format::Q8_0 => (Q8_0_BYTES / 8, &[1]),
    };
    for block in bytes.chunks_exact_mut(size) {
        for &at in scales {
            block[at] = block[at] & 0x83 | 0x18;
        }
    }
    bytes
}

fn x(m: usize, k: usize) -> Vec<f32> {
    (0..m * k).map(|i| (i as f32 * 0.37).sin() * (i % 7) as f32).collect()
}

fn product(kernel: (Format, Vectors), bytes: &[u8], mkn: (usize, usize, usize), x: &[f32]) -> Vec<u32> {
    let mut y = vec![f32::NAN; mkn.0 * mkn.2];
    multiply(kernel, bytes, mkn, x, &mut y);
    assert!(y.iter().all(|y| y.is_finite()));
    y.iter().map(|y| y.to_bits()).collect()
}

/// What this processor has: the formats, and all vectors for each. Nothing is tested where it has none.
fn kernels() -> impl Iterator<Item = (Format, Vectors)> {
    [Format::Q4K, Format::Q6K, Format::Q8_0].into_iter().flat_map(|format| {
        let best = Vectors::of(format);
        let plain = Some(Vectors::Plain).filter(|_| best.is_some() && !matches!(format, Format::Q8_0));
        [best, plain].into_iter().flatten().map(move |vectors| (format, vectors))
    })
}

#[test]
fn every_kind_of_vectors_gives_the_same_bits() {
    let (k, n) = (768, 37);
    for (format, vectors) in kernels().filter(|(_, vectors)| *vectors == Vectors::Plain) {
        let Some(best) = Vectors::of(format) else { continue };
        let bytes = matrix(format, (n, k));
        for m in 1..=MOST {
            let x = x(m, k);
            let [got, want] = [vectors, best].map(|kind| product((format, kind), &bytes, (m, k, n), &x));
            assert_eq!(got, want, "{m} rows");
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_among_others() {
    let (k, n) = (512, 19);
    for kernel in kernels() {
        let bytes = matrix(kernel.0, (n, k));
        for m in 2..=MOST {
            let x = x(m, k);
            let alone: Vec<u32> =
                x.chunks_exact(k).flat_map(|x| product(kernel, &bytes, (1, k, n), x)).collect();
            assert_eq!(product(kernel, &bytes, (m, k, n), &x), alone, "{m} rows, {:?}", kernel.1);
        }
    }
}

#[test]
fn threads_share_all_rows_of_the_matrix() {
    // As many rows as no number of tasks divides.
    let (m, k, n) = (2, 512, 1021);
    for kernel in kernels() {
        let (bytes, x) = (matrix(kernel.0, (n, k)), x(m, k));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| product(kernel, &bytes, (m, k, n), &x))
        };
        let one = on(1);
        assert!([2, 3, 7].into_iter().all(|threads| on(threads) == one), "{:?}", kernel.1);
    }
}
