//! `salvage` copies what is left of a damaged database and tells what is lost.

mod support;

use std::fs;
use std::path::Path;

use bristlecone::Db;
use support::{fixture, run, scratch};

/// Every file of a database with its bytes.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in [dir.to_path_buf(), dir.join("wal")] {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.to_str().expect("UTF-8").to_owned();
                found.push((name, fs::read(&path).expect("a file")));
            }
        }
    }
    found.sort();
    found
}

/// Flips a byte of a page.
fn damage(dir: &str, page: usize) {
    let data = Path::new(dir).join("data");
    let mut bytes = fs::read(&data).expect("the data file");
    bytes[page * 8192 + 4000] ^= 1;
    fs::write(&data, bytes).expect("the data file");
}

#[test]
fn an_undamaged_database_is_copied_whole_and_ends_with_0() {
    let (folder, dir) = scratch();
    let into = folder.path().join("salvaged");
    let into = into.to_str().expect("UTF-8");
    let file = fixture("etcd.db");
    run(&["import-bolt", file.to_str().expect("UTF-8"), &dir]).ok();
    let before = files(Path::new(&dir));
    let ran = run(&["salvage", &dir, into]).ok();
    assert!(ran.text().ends_with("lost 0 ranges of keys, 0 ranges of commits\n"), "{}", ran.text());
    assert!(files(Path::new(&dir)) == before, "the old one is only read");
    assert_eq!(run(&["scan", into, "key"]).ok().out, run(&["scan", &dir, "key"]).ok().out);
    assert_eq!(run(&["buckets", into]).ok().out, run(&["buckets", &dir]).ok().out);
    run(&["check", into]).ok();
}

#[test]
fn what_is_lost_is_told_and_ends_with_6() {
    let (folder, dir) = scratch();
    let pages = {
        let db = Db::open(&dir).expect("a database");
        db.update(|txn| {
            let mut around = txn.create_bucket("a/b")?;
            let mut bucket = around.create_bucket("in")?;
            (0..1000).try_for_each(|n| bucket.put(format!("key/{n:04}"), [7; 100]))
        })
        .expect("a commit");
        // Twice, so that both checkpoints have the same pages.
        db.checkpoint().expect("a checkpoint");
        db.update(|txn| txn.create_bucket("other").map(|_| ())).expect("a commit");
        db.close().expect("it closes");
        fs::read(Path::new(&dir).join("data")).expect("the data file").len() / 8192
    };
    let mut told = 0;
    for page in (8..pages).step_by(2) {
        damage(&dir, page);
        let into = folder.path().join(format!("salvaged-{page}"));
        let into = into.to_str().expect("UTF-8");
        let ran = run(&["salvage", &dir, into, "--json"]);
        let report = &ran.json_lines()[0];
        let losses = report["losses"].as_array().expect("losses");
        if ran.code == 0 {
            assert_eq!((report["complete"].as_bool(), losses.len()), (Some(true), 0), "{report}");
        } else {
            assert_eq!((ran.code, losses.len()), (6, 1), "{report}");
            let loss = &losses[0];
            let why = loss["why"].as_str().expect("why");
            assert!(why.contains(&format!("is damaged at page {page}:")), "{why}");
            if loss["path"] == "a%2Fb/in" && loss["end"].is_string() {
                told += 1;
                let end = loss["end"].as_str().expect("an end");
                assert!(end.starts_with("key%2F"), "{end}");
                let text = run(&["salvage", &dir, &format!("{into}-text")]);
                assert_eq!(text.code, 6);
                let expected = format!("to before {end}: ");
                assert!(
                    text.text().starts_with("lost: keys of bucket a%2Fb/in"),
                    "{}",
                    text.text()
                );
                assert!(text.text().contains(&expected), "{}", text.text());
            }
        }
        run(&["check", into]).ok();
        // The same again repairs it.
        damage(&dir, page);
    }
    assert!(told > 2, "{told} leaves");
}

#[test]
fn an_into_that_cannot_be_ends_with_2_and_no_meta_page_with_4() {
    let (folder, dir) = scratch();
    run(&["put", &dir, "b", "k", "v", "--create"]).ok();
    let inside = format!("{dir}/../db/new");
    for into in [&dir, &inside, folder.path().to_str().expect("UTF-8")] {
        let ran = run(&["salvage", &dir, into]);
        assert_eq!(ran.code, 2, "{into}: {}", ran.err);
    }
    let into = folder.path().join("new");
    let into = into.to_str().expect("UTF-8");
    let db = Db::open(&dir).expect("a database");
    assert_eq!(run(&["salvage", &dir, into]).code, 3);
    drop(db);
    damage(&dir, 0);
    run(&["salvage", &dir, into]).ok();
    damage(&dir, 1);
    let ran = run(&["salvage", &dir, &format!("{into}-2")]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("expected a whole meta page"), "{}", ran.err);
    assert_eq!(run(&["salvage", &format!("{dir}-none"), &format!("{into}-2")]).code, 5);
}
