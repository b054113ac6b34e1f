//! The record of a run: what ran where, and what it counted.
//!
//! The tables in `docs/testing.md` are made from such records and from nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What one rig counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The rig's name.
    pub rig: String,
    /// What was run.
    pub cases: u64,
    /// What a case is.
    pub unit: String,
    /// First and last seed, where seeds were used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<(u64, u64)>,
    /// What else was counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// What went wrong: lost commits, wrong values, panics. Empty when all is well.
    pub failures: Vec<String>,
    /// Why it could not run here, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Evidence {
    /// A rig that this machine cannot run.
    #[must_use]
    pub fn skipped(why: impl Into<String>) -> Evidence {
        Evidence { skipped: Some(why.into()), ..Evidence::default() }
    }

    /// True unless something went wrong. A skipped rig passes, and is counted as skipped.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.skipped {
            return write!(f, "{:<24} skipped: {why}", self.rig);
        }
        write!(f, "{:<24} {} {}", self.rig, self.cases, self.unit)?;
        if let Some((first, last)) = self.seeds {
            write!(f, ", seeds {first} to {last}")?;
        }
        for (name, count) in &self.counts {
            write!(f, ", {name} {count}")?;
        }
        write!(f, ", failures {}, {} s", self.failures.len(), self.seconds)
    }
}

/// Where a run took place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Logical processors.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
}

/// A run of a tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The tier's name.
    pub tier: String,
    /// Commit of the engine.
    pub commit: String,
    /// True when files differed from that commit.
    pub changed: bool,
    /// The day it began, in UTC, as year-month-day.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// How long it took.
    pub seconds: f64,
    /// One for each rig.
    pub rigs: Vec<Evidence>,
}

impl Record {
    /// A record without evidence yet.
    #[must_use]
    pub fn new(tier: &str) -> Record {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Record {
            tier: tier.to_owned(),
            commit: output("git", &["rev-parse", "--short=12", "HEAD"]),
            changed: !output("git", &["status", "--porcelain"]).is_empty(),
            date: output("date", &["-u", "+%F"]),
            machine: Machine { cores, kernel },
            seconds: 0.0,
            rigs: Vec::new(),
        }
    }

    /// What a rig counted, if it ran and was not skipped.
    #[must_use]
    pub fn evidence(&self, rig: &str) -> Option<&Evidence> {
        self.rigs.iter().find(|evidence| evidence.rig == rig && evidence.skipped.is_none())
    }
}

/// What a command prints; nothing when it cannot run.
fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let text = done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned());
    text.unwrap_or_default()
}
