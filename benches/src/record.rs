//! The record of a run: all that was measured, and where and on what.
//!
//! Tables and plots of `docs/benchmarks.md` are made from committed records and from nothing else.
//! What a reader does not know it skips, and what an older record lacks is empty, so that
//! workloads and figures can be added without another format. A file is one JSON object, with one
//! line for each engine in a workload, for each second of a sustained run, and so on.

mod churn;
mod disturbance;
mod layout;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

pub use churn::{Asked, Churn, ChurnRun, Sample, Turnover};
pub use disturbance::{Commits, Disturbance, Phase};

/// Names of the figures beside the main one that the tables and goals know.
pub mod figures {
    /// Median time of a commit.
    pub const P50: &str = "p50";
    /// The 99th percentile.
    pub const P99: &str = "p99";
    /// The longest commit.
    pub const WORST: &str = "worst";
    /// Flushes of the device for each commit.
    pub const FLUSHES: &str = "flushes a commit";
    /// Processor time of the calling threads for an operation.
    pub const CPU: &str = "processor time";
    /// Bytes that the device wrote, by bytes put.
    pub const WRITTEN: &str = "write amplification";
    /// Time to do what was put off.
    pub const SETTLING: &str = "settling";
    /// The share of all processors that others used.
    pub const OTHERS: &str = "used by others";
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "run", rename_all = "kebab-case")]
pub enum Record {
    /// Engines beside each other.
    SideBySide(SideBySide),
    /// One engine under the same load for minutes.
    Sustained(Sustained),
    /// What comes and goes, and the files meanwhile.
    Churn(Churn),
    /// Commits beside work of the engine.
    Disturbance(Disturbance),
}

/// Where and on what figures were taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Circumstances {
    /// As anybody can repeat it.
    pub command: String,
    /// The commit of the checkout, `-dirty` behind it when files differed.
    pub commit: String,
    /// The day it began, in UTC, as year-month-day.
    pub date: String,
    /// How many processors, and which.
    pub machine: String,
    /// Release of the kernel.
    pub kernel: String,
    /// The block device and the file system.
    pub device: String,
    /// What was in the database.
    pub data: String,
    /// Load averages before the run.
    pub load_before: String,
    /// Load averages after it.
    pub load_after: String,
}

/// A run of all engines, workload by workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SideBySide {
    /// Where and on what.
    pub circumstances: Circumstances,
    /// Rounds of which medians were taken.
    pub rounds: usize,
    /// In the order of the run.
    pub workloads: Vec<Workload>,
}

/// A workload and what engines reached in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Its name, by which its goal is found.
    pub name: String,
    /// Unit of its figure.
    pub unit: String,
    /// Which way the figure is better.
    pub better: Better,
    /// With what it is shown.
    pub group: Group,
    /// One for each engine.
    pub entries: Vec<Entry>,
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Speeds.
    Higher,
    /// Sizes and times.
    Lower,
}

/// Workloads that are shown together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Durable commits of one put.
    Commits,
    /// Gets.
    Reads,
    /// Scans, short and full.
    Scans,
    /// Loads, and transactions of more than one put or without a wait.
    Loads,
    /// Size and memory.
    Size,
    /// Opening a database.
    Opens,
    /// Records of JSON, in a database of their own.
    Records,
    /// Small buckets.
    Buckets,
    /// Single values of all sizes.
    Values,
    /// What a later program has put into a group that this one does not know.
    #[serde(other)]
    Others,
}

/// What an engine is in the comparison, in the order in which engines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Bristlecone.
    Ours,
    /// Another engine.
    Peer,
    /// A program that does only what physics asks.
    Limit,
}

/// What one engine reached in a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The engine's name.
    pub engine: String,
    /// What it is.
    pub role: Role,
    /// The figure of the workload; `None` when nothing was measured. Without a failure either, the
    /// engine cannot do the work by its nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figure: Option<Spread>,
    /// Other figures of the same runs, by name: latencies, flushes for each commit, and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, Figure>,
    /// What is particular about the engine here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Why the figure does not count, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The median of all rounds, and how far they lay apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Of an even number of rounds the lower one of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// A figure beside the main one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its unit, empty for a ratio.
    pub unit: String,
    /// Which way it is better.
    pub better: Better,
    /// Its values.
    #[serde(flatten)]
    pub spread: Spread,
}

/// Random puts for minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    /// Where and on what.
    pub circumstances: Circumstances,
    /// The engine's name.
    pub engine: String,
    /// What it is.
    pub role: Role,
    /// What was asked of it.
    pub load: Load,
    /// Duration of the puts in seconds.
    pub elapsed_seconds: f64,
    /// Time of each commit, in nanoseconds.
    pub latency: Histogram,
    /// Flushes of the device meanwhile, those of others included; `None` when nobody counts them.
    #[serde(default)]
    pub flushes: Option<u64>,
    /// Bytes that the device has written meanwhile and to settle afterwards, by bytes put.
    #[serde(default)]
    pub write_amplification: Option<f64>,
    /// The share of all processors that others used meanwhile.
    #[serde(default)]
    pub others: Option<f64>,
    /// Why it does not count, if so.
    #[serde(default)]
    pub failure: Option<String>,
    /// One for each second.
    pub seconds: Vec<Second>,
}

/// What a sustained run asks of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Pairs in the database.
    pub pairs: usize,
    /// Threads that commit.
    pub threads: usize,
    /// Puts in a transaction.
    pub puts: usize,
    /// Whether a commit returns only when it is on the device.
    pub durable: bool,
}

/// One second of a sustained run: what ended in it, and what was there at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Time of the sample since the first commit began, in seconds.
    pub at: f64,
    /// Commits that returned since the sample before.
    pub commits: u64,
    /// Their median latency in microseconds; zero when there were none.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The longest.
    pub worst_us: f64,
    /// Bytes that all files of the database take on the device.
    pub disk_bytes: u64,
    /// Anonymous memory of the process beyond what the bench itself holds.
    pub memory_bytes: u64,
    /// Length of the data file, of an engine that tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// Length of the log, of an engine that tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// Checkpoints that ended in this second, of an engine that tells them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<u64>,
}

impl Spread {
    /// The spread of some values; `None` when there are none. What is no number is left out.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len().checked_sub(1)? / 2;
        let [median, min, max] =
            [values[middle], values[0], values[values.len() - 1]].map(|value| rounded(value, 5));
        Some(Spread { median, min, max })
    }
}

impl Workload {
    /// The entry of the best median of a role, of those that count.
    #[must_use]
    pub fn best(&self, role: Role) -> Option<(&Entry, f64)> {
        let valid = self.entries.iter().filter(|entry| entry.role == role);
        let medians = valid.filter_map(|entry| Some((entry, entry.counted()?.median)));
        medians.reduce(|one, other| match self.better {
            Better::Higher if other.1 > one.1 => other,
            Better::Lower if other.1 < one.1 => other,
            _ => one,
        })
    }

    /// How many times better `median` is than `other`: above one is a win, whichever way. Infinite
    /// beside nothing, and one where both are nothing.
    #[must_use]
    pub fn times(&self, median: f64, other: f64) -> f64 {
        match self.better {
            _ if median == other => 1.0,
            Better::Higher => median / other,
            Better::Lower => other / median,
        }
    }
}

impl Entry {
    /// The figure, if it counts.
    #[must_use]
    pub fn counted(&self) -> Option<Spread> {
        self.figure.filter(|_| self.failure.is_none())
    }
}

impl Record {
    /// The record as the text of a file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let depth = match self {
            Record::SideBySide(_) => layout::SIDE_BY_SIDE,
            Record::Sustained(_) => layout::SUSTAINED,
            Record::Churn(_) => layout::CHURN,
            Record::Disturbance(_) => layout::DISTURBANCE,
        };
        layout::text(self, depth)
    }

    /// Writes the record, and makes the folder for it if there is none.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, self.to_text())
    }
}

/// All records of a folder with the names of their files, without the extension, in the order of
/// names. A folder that is not there holds none.
///
/// # Errors
/// When a file cannot be read, or is no record.
pub fn read_all(folder: &Path) -> Result<Vec<(String, Record)>, String> {
    let mut records = Vec::new();
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(records),
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    };
    for listed in listing {
        let path = listed.map_err(|error| format!("{}: {error}", folder.display()))?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let Some(name) = name.filter(|_| path.extension().is_some_and(|it| it == "json")) else {
            continue;
        };
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| told(&error))?;
        let record = serde_json::from_str(&text).map_err(|error| told(&error))?;
        records.push((name.to_owned(), record));
    }
    records.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(records)
}

/// A number to so many digits that count. What is beyond them is noise, and makes records long.
#[must_use]
pub fn rounded(value: f64, digits: usize) -> f64 {
    let text = format!("{value:.*e}", digits.saturating_sub(1));
    text.parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let spread = Spread::of([3.0, f64::NAN, 1.0, 2.0]).expect("three values");
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]).expect("two values").median, 1.0);
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn digits_that_do_not_count_are_left_out() {
        assert_eq!(rounded(963_247.3, 4), 963_200.0);
        assert_eq!(rounded(0.000_123_46, 3), 0.000_123);
        assert_eq!(rounded(0.0, 3), 0.0);
    }

    #[test]
    fn what_is_better_decides_who_is_best() {
        let entry = |engine: &str, median: f64, failure: Option<&str>| Entry {
            engine: engine.to_owned(),
            role: Role::Peer,
            figure: Spread::of([median]),
            beside: BTreeMap::new(),
            remarks: Vec::new(),
            failure: failure.map(str::to_owned),
        };
        let mut workload = Workload {
            name: "size".to_owned(),
            unit: "MB".to_owned(),
            better: Better::Lower,
            group: Group::Size,
            entries: vec![entry("a", 2.0, None), entry("b", 3.0, None), entry("c", 9.0, Some("!"))],
        };
        assert_eq!(workload.best(Role::Peer).expect("peers").0.engine, "a");
        assert_eq!(workload.times(1.0, 2.0), 2.0);
        assert_eq!([workload.times(0.0, 0.0), workload.times(0.0, 2.0)], [1.0, f64::INFINITY]);
        workload.better = Better::Higher;
        assert_eq!(workload.best(Role::Peer).expect("peers").0.engine, "b");
        assert_eq!(workload.best(Role::Limit), None);
    }

    #[test]
    fn a_reader_skips_what_it_does_not_know_and_does_without_what_is_missing() {
        let text = r#"{"run": "side-by-side", "circumstances": {"commit": "abc", "moon": "full"},
            "rounds": 1, "news": [], "workloads": [{"name": "get", "unit": "gets/s",
            "better": "higher", "group": "moons", "entries": [{"engine": "x", "role": "peer",
            "colour": 1}]}]}"#;
        let Record::SideBySide(run) = serde_json::from_str(text).expect("a record") else {
            panic!("expected a run side by side");
        };
        assert_eq!(run.circumstances.commit, "abc");
        assert_eq!(run.workloads[0].group, Group::Others);
        assert_eq!(run.workloads[0].entries[0].figure, None);
    }
}
