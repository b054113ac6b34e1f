//! `buckets`, `stats`, `check` and `dump` tell how a database is, sound, damaged or in use.

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bristlecone::Db;
use support::{fixture, run, scratch};

const COMMANDS_THAT_OPEN: [&[&str]; 5] =
    [&["buckets"], &["stats"], &["check"], &["compact"], &["scan", "bucket"]];

/// Runs a command with the database behind its name.
fn run_on(dir: &str, command: &[&str]) -> support::Ran {
    run(&[&command[..1], &[dir], &command[1..]].concat())
}

#[test]
fn buckets_are_listed_as_a_tree_or_as_json() {
    let (_folder, dir) = scratch();
    run(&["put", &dir, "a/b%2Fc", "k", "v", "--create"]).ok();
    run(&["put", &dir, "d", "k", "v", "--create"]).ok();
    assert_eq!(
        run(&["buckets", &dir]).ok().text(),
        "a  1 entries, sequence 0\n  b%2Fc  1 entries, sequence 0\nd  1 entries, sequence 0\n"
    );
    assert_eq!(
        run(&["buckets", &dir, "a", "--json"]).ok().text(),
        "{\"path\":\"a\",\"depth\":1,\"entries\":1,\"sequence\":0}\n\
         {\"path\":\"a/b%2Fc\",\"depth\":2,\"entries\":1,\"sequence\":0}\n"
    );
    assert_eq!(run(&["buckets", &dir, "missing"]).code, 1);
}

#[test]
fn stats_and_check_tell_of_a_sound_database() {
    let (_folder, dir) = scratch();
    run(&["put", &dir, "a/b", "k", "v", "--create"]).ok();
    let stats = &run(&["stats", &dir, "--json"]).ok().json_lines()[0];
    assert_eq!((stats["revision"].as_u64(), stats["page_bytes"].as_u64()), (Some(1), Some(8192)));
    assert!(run(&["stats", &dir]).ok().text().contains("page bytes"));
    let report = &run(&["check", &dir, "--json"]).ok().json_lines()[0];
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!((report["buckets"].as_u64(), report["entries"].as_u64()), (Some(2), Some(3)));
    assert!(run(&["check", &dir]).ok().text().starts_with("sound: 0 problems"));
}

#[test]
fn a_database_is_made_as_short_as_its_content() {
    let (_folder, dir) = scratch();
    let db = Db::open(&dir).expect("a database");
    let loaded = db.update(|txn| {
        txn.create_bucket("kept")?.put("k", "v")?;
        txn.create_bucket("dropped")?.put("k", vec![1; 4 << 20])
    });
    loaded.and_then(|()| db.update(|txn| txn.drop_bucket("dropped"))).expect("two commits");
    db.close().expect("a clean end");
    let report = &run(&["compact", &dir, "--json"]).ok().json_lines()[0];
    let bytes = |name: &str| report[name].as_u64().expect("a number");
    assert!(bytes("file_bytes_after") < bytes("file_bytes_before"), "{report}");
    assert!(bytes("file_bytes_after") < 100 << 10, "{report}");
    let data = fs::metadata(Path::new(&dir).join("data")).expect("a data file");
    assert_eq!(data.len(), bytes("file_bytes_after"));
    assert_eq!(run(&["get", &dir, "kept", "k"]).ok().text(), "v");
    assert!(run(&["check", &dir]).ok().text().starts_with("sound: 0 problems"));
    assert!(run(&["compact", &dir]).ok().text().contains(" bytes became "));
}

#[test]
fn a_writer_of_an_open_database_is_told_by_3_and_a_missing_one_by_5() {
    let (_folder, dir) = scratch();
    for command in COMMANDS_THAT_OPEN {
        let ran = run_on(&dir, command);
        assert_eq!(ran.code, 5, "{command:?}: {}", ran.err);
    }
    assert!(!Path::new(&dir).exists(), "reading creates nothing");
    let db = Db::open(&dir).expect("a database");
    for command in [&["compact"][..], &["put", "b", "k", "v"], &["delete", "b", "k"]] {
        let ran = run_on(&dir, command);
        assert_eq!(ran.code, 3, "{command:?}: {}", ran.err);
    }
    run(&["dump", "page", "0", &dir]).ok();
    drop(db);
}

#[test]
fn damage_is_found_and_told() {
    let (_folder, dir) = scratch();
    let file = fixture("etcd.db");
    run(&["import-bolt", file.to_str().expect("UTF-8"), &dir]).ok();
    run(&["check", &dir]).ok();
    let data = fs::OpenOptions::new().read(true).write(true).open(Path::new(&dir).join("data"));
    let data = data.expect("the data file");
    let pages = data.metadata().expect("its length").len() / 8192;
    // One byte in the middle of most pages, the metas and the space map apart.
    for page in 8..pages {
        let at = page * 8192 + 4096;
        let mut byte = [0];
        data.read_exact_at(&mut byte, at).expect("a byte");
        data.write_all_at(&[byte[0] ^ 1], at).expect("damage");
    }
    let scanned = run(&["scan", &dir, "key"]);
    assert_eq!(scanned.code, 4, "{}", scanned.err);
    assert!(scanned.err.contains("is damaged at page"), "{}", scanned.err);
    let checked = run(&["check", &dir]);
    assert_eq!(checked.code, 1, "{}", checked.err);
    assert!(checked.text().starts_with("problem: "), "{}", checked.text());
    let report = &run(&["check", &dir, "--json"]).json_lines()[0];
    assert_eq!(report["sound"], false);
}

#[test]
fn a_page_is_dumped_as_text() {
    let (_folder, dir) = scratch();
    run(&["put", &dir, "b", "k", "v", "--create"]).ok();
    assert!(run(&["dump", "page", "0", &dir]).ok().text().contains("page 0"));
    assert_ne!(run(&["dump", "page", "4000000", &dir]).code, 0);
    assert_eq!(run(&["dump", "page", "x", &dir]).code, 2);
}

#[test]
fn help_tells_an_example_and_the_exit_codes() {
    let help = run(&["--help"]).ok();
    assert!(help.text().contains("Exit codes:") && help.text().contains("Example"));
    for command in
        ["import-bolt", "buckets", "get", "put", "delete", "scan", "stats", "check", "salvage"]
    {
        assert!(run(&[command, "--help"]).ok().text().contains("Example"), "{command}");
    }
}
