//! Sweeps in histories: what has expired is gone, in the engine and in the reference.

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::{Db, Result};

use super::crash::CrashHistory;
use super::expected;
use super::history::{self, History};

impl History {
    /// Removes what has expired. All of it, so that how many entries a bucket has is known.
    pub(super) fn sweep(&mut self, db: &Db) -> Result<()> {
        let mut root = Arc::clone(&self.versions.back().expect("there is a tip").root);
        let expired = Arc::make_mut(&mut root).expire(self.now_ms);
        let report = db.sweep(&mut |_| ControlFlow::Continue(()))?;
        assert!(report.is_finished && expired == (report.removed > 0), "{report:?}");
        db.sync()?;
        // One revision for each step that removed something: the last is what anybody sees.
        let txn = db.begin_read()?.id().0;
        if expired {
            self.versions.push_back(history::Version { txn, root, time_ms: self.now_ms });
        }
        self.all_published();
        self.look(db)
    }
}

impl CrashHistory {
    /// Removes what has expired, which is one commit: there is not so much of it.
    pub(super) fn sweep(&mut self, db: &Db) -> Result<()> {
        let time_ms = self.observe(db)?;
        let mut root = Arc::clone(&self.versions.last().expect("never empty").root);
        let expired = Arc::make_mut(&mut root).expire(time_ms);
        if expired {
            self.begin_version(expected::Version { root, time_ms });
        }
        let swept = db.sweep(&mut |_| ControlFlow::Continue(()));
        // What fails may have committed before.
        if swept.is_err()
            && expired
            && let Ok(next) = db.begin_write()
            && next.id().0 < self.versions.len() as u64
        {
            self.versions.pop();
        }
        assert_eq!(expired, swept?.removed > 0, "what has expired is removed");
        Ok(())
    }
}
