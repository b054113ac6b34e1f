//! What a process that is killed leaves.

use std::fs;
use std::path::Path;

/// A copy of the files of a database that is open.
pub(crate) fn copy_dir(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("wal")).expect("a directory");
    for sub in [from.to_path_buf(), from.join("wal")] {
        for listed in fs::read_dir(&sub).expect("a directory") {
            let path = listed.expect("a file").path();
            if path.is_file() {
                let name = path.strip_prefix(from).expect("a path within");
                fs::copy(&path, dir.path().join(name)).expect("a copy");
            }
        }
    }
    dir
}
