//! All rigs.

use crate::damage::{flips, lengths, sectors};
use crate::rig::Rig;
use crate::simulated::{crashes, expiry, faults, histories, lies, mutations, scripts};

/// Every rig, in the order of the table in `docs/testing.md`.
pub const RIGS: &[Rig] = &[
    Rig {
        name: "crash-images",
        fault: "power cut: unsynced sectors and names lost, torn, reordered; recovery cut too",
        behaviour: "I1 to I8",
        unit: "images",
        cases: [100_000, 1_000_000, 10_000_000],
        run: crashes::run,
    },
    Rig {
        name: "crash-strings",
        fault: "power cut in every short string of operations on a new store, all outcomes of each",
        behaviour: "I1 to I8",
        unit: "strings",
        cases: [111, 111, 1111],
        run: scripts::run,
    },
    Rig {
        name: "histories",
        fault: "none, or a kill: everything a user can do",
        behaviour: "what nested maps would do",
        unit: "operations",
        cases: [500_000, 5_000_000, 50_000_000],
        run: histories::run,
    },
    Rig {
        name: "failing-disk",
        fault: "EIO, ENOSPC, EDQUOT, torn writes, failed syncs, at each operation, once and ever",
        behaviour: "reads go on; a full disk refuses and recovers; anything else stops writing",
        unit: "faults",
        cases: [1, 1, 1],
        run: faults::run,
    },
    Rig {
        name: "full-disk",
        fault: "the disk is full, at every size around that of the store",
        behaviour: "the write is refused; reads go on; writes go on when there is room",
        unit: "sizes",
        cases: [1, 1, 1],
        run: faults::fill,
    },
    Rig {
        name: "lying-disk",
        fault: "a write that goes nowhere or to another page; a sync that does nothing",
        behaviour: "right values, or an error that names the damage; some committed state",
        unit: "lies",
        cases: [20_000, 200_000, 1_000_000],
        run: lies::run,
    },
    Rig {
        name: "clock-jumps",
        fault: "the wall clock jumps ten years either way, between kills and power cuts",
        behaviour: "an expired record never shows again; one that is not expired is there",
        unit: "deadlines",
        cases: [20_000, 200_000, 1_000_000],
        run: expiry::run,
    },
    Rig {
        name: "bit-flips",
        fault: "a bit flips, in a small store or in its log",
        behaviour: "right values, or an error; harmless only where nothing is kept",
        unit: "flips",
        cases: [20_000, u64::MAX, u64::MAX],
        run: flips::run,
    },
    Rig {
        name: "sectors",
        fault: "a sector or page becomes zeros, ones, or a copy of another",
        behaviour: "right values, or an error",
        unit: "sectors",
        cases: [10_000, u64::MAX, u64::MAX],
        run: sectors::run,
    },
    Rig {
        name: "lengths",
        fault: "a file is cut at any length, or extended",
        behaviour: "right values, or an error",
        unit: "lengths",
        cases: [10_000, u64::MAX, u64::MAX],
        run: lengths::run,
    },
    Rig {
        name: "seeded-bugs",
        fault: "a bug in the engine",
        behaviour: "the crash simulation fails",
        unit: "bugs",
        cases: [1, 1, 1],
        run: mutations::run,
    },
];

/// The rig of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Rig> {
    RIGS.iter().find(|rig| rig.name == name)
}
