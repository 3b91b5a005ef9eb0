use std::ops::RangeInclusive;

use half::f16;

use crate::GroupParams;

/// The largest number of groups in a superblock.
const GROUPS: usize = 16;

/// The rule by which the groups of a superblock get their parameters: `scale = d sc` and `offset = -dmin m`, where sc and m are
/// integers of the group, d and dmin half-precision numbers of the superblock.
///
/// Such products are exact in single precision.
#[derive(Debug, Clone)]
pub struct TwoLevel {
    /// The integers sc, from the first to the last in steps of `step`.
    pub scales: RangeInclusive<i32>,
    /// The difference of neighbouring integers sc.
    pub step: i32,
    /// The integers m; `0..=0` if code values have no offset.
    pub minima: RangeInclusive<i32>,
}

/// The numbers of one superblock. Unused integers are 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuperblockScales {
    /// The factor of the integer scales.
    pub d: f32,
    /// The factor of the integer minima.
    pub dmin: f32,
    /// The integer scale of each group.
    pub sc: [i32; GROUPS],
    /// The integer minimum of each group.
    pub m: [i32; GROUPS],
}

impl SuperblockScales {
    /// Takes the numbers of up to 16 groups.
    pub(crate) fn new(d: f32, dmin: f32, sc: &[i32], m: &[i32]) -> Self {
        let fill = |values: &[i32]| std::array::from_fn(|j| values.get(j).copied().unwrap_or(0));
        Self { d, dmin, sc: fill(sc), m: fill(m) }
    }

    /// Returns the numbers with other integers for group `j`.
    ///
    /// # Panics
    /// Panics if `j` exceeds 15.
    #[must_use]
    pub fn with(mut self, j: usize, sc: i32, m: i32) -> Self {
        (self.sc[j], self.m[j]) = (sc, m);
        self
    }

    /// Returns the parameters of group `j`.
    ///
    /// # Panics
    /// Panics if `j` exceeds 15.
    #[must_use]
    pub fn group(&self, j: usize) -> GroupParams {
        GroupParams { scale: self.d * self.sc[j] as f32, offset: -(self.dmin * self.m[j] as f32) }
    }
}

impl TwoLevel {
    /// Returns numbers from which exactly these parameters follow; `None` if there are none. // params `[groups]`
    #[must_use]
    pub fn solve(&self, params: &[GroupParams]) -> Option<SuperblockScales> {
        if params.len() > GROUPS {
            return None;
        }
        let (d, sc) = factor(params.iter().map(|p| p.scale), &self.scales, self.step)?;
        let (dmin, m) = factor(params.iter().map(|p| -p.offset), &self.minima, 1)?;
        Some(SuperblockScales { d, dmin, sc, m })
    }
}

/// Returns a half-precision factor and the integers of the range of which `products` are exact multiples. The integer of the
/// largest product is as large as it can be.
fn factor(
    products: impl Iterator<Item = f32> + Clone,
    range: &RangeInclusive<i32>,
    step: i32,
) -> Option<(f32, [i32; GROUPS])> {
    let allowed = |t: &i32| range.contains(t) && (t - range.start()) % step == 0;
    let top = products.clone().fold(0.0f32, |top, p| if p.abs() > top.abs() { p } else { top });
    if top == 0.0 {
        // NaN is no multiple of anything.
        return products.clone().all(|p| p == 0.0).then_some((0.0, [0; GROUPS]));
    }
    let largest = range.start().abs().max(range.end().abs());
    let tops = (1..=largest).rev().flat_map(|t| [t, -t]).filter(allowed);
    tops.map(|t| top / t as f32).find_map(|factor| {
        if factor == 0.0 || f16::from_f32(factor).to_f32() != factor {
            return None;
        }
        let mut integers = [0; GROUPS];
        for (integer, product) in integers.iter_mut().zip(products.clone()) {
            *integer = (product / factor).round() as i32;
            if !allowed(integer) || factor * *integer as f32 != product {
                return None;
            }
        }
        Some((factor, integers))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovers_parameters_exactly_and_refuses_others() {
        let rule = TwoLevel { scales: -128..=127, step: 1, minima: 0..=63 };
        let mut seed = 1u32;
        let mut next = |n: i32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as i32 % n
        };
        for _ in 0..2000 {
            // Any finite half-precision factors, subnormal ones too.
            let mut factor = || f16::from_bits(next(0x7C00) as u16).to_f32();
            let (d, dmin) = (factor(), factor());
            let sc: Vec<i32> = (0..16).map(|_| next(256) - 128).collect();
            let m: Vec<i32> = (0..16).map(|_| next(64)).collect();
            let superblock = SuperblockScales::new(d, dmin, &sc, &m);
            let params: Vec<_> = (0..16).map(|j| superblock.group(j)).collect();
            let found = rule.solve(&params).expect("a solution");
            for (j, p) in params.iter().enumerate() {
                assert_eq!(found.group(j), *p, "{superblock:?}");
            }
            let mut off = params.clone();
            off[3].scale = f32::from_bits(off[3].scale.to_bits() | 1);
            assert!(off[3] == params[3] || rule.solve(&off).is_none());
        }
        let p = GroupParams { scale: f32::NAN, offset: 0.0 };
        assert_eq!(rule.solve(&[p; 4]), None);
    }
}
