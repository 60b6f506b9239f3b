//! Functions of 32-bit numbers, written without branches and calls so that the compiler turns loops over them into
//! vector instructions.

/// Adding and subtracting this rounds a number of moderate size to the nearest whole one, which then stands in the lowest
/// bits: 1.5 · 2²³.
const ROUNDING: f32 = 12_582_912.0;

/// `e` to the power of `x`, to about 2 units in the last place; 0 below -87, constant above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // ln 2 in two parts, so that subtracting its multiples stays exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.0, 88.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUNDING;
    let power = rounded - ROUNDING;
    let rest = clamped - power * LN_2_HIGH - power * LN_2_LOW;
    // The Taylor series of e^rest for |rest| ≤ ln 2 / 2; its seventh term is below the last place.
    let series = 1.0 / 720.0;
    let series = series * rest + 1.0 / 120.0;
    let series = series * rest + 1.0 / 24.0;
    let series = series * rest + 1.0 / 6.0;
    let series = series * rest + 0.5;
    let series = series * rest * rest + rest + 1.0;
    // The exponent's bits of 2^power.
    let exponent = rounded
        .to_bits()
        .wrapping_sub(ROUNDING.to_bits())
        .wrapping_add(127)
        << 23;
    let result = series * f32::from_bits(exponent);
    if x < -87.0 { 0.0 } else { result }
}

/// `x · Φ(x)`, Φ being the normal distribution: the exact GELU, by the error function of Abramowitz and Stegun 7.1.26
/// (absolute error below 1.5·10⁻⁷).
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    let argument = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * argument);
    let series = 1.061_405_4 * t - 1.453_152;
    let series = series * t + 1.421_413_7;
    let series = series * t - 0.284_496_74;
    let series = series * t + 0.254_829_6;
    let tail = series * t * exp(-argument * argument);
    // erfc is what the series gives; for negative numbers it is used as it is, so that nothing cancels.
    let half_tail = 0.5 * tail;
    x * if x < 0.0 { half_tail } else { 1.0 - half_tail }
}

/// Turns scores into shares that add up to 1.
pub(crate) fn softmax(row: &mut [f32]) {
    let largest = largest(row);
    for value in row.iter_mut() {
        *value = exp(*value - largest);
    }
    let factor = 1.0 / sum(row);
    for value in row.iter_mut() {
        *value *= factor;
    }
}

const LANES: usize = 16;

/// The largest number; negative infinity of none.
fn largest(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// The sum, in several lanes: the compiler may not reorder a plain loop.
pub(crate) fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().chain(rest).sum()
}

/// The sum of the squares.
pub(crate) fn sum_of_squares(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * value;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_enough() {
        for step in -8_700..8_800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 4e-7, "{x}: {error}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-200.0), 0.0);
        assert!(exp(500.0).is_finite());
    }

    #[test]
    fn gelu_is_exact_enough() {
        // Values of x·Φ(x) to nine places, from tables of the normal distribution.
        for (x, exact) in [
            (0.0, 0.0),
            (1.0, 0.841_344_7),
            (-1.0, -0.158_655_25),
            (2.0, 1.954_499_7),
            (-2.0, -0.045_500_264),
            (0.5, 0.345_731_23),
            (-0.5, -0.154_268_77),
            (6.0, 5.999_999_994),
            (-6.0, -5.92e-9),
        ] {
            assert!((gelu(x) - exact).abs() < 5e-7, "{x}: {}", gelu(x));
        }
        assert_eq!(gelu(-40.0), 0.0);
        assert_eq!(gelu(40.0), 40.0);
    }

    #[test]
    fn softmax_adds_up_to_one() {
        let mut row: Vec<f32> = (0..37).map(|number| number as f32 / 3.0 - 200.0).collect();
        softmax(&mut row);
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let ratio = row[36] / row[33];
        assert!((ratio - std::f32::consts::E).abs() < 1e-4, "{ratio}");
    }

    #[test]
    fn sums_miss_nothing() {
        let row: Vec<f32> = (1..=100).map(|number| number as f32).collect();
        assert_eq!(sum(&row), 5_050.0);
        assert_eq!(sum_of_squares(&row), 338_350.0);
        assert_eq!(largest(&row), 100.0);
    }
}
