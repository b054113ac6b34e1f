//! `scan` prints pairs in order, within all bounds that were given.

mod support;

use support::{run, run_with, scratch};

fn keys(arguments: &[&str]) -> Vec<String> {
    let lines = run(arguments).ok().json_lines();
    lines.iter().map(|line| line["key"].as_str().expect("a key").to_owned()).collect()
}

#[test]
fn prefix_bounds_limit_and_direction_all_hold() {
    let (_folder, dir) = scratch();
    for key in ["a1", "a2", "a3", "b1", "b2"] {
        run(&["put", &dir, "b", key, "v", "--create"]).ok();
    }
    run(&["put", &dir, "b/nested", "k", "v", "--create"]).ok();
    assert_eq!(keys(&["scan", &dir, "b"]), ["a1", "a2", "a3", "b1", "b2"]);
    assert_eq!(keys(&["scan", &dir, "b", "--prefix", "a", "--limit", "2"]), ["a1", "a2"]);
    assert_eq!(keys(&["scan", &dir, "b", "--reverse", "--prefix", "a"]), ["a3", "a2", "a1"]);
    assert_eq!(keys(&["scan", &dir, "b", "--start", "a2", "--end", "b2"]), ["a2", "a3", "b1"]);
    assert_eq!(keys(&["scan", &dir, "b", "--prefix", "b", "--end", "b2"]), ["b1"]);
    assert_eq!(keys(&["scan", &dir, "b", "--prefix", "61", "--start", "6132", "--hex"]).len(), 2);
    assert!(keys(&["scan", &dir, "b", "--start", "z", "--end", "a"]).is_empty());
    assert_eq!(run(&["scan", &dir, "missing"]).code, 1);
}

#[test]
fn bytes_that_are_no_text_have_an_encoding() {
    let (_folder, dir) = scratch();
    run_with(&["put", &dir, "b", "6b", "-", "--hex", "--create"], b"{\"a\":\xc3\xa9}").ok();
    run_with(&["put", &dir, "b", "fe", "-", "--hex"], b"\xff\0").ok();
    assert_eq!(
        run(&["scan", &dir, "b"]).ok().text(),
        "{\"key\":\"k\",\"value\":\"{\\\"a\\\":é}\"}\n\
         {\"key_hex\":\"fe\",\"value_base64\":\"/wA=\"}\n"
    );
    assert_eq!(
        run(&["scan", &dir, "b", "--keys-only"]).ok().text(),
        "{\"key\":\"k\"}\n{\"key_hex\":\"fe\"}\n"
    );
}
