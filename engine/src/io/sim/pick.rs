//! What becomes of each unsynced effect when the power fails: by dice, by enumeration, or all kept.
//!
//! Never looks at the effects themselves; it is asked about them one by one, in a fixed order.

use super::random::Random;

/// What became of one unsynced sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// As it was when last synced.
    Old,
    /// As last written.
    New,
    /// As written by the write of this number among those to the sector.
    Version(usize),
    Zero,
    Garbage,
}

/// Decides the outcome of a power cut.
pub(super) trait Pick {
    /// One fate for all pending sectors of a chunk, or `None` to decide sector by sector.
    fn chunk(&mut self) -> Option<Fate>;
    /// The fate of a sector that was written `versions` times, which is not zero.
    fn sector(&mut self, versions: usize) -> Fate;
    /// How many of `changes` changes of a file's length happened.
    fn length(&mut self, changes: usize) -> usize;
    /// A length on the way from `from` up to `to`, where the growth itself was torn.
    fn length_between(&mut self, from: u64, to: u64) -> Option<u64>;
    /// Whether one change of a directory entry happened.
    fn entry(&mut self) -> bool;
    /// What a sector of garbage holds.
    fn garbage(&mut self, sector: &mut [u8]);
}

/// Odds of 256 from which each seed takes its own, so that extremes are as common as mixtures.
const ODDS: [u64; 7] = [0, 4, 64, 128, 192, 252, 256];
/// Odds of 256 that a sector is zero or garbage.
const ODDS_DAMAGE: [u64; 5] = [0, 0, 4, 32, 128];

/// Random fates, with odds that the seed decides too.
pub(super) struct Dice {
    random: Random,
    new: u64,
    damage: u64,
    metadata: u64,
    whole_chunks: bool,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        let mut random = Random::new(seed);
        let extreme = random.below(8);
        if extreme < 2 {
            let new = 256 * extreme;
            return Dice { random, new, damage: 0, metadata: new, whole_chunks: true };
        }
        let mut one_of = |odds: &[u64]| odds[random.below(odds.len() as u64) as usize];
        let (new, damage, other) = (one_of(&ODDS), one_of(&ODDS_DAMAGE), one_of(&ODDS));
        let metadata = if random.chance(128) { new } else { other };
        let whole_chunks = random.chance(128);
        Dice { random, new, damage, metadata, whole_chunks }
    }

    fn fate(&mut self) -> Fate {
        if self.random.chance(self.damage) {
            return if self.random.chance(128) { Fate::Zero } else { Fate::Garbage };
        }
        if self.random.chance(self.new) { Fate::New } else { Fate::Old }
    }
}

impl Pick for Dice {
    fn chunk(&mut self) -> Option<Fate> {
        self.whole_chunks.then(|| self.fate())
    }

    fn sector(&mut self, versions: usize) -> Fate {
        match self.fate() {
            Fate::New if versions > 1 && self.random.chance(128) => {
                Fate::Version(self.random.below(versions as u64) as usize)
            }
            fate => fate,
        }
    }

    fn length(&mut self, changes: usize) -> usize {
        if changes == 0 || !self.random.chance(self.metadata) {
            return 0;
        }
        // Extremes keep everything.
        if self.metadata < 256 && self.random.chance(64) {
            return self.random.below(changes as u64 + 1) as usize;
        }
        changes
    }

    fn length_between(&mut self, from: u64, to: u64) -> Option<u64> {
        let sectors = (to - from) / super::image::SECTOR_BYTES as u64;
        let torn = sectors > 0 && self.metadata < 256 && self.random.chance(32);
        torn.then(|| from + self.random.below(sectors) * super::image::SECTOR_BYTES as u64)
    }

    fn entry(&mut self) -> bool {
        self.random.chance(self.metadata)
    }

    fn garbage(&mut self, sector: &mut [u8]) {
        self.random.fill(sector);
    }
}

/// Everything happened, as if synced.
pub(super) struct Kept;

impl Pick for Kept {
    fn chunk(&mut self) -> Option<Fate> {
        Some(Fate::New)
    }

    fn sector(&mut self, _versions: usize) -> Fate {
        Fate::New
    }

    fn length(&mut self, changes: usize) -> usize {
        changes
    }

    fn length_between(&mut self, _from: u64, _to: u64) -> Option<u64> {
        None
    }

    fn entry(&mut self) -> bool {
        true
    }

    fn garbage(&mut self, _sector: &mut [u8]) {}
}

/// One outcome of all, by its number: each decision takes one digit. Also counts the outcomes,
/// since every outcome is asked the same questions.
pub(super) struct Digits {
    rest: u64,
    /// How many outcomes there are, once all questions were asked; `u64::MAX` for too many.
    pub(super) outcomes: u64,
}

impl Digits {
    pub(super) fn new(number: u64) -> Digits {
        Digits { rest: number, outcomes: 1 }
    }

    fn digit(&mut self, base: usize) -> usize {
        let digit = self.rest % base as u64;
        self.rest /= base as u64;
        self.outcomes = self.outcomes.saturating_mul(base as u64);
        digit as usize
    }
}

impl Pick for Digits {
    fn chunk(&mut self) -> Option<Fate> {
        None
    }

    fn sector(&mut self, versions: usize) -> Fate {
        match self.digit(versions + 1) {
            0 => Fate::Old,
            version => Fate::Version(version - 1),
        }
    }

    fn length(&mut self, changes: usize) -> usize {
        self.digit(changes + 1)
    }

    fn length_between(&mut self, _from: u64, _to: u64) -> Option<u64> {
        None
    }

    fn entry(&mut self) -> bool {
        self.digit(2) == 1
    }

    fn garbage(&mut self, _sector: &mut [u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_number_every_outcome_once() {
        let ask = |number| {
            let mut digits = Digits::new(number);
            let answer = (digits.entry(), digits.length(2), digits.sector(1) == Fate::Old);
            (answer, digits.outcomes)
        };
        let answers: std::collections::BTreeSet<_> = (0..12).map(ask).collect();
        assert_eq!(answers.len(), 12);
        assert!(answers.iter().all(|(_, outcomes)| *outcomes == 12));
    }
}
