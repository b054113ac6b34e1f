//! What the block device below a directory has done: the proof that a commit was flushed.
//!
//! The counters are the kernel's (`Documentation/block/stat.rst`) and count for all processes, so
//! they bound from above what one process did.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SECTOR_BYTES: u64 = 512;
/// Places in the `stat` file, from 0.
const WRITES: usize = 4;
const SECTORS_WRITTEN: usize = 6;
const FLUSHES: usize = 15;

/// The device that holds a directory.
#[derive(Debug)]
pub struct Device {
    stat: PathBuf,
    /// Writes can be durable by themselves, so a commit may do without a flush.
    force_unit_access: bool,
    /// The kernel's name of the whole disk.
    pub name: String,
    /// What the directory's file system is.
    pub file_system: String,
}

/// Counts since the start of the machine, or a difference of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// What can have made a write durable: flushes and, on a device with forced unit access,
    /// writes.
    pub flushes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

impl Device {
    /// The device of a directory, `None` when it has none of its own with counters of flushes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn of(dir: &Path) -> io::Result<Option<Device>> {
        let number = fs::metadata(dir)?.dev();
        let major = ((number >> 8) & 0xfff) | ((number >> 32) & !0xfff);
        let minor = (number & 0xff) | ((number >> 12) & !0xff);
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let Ok(mut sys) = fs::canonicalize(link) else { return Ok(None) };
        // Flushes are counted for the whole disk.
        if sys.join("partition").exists() {
            sys.pop();
        }
        let fua = fs::read_to_string(sys.join("queue/fua")).unwrap_or_default();
        let name = sys.file_name().map(|name| name.to_string_lossy().into_owned());
        let device = Device {
            stat: sys.join("stat"),
            force_unit_access: fua.trim() == "1",
            name: name.unwrap_or_default(),
            file_system: file_system(major, minor),
        };
        Ok(device.counts().is_ok().then_some(device))
    }

    /// The counts now.
    ///
    /// # Errors
    /// Those of the file system, or when the kernel counts less than it should.
    pub fn counts(&self) -> io::Result<Counts> {
        let text = fs::read_to_string(&self.stat)?;
        let numbers: Vec<u64> =
            text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let at = |place: usize| {
            let told =
                || io::Error::other(format!("expected 17 counters, found {}", numbers.len()));
            numbers.get(place).copied().ok_or_else(told)
        };
        let durable_writes = if self.force_unit_access { at(WRITES)? } else { 0 };
        Ok(Counts {
            flushes: at(FLUSHES)? + durable_writes,
            written_bytes: at(SECTORS_WRITTEN)? * SECTOR_BYTES,
        })
    }
}

impl Counts {
    /// What was added since `before`.
    #[must_use]
    pub fn since(self, before: Counts) -> Counts {
        Counts {
            flushes: self.flushes - before.flushes,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

/// The kind of file system that is mounted from a device.
fn file_system(major: u64, minor: u64) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let device = format!("{major}:{minor}");
    let told = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device.as_str()));
    // Behind a dash that ends fields of any number.
    let kind = told.and_then(|line| line.split_once(" - ")?.1.split(' ').next());
    kind.unwrap_or("unknown").to_owned()
}
