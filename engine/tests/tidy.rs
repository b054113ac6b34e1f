//! The house style as a test: layers, lengths, words and manifests of the whole repository.
//!
//! It walks the repository, reads every text file once, and fails with a list of
//! `file:line: what, expected .., found ..`. The numbers and tables are in `tidy/tables.rs`, the
//! rules beside it, one subject a file, each with tests that feed it what it must find.
//!
//! It never runs another program, never asks git, and never changes a file.
//!
//! Set `TIDY_ROOT` to look at another checkout than the one that was compiled.

#[path = "tidy/mod.rs"]
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use rules::Repository;

#[test]
fn the_repository_is_tidy() {
    let repository = read_repository(&root());
    for (kind, found, least) in
        [("Rust files", repository.sources.len(), 10), ("members", repository.members().len(), 3)]
    {
        assert!(found >= least, "expected at least {least} {kind}, found {found}: wrong root?");
    }
    let findings = rules::findings(&repository);
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} findings:\n{}\n", list.len(), list.join("\n"));
}

fn root() -> PathBuf {
    match std::env::var_os("TIDY_ROOT") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
    }
}

fn read_repository(root: &Path) -> Repository {
    let mut repository = Repository::default();
    let mut waiting = vec![String::new()];
    while let Some(dir) = waiting.pop() {
        let listing = fs::read_dir(root.join(&dir)).expect("a directory that can be listed");
        for entry in listing {
            let entry = entry.expect("a directory entry");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            let kind = entry.file_type().expect("a file type");
            if kind.is_dir() {
                // Build output lies beside a manifest; a module named `target` would not.
                let built = name == "target" && root.join(&dir).join("Cargo.toml").exists();
                if !built && !rules::DATA_DIRS.contains(&name.as_str()) {
                    waiting.push(path);
                }
            } else if kind.is_file() {
                let bytes = fs::read(root.join(&path)).expect("a file that can be read");
                // What is not text has no lines to look at.
                if let Ok(text) = String::from_utf8(bytes) {
                    repository.add(&path, &text);
                }
            }
        }
    }
    repository.sort();
    repository
}
