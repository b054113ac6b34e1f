//! What a recovered disk may hold, and the notes in a trace that tell it.

use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Result};

use super::compare::{assert_same, assert_sound};
use super::reference::{Now, Tree};

/// A note in the trace: what a power cut from here on may and may not take.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// A transaction of this number is about to commit.
    Begun(u64),
    /// The transaction of this number is durable for sure.
    Acknowledged(u64),
    /// The database may have read this time.
    Clock(u64),
    /// Opening is done.
    Opened,
}

impl Mark {
    pub(super) fn tag(self) -> u64 {
        match self {
            Mark::Begun(txn) => txn << 2,
            Mark::Acknowledged(txn) => txn << 2 | 1,
            Mark::Clock(now_ms) => now_ms << 2 | 3,
            Mark::Opened => 2,
        }
    }

    pub(super) fn of_tag(tag: u64) -> Mark {
        match tag & 3 {
            0 => Mark::Begun(tag >> 2),
            1 => Mark::Acknowledged(tag >> 2),
            3 => Mark::Clock(tag >> 2),
            _ => Mark::Opened,
        }
    }
}

/// One committed state; its place in the list is its transaction's number.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) root: Arc<Tree>,
    /// When its transaction began.
    pub(super) time_ms: u64,
}

/// Where a history stands before a life.
pub(super) struct Point {
    pub(super) versions: Vec<Version>,
    pub(super) acknowledged: u64,
    pub(super) latest_ms: u64,
    pub(super) settled: Option<u64>,
}

/// How far a life has come at an operation of its trace.
pub(super) struct Progress {
    pub(super) begun: u64,
    pub(super) opened: bool,
}

/// What a recovered disk may hold.
pub(super) struct Expected<'a> {
    pub(super) versions: &'a [Version],
    pub(super) acknowledged: u64,
    pub(super) begun: u64,
    pub(super) settled: Option<u64>,
    pub(super) latest_ms: u64,
}

/// Compares a recovered database; returns its revision.
pub(super) fn verify(db: &Db, disk: &SimDisk, expected: &Expected<'_>) -> Result<u64> {
    let view = db.begin_read()?;
    let revision = view.id().0;
    let Expected { acknowledged, begun, .. } = *expected;
    assert!(revision >= acknowledged, "revision {revision}, but {acknowledged} was acknowledged");
    assert!(revision <= begun, "revision {revision}, but only {begun} were begun");
    if let Some(settled) = expected.settled {
        assert_eq!(revision, settled, "an earlier recovery found another revision");
    }
    let version = &expected.versions[revision as usize];
    let latest = expected.latest_ms.max(disk.now_ms());
    let now = Now { earliest: version.time_ms.max(disk.now_ms()), latest };
    assert_same(&view, &version.root, now)?;
    assert_sound(db)?;
    Ok(revision)
}
