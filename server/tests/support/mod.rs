//! What the tests of the program share: running it, talking to its server, bolt files and their
//! manifests.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod bolt_image;
pub(crate) mod manifest;
pub(crate) mod server;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("an output in UTF-8")
    }

    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What was printed, by a run that must have ended well.
    pub(crate) fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// The program.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bristlecone"))
}

/// Runs the program without an input.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    run_with(arguments, b"")
}

pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // The program may end without reading it.
    let _unread = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    Ran {
        code: output.status.code().expect("an exit code"),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("errors in UTF-8"),
    }
}

/// A folder for one test, and the path of a database in it, as text.
pub(crate) fn scratch() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("db").to_str().expect("a path in UTF-8").to_owned();
    (folder, dir)
}

/// The bolt file of this name among the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let found = manifest::fixtures().into_iter().map(|(database, _)| database);
    found.into_iter().find(|path| path.ends_with(name)).expect("the fixture")
}
