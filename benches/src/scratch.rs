//! A directory for one database, removed when it is dropped.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Directories made by this process.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A new directory that lives as long as this.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a directory within `parent`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn within(parent: &Path) -> io::Result<Scratch> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("bristlecone-benches-{}-{number}", std::process::id());
        let path = parent.join(name);
        fs::create_dir_all(&path)?;
        Ok(Scratch { path })
    }

    /// Makes a directory within the system's directory for temporary files.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new() -> io::Result<Scratch> {
        Scratch::within(&std::env::temp_dir())
    }

    /// Takes over a directory that another process has kept.
    #[must_use]
    pub fn kept(path: PathBuf) -> Scratch {
        Scratch { path }
    }

    /// Leaves the directory where it is.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // What stays behind is in a directory for temporary files, and nothing reads it again.
        let _left_behind = fs::remove_dir_all(&self.path);
    }
}

/// Bytes that the files of a directory take on the device, as far as they are allocated. A file
/// that an engine removes meanwhile takes none.
///
/// # Errors
/// Those of the file system.
pub fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut blocks = 0;
    for_each_file(dir, &mut |_, metadata| {
        blocks += metadata.blocks();
        Ok(())
    })?;
    Ok(blocks * 512)
}

/// Has the system forget what it has cached of the files of a directory, which nobody has open.
///
/// # Errors
/// Those of the file system.
pub fn forget_cached(dir: &Path) -> io::Result<()> {
    rustix::fs::sync();
    for_each_file(dir, &mut |path, _| {
        let file = fs::File::open(path)?;
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    })
}

fn for_each_file(
    dir: &Path,
    see: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            match metadata.is_dir() {
                true => waiting.push(entry.path()),
                false => see(&entry.path(), &metadata)?,
            }
        }
    }
    Ok(())
}

/// Copies a directory and all it holds to a new place, as a crash would leave it.
///
/// # Errors
/// Those of the file system.
pub fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    let mut waiting = vec![(from.to_path_buf(), to.to_path_buf())];
    while let Some((from, to)) = waiting.pop() {
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                waiting.push((entry.path(), target));
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}
