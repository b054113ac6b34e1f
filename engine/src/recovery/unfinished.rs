//! Databases under a name of their own until they are whole, for whoever copies one.
//!
//! Never renames: the caller does, when all is verified and durable.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::Host;

use super::LOG;

/// The name that the new database has until it is complete; refuses an `into` that cannot be.
pub(crate) fn unfinished_name(host: &dyn Host, into: &Path) -> Result<PathBuf> {
    let Some(name) = into.file_name() else {
        let found = into.display();
        return Err(Error::invalid(format!("expected a directory with a name, found {found}")));
    };
    let mut unfinished = OsString::from(name);
    unfinished.push(".unfinished");
    let unfinished = into.with_file_name(unfinished);
    for dir in [into, &unfinished] {
        match host.list(dir) {
            Ok(names) if names.is_empty() => {}
            Ok(_) => {
                let found = dir.display();
                let expected = "expected a directory that is new or empty";
                return Err(Error::invalid(format!("{expected}, found {found} with content")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", dir, error)),
        }
    }
    Ok(unfinished)
}

/// Removes a database that was begun.
pub(crate) fn remove_unfinished(host: &dyn Host, dir: &Path) -> io::Result<()> {
    let log = dir.join(LOG);
    for name in host.list(&log).unwrap_or_default() {
        host.remove_file(&log.join(name))?;
    }
    for name in host.list(dir)? {
        match name == LOG {
            true => host.remove_dir(&log)?,
            false => host.remove_file(&dir.join(name))?,
        }
    }
    host.remove_dir(dir)
}
