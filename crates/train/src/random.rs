//! Random numbers that depend on a seed alone.

/// The generator SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number of the standard normal distribution (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f32 {
        // The first number is above 0, so that its logarithm is finite.
        let [a, b] = [1.0, 0.0].map(|least| ((self.next() >> 11) as f64 + least) / (1u64 << 53) as f64);
        (libm::sqrt(-2.0 * libm::log(a)) * libm::cos(2.0 * std::f64::consts::PI * b)) as f32
    }

    /// Returns the numbers below `len` in random order (Fisher and Yates).
    pub(crate) fn permutation(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for i in (1..len).rev() {
            // The product's upper half is uniform up to a share of len / 2^64.
            let j = (u128::from(self.next()) * (i as u128 + 1)) >> 64;
            order.swap(i, j as usize);
        }
        order
    }
}
