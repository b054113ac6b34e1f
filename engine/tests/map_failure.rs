//! A data file that is cut under an open database: the process says so and exits with code 75.
//!
//! The test runs itself again as a child process, which does what dies.

use std::io::Write as _;
use std::process::{Command, Output};

use bristlecone::{Db, MAP_FAILURE_EXIT_CODE, Options, Result};

const DIR: &str = "BRISTLECONE_TEST_DIR";
const HANDLER: &str = "BRISTLECONE_TEST_HANDLER";

fn options() -> Options {
    Options::new().page_bytes(4096)
}

/// Runs the child below on a new database; returns how it ended, and what opening finds then.
fn run_child(handler: &str) -> (Output, Result<Db>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, &path)
        .env(HANDLER, handler)
        .output()
        .expect("this test runs again");
    (child, Db::open_with(&path, options()))
}

#[test]
#[ignore = "dies; run by the other tests"]
fn child() {
    let path = std::env::var_os(DIR).expect("set by the parent");
    match std::env::var(HANDLER).as_deref() {
        Ok("once") => bristlecone::exit_on_map_failure().expect("a handler"),
        Ok("twice") => {
            bristlecone::exit_on_map_failure().expect("a handler");
            bristlecone::exit_on_map_failure().expect("the same handler");
        }
        _ => {}
    }
    let db = Db::open_with(&path, options()).expect("a new database");
    db.update(|txn| txn.create_bucket("b")?.put("key", vec![1; 100_000])).expect("a commit");
    db.checkpoint().expect("a checkpoint");
    let view = db.begin_read().expect("reading begins");
    let bucket = view.bucket("b").expect("the bucket");
    let value = bucket.get("key").expect("a good file").expect("the value");
    assert_eq!(value[99_999], 1);
    let data = std::path::Path::new(&path).join("data");
    let file = std::fs::OpenOptions::new().write(true).open(data).expect("the data file");
    file.set_len(8192).expect("a shorter file");
    std::io::stdout().flush().expect("standard output");
    // The value's last page is not in the file any more.
    let sum: u64 = value.iter().map(|&byte| u64::from(byte)).sum();
    panic!("expected a signal, read a sum of {sum}");
}

#[test]
fn a_cut_file_ends_the_process_with_a_message() {
    for handler in ["once", "twice"] {
        let (child, opened) = run_child(handler);
        let said = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(MAP_FAILURE_EXIT_CODE), "{said}");
        let place = said.split("/db/data: byte ").nth(1).expect("a message with the path");
        let byte: u64 = place.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(byte >= 8192, "a byte that is gone: {byte}");
        let error = opened.expect_err("a file that was cut");
        assert!(error.is_corrupt(), "{error}");
    }
}

#[test]
fn without_the_handler_the_signal_has_its_usual_effect() {
    use std::os::unix::process::ExitStatusExt as _;
    let (child, _) = run_child("none");
    assert_eq!(child.status.signal(), Some(7), "{:?}", child.status);
}
