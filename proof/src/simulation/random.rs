//! Random numbers that a seed repeats on every machine.
//!
//! Never asks the operating system for anything.

/// `SplitMix64` (Steele, Lea and Flood, 2014): one addition and one mix per number.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Random {
        Random(mix(seed ^ 0x6d6f_6465_6c6c_6564))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.number()) * bound as u128) >> 64) as usize
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, odds: usize) -> bool {
        self.below(100) < odds
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// The index of a weight, as often as the weight says.
    pub fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut rest = self.below(weights.iter().sum());
        for (index, &weight) in weights.iter().enumerate() {
            if rest < weight {
                return index;
            }
            rest -= weight;
        }
        unreachable!("the rest is below the sum of the weights")
    }

    /// Bytes that neighbours in a page do not share, cheaply made.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let start = self.number();
        let byte = |index: usize| (start.rotate_left(index as u32 & 63) as u8) ^ (index >> 3) as u8;
        (0..len).map(byte).collect()
    }
}

fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
