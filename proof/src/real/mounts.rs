//! File systems of a rig's own: images behind loop devices, and file systems in memory.
//!
//! Invariant: what is mounted is unmounted when its owner goes, also when a rig fails or this
//! process is killed; the loop device goes with the mount, its settings as they were.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::leftovers::{Undo, undo};
use super::places;
use super::programs::must;
use crate::rig::Plan;

/// A process that was just killed, or one that was just forked, may hold a file for a moment.
const UNMOUNT_TRIES: usize = 200;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(5);

/// A directory where something is mounted, or can be.
#[derive(Debug)]
pub(crate) struct Mount {
    point: PathBuf,
    mounted: bool,
    /// A setting of the device, and what it was before: written back when the device is free.
    before: Option<(PathBuf, String)>,
}

impl Mount {
    /// A new directory, nothing mounted on it.
    pub(crate) fn at(point: PathBuf) -> Result<Mount, String> {
        std::fs::create_dir(&point).map_err(|error| format!("{}: {error}", point.display()))?;
        undo(Undo::Unmount(&point));
        Ok(Mount { point, mounted: false, before: None })
    }

    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// `mount` with these arguments and the directory.
    pub(crate) fn mount(&mut self, arguments: &[&OsStr]) -> Result<(), String> {
        let arguments: Vec<&OsStr> =
            arguments.iter().copied().chain([self.point.as_os_str()]).collect();
        must("mount", &arguments)?;
        self.mounted = true;
        Ok(())
    }

    /// A file system in memory.
    pub(crate) fn mount_memory(&mut self, options: &str) -> Result<(), String> {
        self.mount(&["-t", "tmpfs", "-o", options, "tmpfs"].map(OsStr::new))
    }

    /// Changes the options of what is mounted.
    pub(crate) fn remount(&self, options: &str) -> Result<(), String> {
        let options = format!("remount,{options}");
        must("mount", &[OsStr::new("-o"), OsStr::new(&options), self.point.as_os_str()])
    }

    pub(crate) fn unmount(&mut self) -> Result<(), String> {
        let mut failure = String::new();
        for _ in 0..UNMOUNT_TRIES {
            match must("umount", &[self.point.as_os_str()]) {
                Ok(()) => {
                    self.mounted = false;
                    return self.restore();
                }
                Err(error) => failure = error,
            }
            std::thread::sleep(UNMOUNT_PAUSE);
        }
        Err(failure)
    }

    /// Changes a setting of the device until it is unmounted.
    fn set(&mut self, setting: PathBuf, value: &str) -> Result<(), String> {
        let told = |error: std::io::Error| format!("{}: {error}", setting.display());
        let before = std::fs::read_to_string(&setting).map_err(told)?.trim().to_owned();
        undo(Undo::Restore { value: &before, setting: &setting, path: &self.point });
        std::fs::write(&setting, value).map_err(told)?;
        self.before = Some((setting, before));
        Ok(())
    }

    fn restore(&mut self) -> Result<(), String> {
        self.before.take().map_or(Ok(()), |(setting, before)| {
            let written = std::fs::write(&setting, before);
            written.map_err(|error| format!("{}: {error}", setting.display()))
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // Whoever still uses it keeps it alive for as long; its name goes now.
            let lazily = [OsStr::new("--lazy"), self.point.as_os_str()];
            if let Err(error) = must("umount", &lazily) {
                eprintln!("cannot unmount: {error}");
            }
        }
        if let Err(error) = self.restore() {
            eprintln!("cannot restore: {error}");
        }
    }
}

/// A file system on a file.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    mount: Mount,
}

/// Which file system, and how it is made and mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Ext4,
    /// With a journal that does not order data before the records that name it.
    Ext4Writeback,
    /// Without a journal.
    Ext4Unjournaled,
    Xfs,
}

impl Image {
    /// Makes a file system of this size, most of it not allocated, in a directory; not mounted.
    pub(crate) fn new(dir: &Path, kind: Kind, bytes: u64) -> Result<Image, String> {
        let file = dir.join("image");
        let made = File::create(&file).and_then(|made| made.set_len(bytes));
        made.map_err(|error| format!("{}: {error}", file.display()))?;
        let (program, arguments): (&str, &[&str]) = match kind {
            Kind::Ext4 | Kind::Ext4Writeback => ("mkfs.ext4", &["-q", "-F"]),
            Kind::Ext4Unjournaled => {
                ("mkfs.ext4", &["-q", "-F", "-b", "4096", "-O", "^has_journal"])
            }
            Kind::Xfs => ("mkfs.xfs", &["-q", "-f"]),
        };
        let arguments: Vec<&OsStr> =
            arguments.iter().map(OsStr::new).chain([file.as_os_str()]).collect();
        must(program, &arguments)?;
        Ok(Image { file, mount: Mount::at(dir.join("mounted"))? })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn point(&self) -> &Path {
        self.mount.point()
    }

    pub(crate) fn mount(&mut self, kind: Kind, read_only: bool) -> Result<(), String> {
        let mut options = "loop".to_owned();
        if kind == Kind::Ext4Writeback {
            options += ",data=writeback";
        }
        if read_only {
            options += ",ro";
        }
        self.mount.mount(&[OsStr::new("-o"), OsStr::new(&options), self.file.as_os_str()])
    }

    /// Makes the loop device write blocks of 4 KiB one by one.
    pub(crate) fn write_blockwise(&mut self) -> Result<(), String> {
        let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
        let point = self.point().display().to_string();
        let mut fields = mounts.lines().map(|line| line.split(' '));
        let device = fields.find_map(|mut fields| {
            let device = fields.next()?.strip_prefix("/dev/")?;
            (fields.next()? == point).then_some(device)
        });
        let device = device.ok_or("the mount is not listed")?;
        let setting = format!("/sys/block/{device}/queue/max_sectors_kb");
        self.mount.set(setting.into(), "4")
    }

    pub(crate) fn remount(&self, options: &str) -> Result<(), String> {
        self.mount.remount(options)
    }

    pub(crate) fn unmount(&mut self) -> Result<(), String> {
        self.mount.unmount()
    }
}

/// Why this machine cannot mount images of a kind where they are mounted in the runs; `None` when
/// it can.
pub(crate) fn lacks(plan: &Plan, kind: Kind, bytes: u64) -> Option<String> {
    cannot(|| {
        let dir = places::with_room(plan, bytes)?;
        let mut image = Image::new(dir.path(), kind, bytes)?;
        image.mount(kind, false)?;
        image.unmount()
    })
}

/// Why this machine cannot mount file systems in memory; `None` when it can.
pub(crate) fn lacks_memory(plan: &Plan) -> Option<String> {
    cannot(|| {
        let dir = places::on_disk(plan)?;
        let mut mount = Mount::at(dir.path().join("mounted"))?;
        mount.mount_memory("size=1m")?;
        mount.unmount()
    })
}

/// Why an attempt to mount something fails here; `None` when it does not.
pub(crate) fn cannot(attempt: impl FnOnce() -> Result<(), String>) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root, so nothing can be mounted".to_owned());
    }
    attempt().err()
}
