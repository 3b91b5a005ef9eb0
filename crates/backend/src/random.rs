/// Returns a pseudo-random number in `[0, 1)` with 24 bits. It is computed from integers only, so it is the same on
/// every device.
///
/// The generator is counter-based: the result is `MurmurHash3_x86_32` (Appleby 2011, seed 0) of the four numbers as
/// 32 little-endian bytes, its upper 24 bits divided by 2^24. This needs only 32-bit multiplication, rotation and
/// exclusive or, which shaders have too. The keys are the user's seed, the user's number of the sequence, the
/// position of the row, and the number of the draw at that position. A draw therefore does not depend on anything
/// else that runs.
#[must_use]
pub fn uniform(seed: u64, stream: u64, position: u64, draw: u64) -> f32 {
    let mut h = 0u32;
    for word in [seed, stream, position, draw].into_iter().flat_map(|x| [x as u32, (x >> 32) as u32]) {
        let k = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        h = (h ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    h ^= 32; // length in bytes
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    (h >> 8) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::uniform;

    /// The values come from an independent implementation that reproduces the published `MurmurHash3_x86_32("test") =
    /// 0xba6bd213`.
    #[test]
    fn matches_an_independent_implementation() {
        let golden = [
            ([0, 0, 0, 0], 1_593_554),
            ([1, 0, 0, 0], 7_556_696),
            ([0, 1, 0, 0], 1_831_767),
            ([0, 0, 1, 0], 5_249_457),
            ([0, 0, 0, 1], 11_495_903),
            ([u64::MAX, 1 << 40, 123_456, 7], 3_226_228u32),
        ];
        for ([seed, stream, position, draw], mantissa) in golden {
            let expected = mantissa as f32 / 16_777_216.0;
            assert_eq!(uniform(seed, stream, position, draw), expected, "{seed} {stream} {position} {draw}");
        }
    }

    #[test]
    fn neighbouring_keys_are_uniform_and_uncorrelated() {
        const DRAWS: usize = 100_000;
        for (by_position, name) in [(true, "position"), (false, "seed")] {
            let draw = |i: usize| {
                if by_position { uniform(42, 0, i as u64, 0) } else { uniform(i as u64, 0, 7, 0) }
            };
            let mut bins = [0usize; 256];
            let mut products = 0.0f64;
            for i in 0..DRAWS {
                let u = draw(i);
                assert!((0.0..1.0).contains(&u));
                bins[(u * 256.0) as usize] += 1;
                products += f64::from(u - 0.5) * f64::from(draw(i + 1) - 0.5);
            }
            let expected = DRAWS as f64 / 256.0;
            let chi2: f64 = bins.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
            // The distribution has 255 degrees of freedom: mean 255, standard deviation 22.6.
            assert!((160.0..350.0).contains(&chi2), "{name}: chi-square {chi2}");
            let correlation = products / DRAWS as f64 * 12.0;
            assert!(correlation.abs() < 0.015, "{name}: correlation {correlation}");
        }
    }
}
