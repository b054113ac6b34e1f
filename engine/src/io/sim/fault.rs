//! Faults to be injected: which operations they hit, and what they do to them.
//!
//! Never applies a fault itself; the disk asks which one hits and acts accordingly.

use std::path::Path;

/// Which operations a fault may hit, and what statistics count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpKind {
    /// Every operation below.
    Any,
    /// Reading from a file.
    Read,
    /// Writing to a file, durably or not.
    Write,
    /// Writing durably only.
    WriteDurable,
    /// Syncing a file or a directory.
    Sync,
    /// Syncing a directory only.
    SyncDir,
    /// Allocating, cutting or extending a file.
    Resize,
    /// Creating a file or directory.
    Create,
    /// Renaming.
    Rename,
    /// Removing a file or directory.
    Remove,
    /// Opening, locking or listing what exists.
    Open,
}

impl OpKind {
    fn includes(self, other: OpKind) -> bool {
        match self {
            OpKind::Any => true,
            OpKind::Write => matches!(other, OpKind::Write | OpKind::WriteDurable),
            OpKind::Sync => matches!(other, OpKind::Sync | OpKind::SyncDir),
            kind => kind == other,
        }
    }
}

/// What happens to an operation. Errors are numbers of the operating system: see
/// [`super::errno`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails and does nothing.
    Refuse(i32),
    /// It fails half-way. Of a write nothing, some first sectors or all were applied, unsynced; a
    /// durable one may also have failed in its sync. Of a sync, each pending sector and entry
    /// became durable or was lost: it is shown, counts as clean, and no later sync writes it. Any
    /// other change was made or not. A read is refused.
    Tear(i32),
    /// A sync or durable write returns `Ok` and makes nothing durable. What is pending stays so.
    Lie,
    /// A write returns `Ok`, and its bytes go nowhere; no later sync brings them back.
    LoseWrite,
    /// A write returns `Ok`, and its bytes go to another page of the same file.
    Misdirect,
}

impl Fault {
    fn hits(self, kind: OpKind) -> bool {
        match self {
            Fault::Refuse(_) | Fault::Tear(_) => true,
            Fault::Lie => {
                matches!(kind, OpKind::Sync | OpKind::SyncDir | OpKind::WriteDurable)
            }
            Fault::LoseWrite | Fault::Misdirect => OpKind::Write.includes(kind),
        }
    }

    /// The error that the caller gets, if any.
    pub(super) fn errno(self) -> Option<i32> {
        match self {
            Fault::Refuse(errno) | Fault::Tear(errno) => Some(errno),
            Fault::Lie | Fault::LoseWrite | Fault::Misdirect => None,
        }
    }
}

/// A fault and the operations that it hits: at first the next one of its kind.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    kind: OpKind,
    fault: Fault,
    path_part: String,
    skip: u64,
    forever: bool,
    spent: bool,
}

impl FaultPlan {
    /// Hits the next operation of this kind, once.
    #[must_use]
    pub fn new(kind: OpKind, fault: Fault) -> FaultPlan {
        FaultPlan { kind, fault, path_part: String::new(), skip: 0, forever: false, spent: false }
    }

    /// Lets this many operations of the kind pass first.
    #[must_use]
    pub fn after(mut self, skip: u64) -> FaultPlan {
        self.skip = skip;
        self
    }

    /// Hits all later operations of the kind too.
    #[must_use]
    pub fn forever(mut self) -> FaultPlan {
        self.forever = true;
        self
    }

    /// Counts and hits only operations on paths that contain this text.
    #[must_use]
    pub fn on(mut self, path_part: impl Into<String>) -> FaultPlan {
        self.path_part = path_part.into();
        self
    }

    /// Counts an operation, and returns the fault if it hits.
    pub(super) fn strike(&mut self, kind: OpKind, path: &Path) -> Option<Fault> {
        let matches = self.kind.includes(kind)
            && self.fault.hits(kind)
            && !self.spent
            && path.to_str().is_some_and(|path| path.contains(&self.path_part));
        if !matches {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.spent = !self.forever;
        Some(self.fault)
    }
}

/// How many operations a disk has seen, failed ones included.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Reads from files.
    pub reads: u64,
    /// Writes that were not asked to be durable.
    pub writes: u64,
    /// Durable writes.
    pub durable_writes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub dir_syncs: u64,
    /// Files allocated, cut or extended.
    pub resizes: u64,
    /// Files and directories created.
    pub creates: u64,
    /// Renames.
    pub renames: u64,
    /// Files and directories removed.
    pub removes: u64,
    /// Files opened and locked, directories listed.
    pub opens: u64,
    /// Bytes asked to be read.
    pub bytes_read: u64,
    /// Bytes asked to be written.
    pub bytes_written: u64,
    /// Faults that hit.
    pub faults: u64,
}

impl Stats {
    /// Operations of a kind: the first `operations(kind)` values of [`FaultPlan::after`] hit one
    /// when the same run is repeated.
    #[must_use]
    pub fn operations(&self, kind: OpKind) -> u64 {
        match kind {
            OpKind::Any => {
                let files = self.reads + self.writes + self.durable_writes + self.syncs;
                let names = self.creates + self.renames + self.removes + self.opens;
                files + names + self.dir_syncs + self.resizes
            }
            OpKind::Read => self.reads,
            OpKind::Write => self.writes + self.durable_writes,
            OpKind::WriteDurable => self.durable_writes,
            OpKind::Sync => self.syncs + self.dir_syncs,
            OpKind::SyncDir => self.dir_syncs,
            OpKind::Resize => self.resizes,
            OpKind::Create => self.creates,
            OpKind::Rename => self.renames,
            OpKind::Remove => self.removes,
            OpKind::Open => self.opens,
        }
    }

    pub(super) fn count(&mut self, kind: OpKind) {
        let counter = match kind {
            OpKind::Any => return,
            OpKind::Read => &mut self.reads,
            OpKind::Write => &mut self.writes,
            OpKind::WriteDurable => &mut self.durable_writes,
            OpKind::Sync => &mut self.syncs,
            OpKind::SyncDir => &mut self.dir_syncs,
            OpKind::Resize => &mut self.resizes,
            OpKind::Create => &mut self.creates,
            OpKind::Rename => &mut self.renames,
            OpKind::Remove => &mut self.removes,
            OpKind::Open => &mut self.opens,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_counts_and_hits_only_what_it_names() {
        let data = Path::new("/db/data");
        let mut plan = FaultPlan::new(OpKind::Write, Fault::Refuse(5)).after(1).on("data");
        assert_eq!(plan.strike(OpKind::Sync, data), None);
        assert_eq!(plan.strike(OpKind::Write, Path::new("/db/log")), None);
        assert_eq!(plan.strike(OpKind::Write, data), None);
        assert_eq!(plan.strike(OpKind::WriteDurable, data), Some(Fault::Refuse(5)));
        assert_eq!(plan.strike(OpKind::Write, data), None);
        let mut lie = FaultPlan::new(OpKind::Any, Fault::Lie).forever();
        assert_eq!(lie.strike(OpKind::Write, data), None);
        assert_eq!(lie.strike(OpKind::Sync, data), Some(Fault::Lie));
        assert_eq!(lie.strike(OpKind::SyncDir, data), Some(Fault::Lie));
    }
}
