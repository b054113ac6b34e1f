//! The record of a churn: what comes and goes millions of times, and the files meanwhile.

use serde::{Deserialize, Serialize};

use super::Circumstances;

/// Overwrites and records that expire, each without a reader and with one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Where and on what.
    pub circumstances: Circumstances,
    /// What was asked for.
    pub asked: Asked,
    /// The share of all processors that others used meanwhile.
    #[serde(default)]
    pub others: Option<f64>,
    /// One for each kind of churn, with and without a reader.
    pub runs: Vec<ChurnRun>,
}

/// What a churn does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Puts of each run.
    pub puts: u64,
    /// Puts in a transaction.
    pub together: usize,
    /// Keys that are overwritten.
    pub keys: usize,
    /// Pairs that stay, in the bucket in which others expire.
    pub lasting: usize,
    /// How long a record lives that expires, in seconds.
    pub lifetime_seconds: f64,
    /// How many of those are put in a second; overwrites come without a pause.
    pub rate: u64,
}

/// What comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turnover {
    /// The values of a few keys.
    Overwrites,
    /// Records with a time to live, each with a key of its own, which the engine removes.
    Expiries,
}

/// One kind of churn in a database of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChurnRun {
    /// What came and went.
    pub turnover: Turnover,
    /// Whether a reader was held, from the twentieth part of the puts on to the end.
    pub with_reader: bool,
    /// How long the puts took.
    pub put_seconds: f64,
    /// Why it does not count, if so.
    #[serde(default)]
    pub failure: Option<String>,
    /// Nothing was due any more, and a checkpoint was written.
    pub settled: Sample,
    /// The file was compacted, while the reader was still held.
    pub compacted: Sample,
    /// The reader was gone, and the file was compacted again.
    #[serde(default)]
    pub released: Option<Sample>,
    /// While it was put, and until nothing was due.
    pub samples: Vec<Sample>,
}

impl ChurnRun {
    /// When all that can be given back was.
    #[must_use]
    pub fn last(&self) -> &Sample {
        self.released.as_ref().unwrap_or(&self.compacted)
    }

    /// The most of something that any sample has before the file is compacted.
    #[must_use]
    pub fn most<T: Ord>(&self, of: impl Fn(&Sample) -> T) -> T {
        self.samples.iter().map(&of).fold(of(&self.settled), T::max)
    }
}

/// Sizes at one moment, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Since the first put, in seconds.
    pub at: f64,
    /// Puts that were committed.
    pub puts: u64,
    /// Keys and values of records that are not overwritten and not removed.
    pub live_bytes: u64,
    /// Length of the data file.
    pub file_bytes: u64,
    /// Free pages in it.
    pub free_bytes: u64,
    /// Length of all log files.
    pub log_bytes: u64,
    /// What all files take on the device.
    pub disk_bytes: u64,
    /// Memory of changes that no checkpoint has written, or that readers hold.
    pub memory_bytes: u64,
    /// Pages that are kept for the reader alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_bytes: Option<u64>,
    /// Records that were removed since they had expired.
    pub swept: u64,
    /// How long ago the earliest record had expired that was not yet removed, in milliseconds.
    pub ttl_lag_ms: u64,
}
