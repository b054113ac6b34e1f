//! Limits on the memory of a worker.
//!
//! Invariant: a group goes with its owner, when its processes are gone, or with this process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::leftovers::{PREFIX, Undo, undo};

/// Where the memory controller of version 1 is, on machines that have it.
const ROOT: &str = "/sys/fs/cgroup/memory";
/// A process that was just killed takes a moment to leave.
const LEAVE_TRIES: usize = 200;
const LEAVE_PAUSE: Duration = Duration::from_millis(5);

/// Groups of this process so far: they have different names.
static GROUPS: AtomicU64 = AtomicU64::new(0);

/// A group of processes with a limit on their memory, the system's cache for them included.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// A group with this limit.
    pub(crate) fn new(bytes: u64) -> Result<Cgroup, String> {
        let (process, number) = (std::process::id(), GROUPS.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(ROOT).join(format!("{PREFIX}{process}-{number}"));
        if !Path::new(ROOT).join("memory.limit_in_bytes").exists() {
            return Err("no memory controller of version 1".to_owned());
        }
        std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        undo(Undo::Ungroup(&dir));
        let group = Cgroup(dir);
        group.set("memory.limit_in_bytes", &bytes.to_string())?;
        Ok(group)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), String> {
        let file = self.0.join(name);
        std::fs::write(&file, value).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Takes back as much memory as can be, mapped pages of files first of all.
    pub(crate) fn reclaim(&self) -> Result<(), String> {
        self.set("memory.force_empty", "0")
    }

    /// The most memory that was used at once, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        let text = std::fs::read_to_string(self.0.join("memory.max_usage_in_bytes"));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// What runs a program in this group.
    pub(crate) fn through(&self) -> Vec<String> {
        let script = r#"echo $$ > "$0" && exec "$@""#;
        let procs = self.0.join("cgroup.procs").display().to_string();
        ["sh", "-c", script, &procs].map(str::to_owned).to_vec()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..LEAVE_TRIES {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(LEAVE_PAUSE);
        }
        eprintln!("cannot remove {}", self.0.display());
    }
}

/// Why this machine cannot limit memory; `None` when it can.
pub(crate) fn lacks() -> Option<String> {
    Cgroup::new(64 << 20).err()
}
