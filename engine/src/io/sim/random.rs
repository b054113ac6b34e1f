//! The simulation's own random numbers: a seed gives the same sequence on every machine.
//!
//! Never asks the operating system for anything.

/// `SplitMix64` (Steele, Lea and Flood, 2014): one addition and one mix per number.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        // Mixed once, so that neighbouring seeds do not give shifted copies of one sequence.
        Random(mix(seed ^ 0x6272_6973_746c_6563))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True `odds` times in 256.
    pub(super) fn chance(&mut self, odds: u64) -> bool {
        self.next() >> 56 < odds
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}

fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_their_bounds() {
        let (mut first, mut second) = (Random::new(7), Random::new(7));
        for bound in 1..1000 {
            let number = first.below(bound);
            assert_eq!(number, second.below(bound));
            assert!(number < bound);
        }
        assert_ne!(Random::new(1).next(), Random::new(2).next());
        assert!(!first.chance(0) && first.chance(256));
    }
}
