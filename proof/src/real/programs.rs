//! The programs of the system that the rigs use.

use std::ffi::OsStr;
use std::process::Command;

/// Runs a program, which must succeed.
pub(crate) fn must(program: &str, arguments: &[&OsStr]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| format!("cannot run {program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().replace('\n', " ");
    Err(format!("{program} {arguments:?}: {}: {said}", done.status))
}

/// Which of these this machine lacks; `None` when it has all of them.
pub(crate) fn lacks(programs: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing = programs.iter().find(|program| !has(program))?;
    Some(format!("no program {missing}"))
}
