//! The verifier, as tests of the engine use it.

use std::ops::ControlFlow;

use bristlecone::{Db, Result};

/// Reads and verifies the whole file.
pub(crate) fn assert_sound(db: &Db) -> Result<()> {
    let report = db.check(&mut |_| ControlFlow::Continue(()))?;
    assert!(report.is_sound(), "{:#?}", report.problems);
    Ok(())
}
