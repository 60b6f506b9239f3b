//! A hash that never changes: FNV-1a over the bytes, finished with the mixer of SplitMix64 so that all bits are good.
//! The standard library's hashers may change between versions and would silently change stored vectors.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The feature of a stem.
pub(crate) fn word(text: &str) -> u64 {
    feature(b'w', text)
}

/// The feature of a character n-gram; never that of a word of the same letters.
pub(crate) fn gram(text: &str) -> u64 {
    feature(b'g', text)
}

fn feature(kind: u8, text: &str) -> u64 {
    let hash = std::iter::once(kind)
        .chain(text.bytes())
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    mix(hash)
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Where a feature goes in a vector of this dimension, and with which sign.
pub(crate) fn place(feature: u64, dimension: usize) -> (usize, f32) {
    let sign = if feature >> 63 == 0 { 1.0 } else { -1.0 };
    ((feature % dimension as u64) as usize, sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_signs_are_spread() {
        let mut filled = vec![0_u32; 1_024];
        let mut positive = 0;
        for number in 0..10_240 {
            let (at, sign) = place(word(&format!("word{number}")), 1_024);
            filled[at] += 1;
            positive += u32::from(sign > 0.0);
        }
        assert!(filled.iter().all(|count| *count < 40));
        assert!((4_900..5_340).contains(&positive), "{positive}");
        assert_ne!(word("abc"), gram("abc"));
    }
}
