//! `backup`, `verify-backup` and `restore`: there and back, and what is no backup.

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{fixture, program, run, run_with, scratch};

/// A folder with the database of a fixture, and what names files in it.
fn imported() -> (tempfile::TempDir, String, impl Fn(&str) -> String) {
    let (folder, dir) = scratch();
    let file = fixture("etcd.db");
    run(&["import-bolt", file.to_str().expect("UTF-8"), &dir]).ok();
    let path = folder.path().to_owned();
    let at = move |name: &str| path.join(name).to_str().expect("UTF-8").to_owned();
    (folder, dir, at)
}

/// All that a database shows.
fn shown(dir: &str) -> Vec<u8> {
    let buckets = run(&["buckets", dir, "--json"]).ok();
    let mut shown = buckets.out.clone();
    for line in buckets.json_lines() {
        let path = line["path"].as_str().expect("a path");
        shown.extend(run(&["scan", dir, path]).ok().out);
    }
    shown
}

#[test]
fn a_backup_is_restored_from_a_file_and_from_a_stream() {
    let (_folder, dir, at) = imported();
    let file = at("backup");
    let text = run(&["backup", &dir, &file, "--verify", "--bytes-per-second", "1000000000"]).ok();
    assert!(text.text().starts_with("backed up revision "), "{}", text.text());
    let summary = run(&["verify-backup", &file, "--json"]).ok().json_lines().remove(0);
    let bytes = fs::metadata(&file).expect("the backup").len();
    assert_eq!(summary["bytes"], bytes);
    assert!(summary["pairs"].as_u64() > Some(0) && summary["revision"].as_u64() > Some(0));

    let restored = run(&["restore", &file, &at("new"), "--verify", "--json"]).ok();
    let restored = restored.json_lines().remove(0);
    assert_eq!(restored["backup"], summary);
    assert_eq!(restored["revision"], summary["revision"]);
    assert_eq!(shown(&at("new")), shown(&dir));
    run(&["check", &at("new")]).ok();

    let stream = run(&["backup", &dir, "-", "--json"]).ok();
    assert!(stream.err.contains("\"revision\""), "the output is the backup: {}", stream.err);
    let verified = run_with(&["verify-backup", "-"], &stream.out).ok();
    assert!(verified.text().starts_with("whole: revision "), "{}", verified.text());
    run_with(&["restore", "-", &at("streamed"), "--page-bytes", "4096"], &stream.out).ok();
    assert_eq!(shown(&at("streamed")), shown(&dir));
}

#[test]
fn one_bucket_is_restored_into_a_new_and_into_an_existing_database() {
    let (_folder, dir, at) = imported();
    run(&["put", &dir, "a/b%2Fc", "k", "v", "--create"]).ok();
    run(&["put", &dir, "a/b%2Fc/d", "k", "v", "--create"]).ok();
    run(&["backup", &dir, &at("backup")]).ok();
    let restore = |into: &str, arguments: &[&str]| {
        run(&[&["restore", &at("backup"), &at(into)], arguments].concat())
    };
    restore("new", &["--bucket", "a/b%2Fc"]).ok();
    let listed = run(&["buckets", &at("new")]).ok();
    assert!(listed.text().starts_with("a  1 entries, sequence 0\n  b%2Fc  2 entries"));
    run(&["put", &at("other"), "own", "k", "v", "--create"]).ok();
    let text = restore("other", &["--bucket", "a/b%2Fc", "--existing"]).ok();
    let expected = "restored 2 buckets, 2 pairs, 4 bytes of keys and values; the database is at";
    assert!(text.text().starts_with(expected), "{}", text.text());
    assert_eq!(run(&["get", &at("other"), "a/b%2Fc/d", "k"]).ok().out, b"v");
    for (arguments, code, expected) in [
        (&["--bucket", "a/b%2Fc", "--existing"][..], 5, "bucket exists already"),
        (&["--bucket", "a/none", "--existing"], 1, "bucket not found: \"a/none\""),
        (&["--existing"], 2, "--bucket"),
        (&["--bucket", "own"], 2, "new or empty"),
    ] {
        let ran = restore("other", arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
    }
    assert_eq!(restore("none", &["--bucket", "none"]).code, 1);
    assert!(!Path::new(&at("none")).exists() && !Path::new(&at("none.unfinished")).exists());
}

#[test]
fn what_is_no_backup_ends_with_4_and_leaves_nothing() {
    let (_folder, dir, at) = imported();
    run(&["backup", &dir, &at("backup")]).ok();
    let bytes = fs::read(at("backup")).expect("the backup");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    for (no_backup, expected) in [
        (&bytes[..bytes.len() - 1], "cut short"),
        (&bytes[..bytes.len() / 2], "cut short"),
        (&[][..], "cut short"),
        (&damaged, ": expected a block of checksum"),
        (&[7; 100], "expected the magic of a backup"),
    ] {
        fs::write(at("other"), no_backup).expect("a file");
        for command in
            [&["verify-backup", &at("other")][..], &["restore", &at("other"), &at("new")]]
        {
            let ran = run(command);
            assert_eq!(ran.code, 4, "{command:?}: {}", ran.err);
            assert!(ran.err.contains(expected), "{command:?}: {}", ran.err);
        }
        assert!(!Path::new(&at("new")).exists() && !Path::new(&at("new.unfinished")).exists());
    }
    let ran = run(&["backup", &dir, &at("backup")]);
    assert_eq!((ran.code, fs::read(at("backup")).expect("the backup")), (2, bytes));
    assert!(ran.err.contains("expected a new file"), "{}", ran.err);
    assert_eq!(run(&["backup", &dir, "-", "--verify"]).code, 2);
    assert_eq!(run(&["verify-backup", &at("none")]).code, 5);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let (_folder, dir, at) = imported();
    let begun = Instant::now();
    let file = at("slow");
    let child = program()
        .args(["backup", &dir, &file, "--bytes-per-second", "1000"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    while !Path::new(&at("slow.unfinished")).exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it begins");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = i32::try_from(child.id()).expect("a process id");
    let killed = std::process::Command::new("kill").args(["-INT", &id.to_string()]).status();
    assert!(killed.expect("kill").success());
    let ended = child.wait_with_output().expect("the program ends");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(5), "{told}");
    assert!(told.contains("backup stopped as asked"), "{told}");
    assert!(!Path::new(&file).exists() && !Path::new(&at("slow.unfinished")).exists());
}

#[test]
fn an_archive_is_restored_to_any_revision_and_time() {
    let (_folder, dir, at) = imported();
    let archive = at("archive");
    let archived = |arguments: &[&str]| {
        let run = run(&[&["archive", &dir, &archive, "--json"], arguments].concat()).ok();
        run.json_lines().remove(0)
    };
    let first = archived(&[]);
    assert_eq!(first["added"][0]["kind"], "full");
    let revision = first["revision"].as_u64().expect("a number");
    let before = shown(&dir);
    run(&["put", &dir, "later", "key", "1", "--create"]).ok();
    // The log is not kept from one open to the next, unless it is asked for; here it still is.
    let second = archived(&["--full"]);
    assert_eq!(second["added"].as_array().expect("a list").len(), 2, "{second}");
    assert_eq!(second["added"][0]["kind"], "changes");
    assert_eq!(second["added"][1]["kind"], "full");
    let third = run(&["archive", &dir, &archive]).ok();
    assert!(third.text().starts_with("nothing was committed since revision"), "{}", third.text());

    let then = at("then");
    let text = run(&["restore", &archive, &then, "--revision", &revision.to_string()]).ok();
    assert!(text.text().contains(&format!("at revision {revision}")), "{}", text.text());
    assert_eq!(shown(&then), before);
    let now = at("now");
    run(&["restore", &archive, &now, "--time", "2100-01-01T00:00:00Z", "--verify"]).ok();
    assert_eq!(shown(&now), shown(&dir));
    let file = fs::read_dir(&archive).expect("the archive").next().expect("a file");
    let file = file.expect("a file").path().to_str().expect("UTF-8").to_owned();
    run(&["verify-backup", &file]).ok();
    let never = at("never");
    for (arguments, code) in [
        (vec!["restore", &archive, &never, "--time", "1999-01-01T00:00:00Z"], 2),
        (vec!["restore", &archive, &never, "--revision", "1000000"], 2),
        (vec!["restore", &archive, &never, "--bucket", "later"], 2),
        (vec!["restore", &file, &never, "--revision", "1"], 2),
        (vec!["restore", &archive, &never, "--time", "yesterday"], 2),
    ] {
        assert_eq!(run(&arguments).code, code, "{arguments:?}");
        assert!(!Path::new(&never).exists());
    }
}
