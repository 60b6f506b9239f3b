//! The dot product of two rows of signed bytes: the inner loop of the vector leg, and the only `unsafe` code here.
//!
//! Codes lie in -127 ..= 127 (see [`super::quantise`]); -128 never occurs, which the AVX2 version relies on.

/// Computes the dot product of two rows of the same length.
pub(super) type Dot = fn(&[i8], &[i8]) -> i32;

/// The fastest version that this machine runs.
pub(super) fn fastest() -> Dot {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        return avx2::dot;
    }
    portable
}

/// The version for every machine; written so that the compiler makes what vector code it can of it.
pub(super) fn portable(one: &[i8], other: &[i8]) -> i32 {
    one.iter()
        .zip(other)
        .map(|(a, b)| i32::from(*a) * i32::from(*b))
        .sum()
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_abs_epi8, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_sign_epi8,
    };

    /// Callable only where AVX2 was found: private to this file, and handed out by [`super::fastest`] alone.
    pub(super) fn dot(one: &[i8], other: &[i8]) -> i32 {
        // SAFETY: `fastest` returns this function only after the processor was asked for AVX2.
        unsafe { dot_avx2(one, other) }
    }

    /// # Safety
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn dot_avx2(one: &[i8], other: &[i8]) -> i32 {
        let length = one.len().min(other.len());
        let whole = length - length % 32;
        let ones = _mm256_set1_epi16(1);
        let mut sums = _mm256_setzero_si256();
        let mut at = 0;
        while at < whole {
            // SAFETY: `at + 32 <= whole <= length`, and both slices have `length` bytes at least; the loads need no
            // alignment.
            let (a, b) = unsafe {
                (
                    _mm256_loadu_si256(one.as_ptr().add(at).cast::<__m256i>()),
                    _mm256_loadu_si256(other.as_ptr().add(at).cast::<__m256i>()),
                )
            };
            // |a| * (b with the sign of a) = a * b. Two products of at most 127 * 127 fit into 16 bits without
            // saturation (32,258 < 32,767), as no code is -128.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
            at += 32;
        }
        let halves = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let quarters = _mm_add_epi32(halves, _mm_shuffle_epi32::<0b01_00_11_10>(halves));
        let sum = _mm_add_epi32(quarters, _mm_shuffle_epi32::<0b10_11_00_01>(quarters));
        _mm_cvtsi128_si32(sum) + super::portable(&one[whole..length], &other[whole..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_computes_the_same() {
        let mut state = 7_u32;
        let mut code = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 24) as i32 % 128 - if state & 1 == 0 { 127 } else { 0 }).clamp(-127, 127) as i8
        };
        for length in [0, 1, 31, 32, 33, 63, 64, 100, 384, 1024, 1027] {
            let one: Vec<i8> = (0..length).map(|_| code()).collect();
            let other: Vec<i8> = (0..length).map(|_| code()).collect();
            assert_eq!(fastest()(&one, &other), portable(&one, &other), "length {length}");
        }
    }

    #[test]
    fn the_largest_codes_do_not_overflow() {
        for (a, b) in [(127, 127), (-127, 127), (127, -127), (-127, -127)] {
            let (one, other) = (vec![a; 4096], vec![b; 4096]);
            let expected = i32::from(a) * i32::from(b) * 4096;
            assert_eq!(fastest()(&one, &other), expected);
            assert_eq!(portable(&one, &other), expected);
        }
    }
}
