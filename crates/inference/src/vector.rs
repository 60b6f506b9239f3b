//! Arithmetic that all embedders share.

/// Scales a vector to length 1. `false` where it has no direction: a number that is not finite, or only zeros.
pub(crate) fn normalise(vector: &mut [f32]) -> bool {
    // Summed in f64, so that the length of long vectors is exact to the last bit of f32.
    let squares: f64 = vector
        .iter()
        .map(|value| f64::from(*value) * f64::from(*value))
        .sum();
    let length = squares.sqrt();
    if !length.is_finite() || length == 0.0 {
        return false;
    }
    for value in vector.iter_mut() {
        *value = (f64::from(*value) / length) as f32;
    }
    true
}

/// Adds up the vectors of a text's parts, each weighted, and scales the sum to length 1.
pub(crate) struct WeightedMean {
    sum: Vec<f32>,
}

impl WeightedMean {
    pub(crate) fn new(dimension: usize) -> Self {
        Self {
            sum: vec![0.0; dimension],
        }
    }

    pub(crate) fn add(&mut self, vector: &[f32], weight: f32) {
        for (sum, value) in self.sum.iter_mut().zip(vector) {
            *sum += value * weight;
        }
    }

    /// `None` where the parts cancel each other out.
    pub(crate) fn finish(mut self) -> Option<Vec<f32>> {
        normalise(&mut self.sum).then_some(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_gets_length_one_or_none() {
        let mut vector = vec![3.0, 4.0];
        assert!(normalise(&mut vector));
        assert_eq!(vector, [0.6, 0.8]);
        assert!(!normalise(&mut [0.0, 0.0]));
        assert!(!normalise(&mut [f32::NAN, 1.0]));
        assert!(!normalise(&mut [f32::INFINITY, 1.0]));
    }

    #[test]
    fn a_mean_is_weighted() {
        let mut mean = WeightedMean::new(2);
        mean.add(&[1.0, 0.0], 3.0);
        mean.add(&[0.0, 1.0], 4.0);
        assert_eq!(mean.finish(), Some(vec![0.6, 0.8]));
        let mut nothing = WeightedMean::new(1);
        nothing.add(&[1.0], 1.0);
        nothing.add(&[-1.0], 1.0);
        assert_eq!(nothing.finish(), None);
    }
}
