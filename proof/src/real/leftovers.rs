//! What is left when this process is killed: mounts, directories, memory groups, settings.
//!
//! A shell of its own reads what there may be to undo. When its input ends, which it does when this
//! process ends, however that is, it undoes what is still there, the newest first. After an end in
//! order that is nothing.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// What every name of ours has in it: nothing else is removed.
pub(crate) const PREFIX: &str = "bristlecone-proof-";

/// Each line is a verb, a value, a file and a path; the path is last, for it may have spaces. What
/// was under way when the process was killed, or has not died yet, makes some things take several
/// attempts.
const UNDO: &str = r#"tac | while read -r verb value file path; do
[ -e "$path" ] || continue
case $path in *bristlecone-proof-*) ;; *) continue;; esac
case $verb in
unmount) for time in 1 2 3 4 5 6 7 8 9 10; do umount --lazy "$path"; sleep 0.2; done;;
ungroup) for time in 1 2 3 4 5 6 7 8 9 10; do rmdir "$path" && break; sleep 0.2; done;;
restore) echo "$value" > "$file";;
remove) rm -rf --one-file-system "$path";;
esac
done"#;

static SHELL: OnceLock<Mutex<Option<Child>>> = OnceLock::new();

/// What is to be undone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo<'a> {
    Unmount(&'a Path),
    /// A directory with all that is in it.
    Remove(&'a Path),
    /// A memory group.
    Ungroup(&'a Path),
    /// A setting, while this path is there.
    Restore {
        value: &'a str,
        setting: &'a Path,
        path: &'a Path,
    },
}

/// Sees to it that this is undone when the process ends and has not done it.
pub(crate) fn undo(what: Undo<'_>) {
    let line = match what {
        Undo::Unmount(path) => format!("unmount - - {}\n", path.display()),
        Undo::Remove(path) => format!("remove - - {}\n", path.display()),
        Undo::Ungroup(path) => format!("ungroup - - {}\n", path.display()),
        Undo::Restore { value, setting, path } => {
            format!("restore {value} {} {}\n", setting.display(), path.display())
        }
    };
    let mut shell = SHELL.get_or_init(|| Mutex::new(start())).lock().expect("no panic while held");
    let input = shell.as_mut().and_then(|shell| shell.stdin.as_mut());
    if input.is_some_and(|input| input.write_all(line.as_bytes()).is_err()) {
        eprintln!("nothing undoes what a killed run leaves: the shell for it has ended");
        *shell = None;
    }
}

fn start() -> Option<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", UNDO]).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = shell.spawn();
    started.inspect_err(|error| eprintln!("nothing undoes what a killed run leaves: {error}")).ok()
}
