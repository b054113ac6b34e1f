//! `put`, `get` and `delete` write, read and remove one key, and say what is not there.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{run, run_with, scratch};

#[test]
fn a_value_is_written_read_and_removed() {
    let (_folder, dir) = scratch();
    assert_eq!(run(&["put", &dir, "users", "alice", "first"]).code, 5, "no database");
    run(&["put", &dir, "users", "alice", "first", "--create"]).ok();
    run(&["put", &dir, "users", "alice", "-"]).ok();
    assert_eq!(run(&["get", &dir, "users", "alice"]).ok().out, b"");
    let bytes = b"any\0bytes\xff\n";
    assert_eq!(run_with(&["put", &dir, "users", "alice", "-"], bytes).code, 0);
    assert_eq!(run(&["get", &dir, "users", "alice"]).ok().out, bytes);
    run(&["delete", &dir, "users", "alice"]).ok();
    for command in ["get", "delete"] {
        let ran = run(&[command, &dir, "users", "alice"]);
        assert_eq!((ran.code, ran.text()), (1, ""));
        assert_eq!(ran.err, "bristlecone: error: key not found in bucket users: alice\n");
    }
}

#[test]
fn buckets_on_the_way_are_created_only_when_asked() {
    let (_folder, dir) = scratch();
    run(&["put", &dir, "a", "k", "v", "--create"]).ok();
    let refused = run(&["put", &dir, "a/b/c", "k", "v"]);
    assert_eq!(refused.code, 1);
    assert_eq!(refused.err, "bristlecone: error: bucket not found: \"b\"\n");
    run(&["put", &dir, "a/b/c%2Fd", "k", "v", "--create"]).ok();
    assert_eq!(run(&["get", &dir, "a/b/c%2Fd", "k"]).ok().text(), "v");
    assert_eq!(run(&["get", &dir, "a/b/c/d", "k"]).code, 1);
    assert_eq!(run(&["get", &dir, "a", "b"]).code, 1, "a bucket is no value");
    assert_eq!(run(&["put", &dir, "a/k", "x", "v", "--create"]).code, 1, "nor the reverse");
    assert_eq!(run(&["put", &dir, "__import_incomplete", "k", "v", "--create"]).code, 2);
}

#[test]
fn keys_may_be_hexadecimal_and_values_tell_when_they_expire() {
    let (_folder, dir) = scratch();
    run(&["put", &dir, "b", "00ff", "-7", "--hex", "--create", "--ttl", "3600"]).ok();
    let found = &run(&["get", &dir, "b", "00FF", "--hex", "--json"]).ok().json_lines()[0];
    assert_eq!((&found["key_hex"], &found["value"]), (&json!("00ff"), &json!("-7")));
    let expires_at = Duration::from_millis(found["expires_at_ms"].as_u64().expect("a time"));
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    assert!((3500..=3600).contains(&(expires_at - now).as_secs()));
    run_with(&["put", &dir, "b", "text", "-"], b"\xfe").ok();
    let found = run(&["get", &dir, "b", "text", "--json"]).ok();
    assert_eq!(found.text(), "{\"key\":\"text\",\"value_base64\":\"/g==\"}\n");
    run(&["put", &dir, "b", "short", "v", "--ttl", "0.05"]).ok();
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(run(&["get", &dir, "b", "short"]).code, 1);
}

#[test]
fn arguments_that_cannot_be_end_with_2() {
    let (_folder, dir) = scratch();
    run(&["put", &dir, "b", "k", "v", "--create"]).ok();
    for arguments in [
        &["get", &dir, "b"][..],
        &["get", &dir, "b//c", "k"],
        &["get", &dir, "%zz", "k"],
        &["get", &dir, "b", "0g", "--hex"],
        &["put", &dir, "b", "", "v"],
        &["put", &dir, "b", &"k".repeat(2049), "v"],
        &["put", &dir, "b", "k", "v", "--ttl", "0"],
        &["put", &dir, "b", "k", "v", "--ttl", "soon"],
        &["frobnicate"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(!ran.err.is_empty());
    }
    assert_eq!(run(&["get", &dir, "b", "k"]).ok().text(), "v");
}
