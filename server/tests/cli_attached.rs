//! Commands that read work while another process owns the database, and it never notices.

mod support;

use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bristlecone::{Db, Options};
use support::server::Server;
use support::{Ran, program, run, scratch};

const NOTE: &str = "note: another process owns this database; showing transaction";

/// Commands that read, and a part of what they print beside a server that was given one value.
const COMMANDS: [(&[&str], &str); 6] = [
    (&["get", "v1", "name"], "value 1"),
    (&["scan", "v1"], r#"{"key":"name","value":"value 1"}"#),
    (&["buckets"], "v1  1 entries"),
    (&["stats", "--json"], "\"revision\":1,"),
    (&["check"], "sound: 0 problems"),
    (&["check", "--json"], "\"entries\":2,"),
];

fn run_on(dir: &str, command: &[&str]) -> Ran {
    run(&[&command[..1], &[dir], &command[1..]].concat())
}

/// Names, lengths and times of change.
fn files(dir: &str) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut files = Vec::new();
    for dir in [Path::new(dir).to_path_buf(), Path::new(dir).join("wal")] {
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = fs::metadata(&path).expect("a file");
            files.push((path, meta.len(), meta.modified().expect("a time")));
        }
    }
    files.sort();
    files
}

/// The same when the owner has nothing left to prepare.
fn files_at_rest(dir: &str) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut last = files(dir);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = files(dir);
        if now == last {
            return now;
        }
        last = now;
    }
}

#[test]
fn what_a_server_has_acknowledged_is_shown_beside_it_and_after_it_was_killed() {
    let (_folder, dir) = scratch();
    let owner = Db::open(&dir).expect("a database");
    let put = owner.update(|txn| txn.create_bucket("v1")?.put("name", "value 1"));
    put.and_then(|()| owner.close()).expect("a value");
    let server = Server::start(&dir);
    let before = files_at_rest(&dir);
    for (command, part) in COMMANDS {
        let ran = run_on(&dir, command).ok();
        assert!(ran.text().contains(part), "{command:?}: {}", ran.text());
        let lines: Vec<&str> = ran.err.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains(NOTE), "{command:?}: {}", ran.err);
        assert!(lines[0].ends_with(" 1, as of its log"), "{}", ran.err);
    }
    let (backup, copy) = (format!("{dir}.bcb"), format!("{dir}-copy"));
    let ran = run(&["backup", &dir, &backup, "--verify"]).ok();
    assert!(ran.text().contains("backed up revision 1") && ran.err.contains(NOTE), "{ran:?}");
    run(&["restore", &backup, &copy]).ok();
    assert!(run(&["scan", &copy, "v1"]).ok().text().contains("value 1"));
    assert_eq!(files(&dir), before, "reading changes no file");
    for (name, code) in [("missing", 1), ("name", 0)] {
        assert_eq!(run_on(&dir, &["get", "v1", name]).code, code);
    }
    let refused = run_on(&dir, &["put", "v1", "name", "other"]);
    assert!(refused.code == 3 && refused.err.contains("is open elsewhere"), "{}", refused.err);
    for number in 2..6 {
        let value = format!("value {number}");
        server.put_ok("/api/db/v2/name", format!(r#"{{"value":"{value}"}}"#));
        let shown = run(&["scan", &dir, "v2"]).ok();
        assert!(shown.text().contains(&value), "{}", shown.text());
    }
    server.signal("KILL");
    assert_eq!(server.wait().0, None);
    let alone = run(&["scan", &dir, "v2"]).ok();
    assert!(alone.text().contains("value 5") && alone.err.is_empty(), "{alone:?}");
    let again = Server::start(&dir);
    assert!(run_on(&dir, &["check"]).ok().err.contains(NOTE));
    again.signal("TERM");
    assert_eq!(again.wait().0, Some(0));
}

#[test]
fn a_command_that_is_killed_while_it_reads_leaves_nothing_behind() {
    let (_folder, dir) = scratch();
    let owner = Db::open(&dir).expect("a database");
    let pairs: Vec<_> = (0..20_000_u32).map(|key| (key.to_be_bytes(), [7; 100])).collect();
    owner.update(|txn| txn.create_bucket("b")?.put_many(&pairs)).expect("a load");
    let before = files_at_rest(&dir);
    let mut child = program()
        .args(["scan", &dir, "b"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    // It prints more than a pipe takes.
    child.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 1000]).expect("some lines");
    assert!(child.try_wait().expect("a child").is_none(), "it is under way");
    child.kill().expect("it is killed");
    child.wait().expect("it is gone");
    assert_eq!(files(&dir), before);
    owner.update(|txn| txn.bucket_mut("b")?.put("after", "it")).expect("a commit");
    owner.checkpoint().expect("a checkpoint");
    owner.close().expect("a clean end");
    let again = Db::open(&dir).expect("nobody holds it");
    assert!(again.check(&mut |_| ControlFlow::Continue(())).expect("a check").is_sound());
}

/// Tells a thread to end.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_scan_beside_a_busy_owner_is_of_one_transaction_or_refused_whole() {
    let (_folder, dir) = scratch();
    let options = Options::new().checkpoint_log_bytes(256 << 10).checkpoint_log_bytes_min(64 << 10);
    let owner = options.open(&dir).expect("a database");
    let put_all = |number: u64| {
        owner.update(|txn| {
            let mut bucket = txn.create_bucket_if_missing("b")?;
            (0..200_u32).try_for_each(|key| bucket.put(key.to_string(), format!("{number:0300}")))
        })
    };
    put_all(0).expect("a commit");
    let (last, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut shown = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                put_all(number).expect("a commit");
                last.store(number, Ordering::Relaxed);
            }
        });
        let _stopped_also_by_a_panic = Stop(&stop);
        for _ in 0..20 {
            let acknowledged = last.load(Ordering::Relaxed);
            let ran = run(&["scan", &dir, "b"]);
            if ran.code == 3 {
                assert!(ran.out.is_empty() && ran.err.contains("outrun by the owner"), "{ran:?}");
                continue;
            }
            let lines = ran.ok().json_lines();
            assert_eq!(lines.len(), 200);
            assert!(lines.iter().all(|line| line["value"] == lines[0]["value"]));
            let value = lines[0]["value"].as_str().expect("a value");
            assert!(value.parse::<u64>().expect("a number") >= acknowledged);
            shown += 1;
        }
    });
    assert!(shown > 10, "{shown}");
}
