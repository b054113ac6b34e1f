//! The record of a disturbance: durable commits while the engine does something large.

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

use super::{Circumstances, Spread};

/// One thread that commits, while nothing else is done, and while something is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Where and on what.
    pub circumstances: Circumstances,
    /// The share of all processors that others used meanwhile.
    #[serde(default)]
    pub others: Option<f64>,
    /// Why it does not count, if so.
    #[serde(default)]
    pub failure: Option<String>,
    /// The quiet one first.
    pub phases: Vec<Phase>,
}

/// What was done while the thread committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What it is called in tables.
    pub name: String,
    /// One for each round.
    pub rounds: Vec<Commits>,
}

/// The commits of a phase in one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Commits {
    /// How long the phase took.
    pub seconds: f64,
    /// Time of each commit, in nanoseconds.
    pub latency: Histogram,
}

impl Commits {
    /// Adds those of another phase of the same name and round.
    pub fn add_all(&mut self, other: &Commits) {
        self.seconds += other.seconds;
        self.latency.add_all(&other.latency);
    }
}

impl Phase {
    /// The median of all rounds, and how far they lay apart; `None` when there are none.
    #[must_use]
    pub fn spread(&self, of: impl Fn(&Commits) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(of))
    }
}
