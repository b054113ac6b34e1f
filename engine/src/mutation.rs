//! Seeded bugs: places where the engine can be told to do the wrong thing, so that the simulation
//! of crashes and of disks that lie can prove that it notices.
//!
//! Without the feature `simulation` every question is answered `false` at compile time, and nothing
//! of this is in the program. A bug is chosen for the thread that runs the engine, so simulations
//! on other threads are not touched by it.

#![cfg_attr(
    not(feature = "simulation"),
    allow(unreachable_pub, reason = "public with the feature, so that tests can choose a bug")
)]

#[cfg(feature = "simulation")]
use std::cell::Cell;

/// One bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Frames of the log are written, but not made durable.
    LogNotSynced,
    /// The header of a new segment is written, but not made durable.
    SegmentHeaderNotSynced,
    /// The name of a new segment is not made durable.
    SegmentNameNotSynced,
    /// The file of a long record gets its name before its pieces are durable.
    LongRecordNotSynced,
    /// The end of a long record is written before the name of its segment is durable.
    LongRecordNameNotSynced,
    /// A recovery goes on behind a long record without its end.
    LongRecordKept,
    /// A commit is acknowledged before its record is in the log.
    AcknowledgedBeforeSync,
    /// A segment that a recovery needs is put to use again.
    LogRecycledEarly,
    /// A frame is believed without a look at its checksum.
    TornFrameAccepted,
    /// A frame is believed though it belongs to an earlier use of its segment.
    StaleFrameAccepted,
    /// The data file is not synced before its meta page is written.
    DataNotSynced,
    /// The meta page is written, then the data file is synced.
    MetaBeforeData,
    /// The meta page is written, but not made durable.
    MetaNotSynced,
    /// Each checkpoint writes the same of the two meta pages.
    NewestMetaOverwritten,
    /// A torn meta page stays there until the next checkpoint writes over it.
    TornMetaKept,
    /// A page is used again though a meta page reaches it.
    PageReusedBeforeMeta,
    /// A page is used again though a reader reaches it.
    PageReusedUnderReader,
    /// What a checkpoint freed in the data file stays marked as in use.
    FreedPageLost,
    /// A checkpoint says that the log continues behind commits that came while it wrote.
    LogPositionAhead,
    /// Pages that were copied by a checkpoint and dropped meanwhile keep their place in the file.
    DroppedCopyLost,
    /// A transaction that is rolled back keeps its pages.
    RolledBackPageLost,
    /// The page that an overlay is laid over is used again while the overlay is there.
    BaseNotHeld,
    /// The page that an overlay was laid over stays marked as in use.
    BaseLost,
    /// A record that gets an earlier expiry has no hint of it.
    ExpiryNotNoted,
    /// A sweep removes what a hint leads to, though it expires later by now.
    HintBelieved,
    /// A page that a transaction has spilled is handed out before a checkpoint knows of it.
    LentNotHeld,
    /// A checkpoint leaves spilled pages that its root reaches marked as free.
    LentNotSettled,
    /// The file is cut before a meta page says that it is shorter.
    TailCutEarly,
    /// The name of a new database is not made durable.
    DatabaseNameNotSynced,
    /// The directory of a new database is not made durable.
    DirectoryNotSynced,
    /// A recovery believes what it reads without syncing it.
    RecoveryNotSynced,
    /// A page is believed without a look at its checksum.
    PageNotVerified,
    /// A recovery believes what the operating system's cache shows.
    CacheBelieved,
    /// A recovery leaves the clock where the checkpoint had it.
    ClockNotReplayed,
    /// A recovery leaves sequences where the checkpoint had them.
    SequenceNotReplayed,
    /// A replay does not see buckets that have expired.
    ReplayGoesByClock,
    /// Of the changes to one key that are replayed together the first one counts.
    FirstChangeReplayed,
}

#[cfg(feature = "simulation")]
impl Mutation {
    /// Every bug there is.
    pub const ALL: [Mutation; 37] = [
        Mutation::LogNotSynced,
        Mutation::SegmentHeaderNotSynced,
        Mutation::SegmentNameNotSynced,
        Mutation::LongRecordNotSynced,
        Mutation::LongRecordNameNotSynced,
        Mutation::LongRecordKept,
        Mutation::AcknowledgedBeforeSync,
        Mutation::LogRecycledEarly,
        Mutation::TornFrameAccepted,
        Mutation::StaleFrameAccepted,
        Mutation::DataNotSynced,
        Mutation::MetaBeforeData,
        Mutation::MetaNotSynced,
        Mutation::NewestMetaOverwritten,
        Mutation::TornMetaKept,
        Mutation::PageReusedBeforeMeta,
        Mutation::PageReusedUnderReader,
        Mutation::FreedPageLost,
        Mutation::LogPositionAhead,
        Mutation::DroppedCopyLost,
        Mutation::RolledBackPageLost,
        Mutation::BaseNotHeld,
        Mutation::BaseLost,
        Mutation::ExpiryNotNoted,
        Mutation::HintBelieved,
        Mutation::LentNotHeld,
        Mutation::LentNotSettled,
        Mutation::TailCutEarly,
        Mutation::DatabaseNameNotSynced,
        Mutation::DirectoryNotSynced,
        Mutation::RecoveryNotSynced,
        Mutation::PageNotVerified,
        Mutation::CacheBelieved,
        Mutation::ClockNotReplayed,
        Mutation::SequenceNotReplayed,
        Mutation::ReplayGoesByClock,
        Mutation::FirstChangeReplayed,
    ];
}

#[cfg(feature = "simulation")]
thread_local! {
    static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Chooses the bug that this thread's engine has from now on.
#[cfg(feature = "simulation")]
pub fn set(mutation: Option<Mutation>) {
    CHOSEN.set(mutation);
}

/// True when the engine shall have this bug.
#[cfg(feature = "simulation")]
#[inline]
pub(crate) fn is(mutation: Mutation) -> bool {
    CHOSEN.get() == Some(mutation)
}

/// True when the engine shall have this bug: never.
#[cfg(not(feature = "simulation"))]
#[inline]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}
