//! `import-bolt` brings a whole bbolt file into a new or empty database, or nothing of it.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bristlecone::{Bucket, Db, Options};
use bristlecone_server::import::{ImportError, ImportOptions, import};
use support::bolt_image::{self, image};
use support::manifest::{BucketPath, Facts, Gathered, fixtures, read_manifest};
use support::{fixture, run, scratch};

/// What a database holds, in the form of the manifests.
fn read_database(db: &Db) -> BTreeMap<BucketPath, Facts> {
    let txn = db.begin_read().expect("a reader");
    let mut told = BTreeMap::new();
    let mut root = Gathered::default();
    let mut waiting: Vec<(BucketPath, Bucket<'_>)> = Vec::new();
    for name in txn.buckets().expect("names") {
        let name = name.expect("a name");
        root.buckets += 1;
        waiting.push((vec![name.to_vec()], txn.bucket(name).expect("a bucket")));
    }
    told.insert(Vec::new(), root.finish());
    while let Some((path, bucket)) = waiting.pop() {
        let mut gathered = Gathered { sequence: bucket.sequence(), ..Gathered::default() };
        for pair in bucket.iter().expect("pairs") {
            let (key, value) = pair.expect("a pair");
            gathered.keys += 1;
            gathered.absorb(key);
            gathered.absorb(value);
        }
        for name in bucket.buckets().expect("names") {
            let name = name.expect("a name");
            gathered.buckets += 1;
            let inner = [path.clone(), vec![name.to_vec()]].concat();
            waiting.push((inner, bucket.bucket(name).expect("a bucket")));
        }
        assert_eq!(bucket.len(), gathered.keys + gathered.buckets);
        told.insert(path, gathered.finish());
    }
    told
}

fn assert_holds(dir: &str, manifest: &Path) {
    let db = Options::new().read_only(true).create(false).open(dir).expect("a database");
    let (expected, found) = (read_manifest(manifest), read_database(&db));
    assert_eq!(expected.len(), found.len());
    for (path, facts) in &expected {
        assert_eq!(found.get(path), Some(facts), "{}, bucket {path:x?}", manifest.display());
    }
}

#[test]
fn every_fixture_is_imported_as_its_manifest_says() {
    for (file, manifest) in fixtures() {
        let (_folder, dir) = scratch();
        let ran = run(&["import-bolt", file.to_str().expect("UTF-8"), &dir, "--json"]).ok();
        let facts = read_manifest(&manifest);
        let summary = &ran.json_lines()[0];
        assert_eq!(summary["buckets"], facts.len() - 1, "{summary}");
        assert_eq!(summary["keys"], facts.values().map(|facts| facts.keys).sum::<u64>());
        assert_holds(&dir, &manifest);
        run(&["check", &dir]).ok();
        let again = run(&["import-bolt", file.to_str().expect("UTF-8"), &dir]);
        assert_eq!(again.code, 5);
        assert!(again.err.contains("expected a new or empty database"), "{}", again.err);
        assert_holds(&dir, &manifest);
    }
}

#[test]
fn a_large_file_takes_several_transactions_and_leaves_no_mark() {
    for (file, manifest) in fixtures() {
        let (_folder, dir) = scratch();
        // Into an empty database, this time.
        Db::open(&dir).expect("a database").close().expect("closed");
        let mut options = ImportOptions::default();
        options.txn_bytes_max = 1000;
        let report = import(&file, Path::new(&dir), &options, &mut |_| ControlFlow::Continue(()))
            .expect("a sound file");
        assert!(report.txns > 1, "{report:?}");
        assert_holds(&dir, &manifest);
        run(&["check", &dir]).ok();
    }
}

#[test]
fn a_damaged_file_is_refused_with_its_page_and_leaves_nothing() {
    let (folder, dir) = scratch();
    let mut bytes = fs::read(fixture("containerd-meta.db")).expect("a fixture");
    let file = folder.path().join("damaged.db");
    let mut refused = 0;
    for page in 2..40 {
        // The count of elements in the page's header.
        bytes[page * 4096 + 10] ^= 0x40;
        fs::write(&file, &bytes).expect("written");
        bytes[page * 4096 + 10] ^= 0x40;
        let ran = run(&["import-bolt", file.to_str().expect("UTF-8"), &dir]);
        if ran.code == 0 {
            // A page that is free.
            fs::remove_dir_all(&dir).expect("removed");
            continue;
        }
        assert_eq!(ran.code, 4, "{}", ran.err);
        assert!(ran.err.contains("page ") && ran.err.contains("is damaged: "), "{}", ran.err);
        assert!(!Path::new(&dir).exists());
        refused += 1;
    }
    assert!(refused > 0);
}

#[test]
fn what_is_no_bolt_file_or_in_use_is_refused() {
    let (folder, dir) = scratch();
    let file = folder.path().join("bolt.db");
    let path = file.to_str().expect("UTF-8");
    assert_eq!(run(&["import-bolt", path, &dir]).code, 5, "missing");
    fs::write(&file, "no bolt file, but long enough to hold a meta page, or so it may seem")
        .expect("written");
    assert_eq!(run(&["import-bolt", path, &dir]).code, 5);
    fs::copy(fixture("containerd-snapshots.db"), &file).expect("copied");
    let owner = fs::File::open(&file).expect("open");
    owner.lock().expect("the lock");
    assert_eq!(run(&["import-bolt", path, &dir]).code, 3);
    drop(owner);
    let db = Db::open(&dir).expect("a database");
    assert_eq!(run(&["import-bolt", path, &dir]).code, 3);
    db.close().expect("closed");
    run(&["import-bolt", path, &dir]).ok();
}

fn with_key_of(bytes: usize) -> bolt_image::Bucket {
    let pair = (vec![b'k'; bytes], b"value".to_vec());
    bolt_image::Bucket { sequence: 3, pairs: vec![pair], ..bolt_image::Bucket::default() }
        .within(b"in/ner", 1)
        .within(b"outer", 1)
}

#[test]
fn the_page_size_is_chosen_for_the_longest_key() {
    let (folder, dir) = scratch();
    let file = folder.path().join("bolt.db");
    let path = file.to_str().expect("UTF-8");
    for (key_bytes, page_bytes) in [(2048, 8192), (2049, 16384), (8192, 32768)] {
        fs::write(&file, image(65_536, &with_key_of(key_bytes))).expect("written");
        run(&["import-bolt", path, &dir]).ok();
        let stats = &run(&["stats", &dir, "--json"]).ok().json_lines()[0];
        assert_eq!(stats["page_bytes"], page_bytes);
        let key = "k".repeat(key_bytes);
        assert_eq!(run(&["get", &dir, "outer/in%2Fner", &key]).ok().text(), "value");
        run(&["check", &dir]).ok();
        fs::remove_dir_all(&dir).expect("removed");
    }
    for (key_bytes, arguments, max) in
        [(8193, &[][..], 8192), (1025, &["--page-bytes", "4096"], 1024)]
    {
        fs::write(&file, image(65_536, &with_key_of(key_bytes))).expect("written");
        let ran = run(&[&["import-bolt", path, &dir], arguments].concat());
        assert_eq!(ran.code, 5);
        let expected = format!(
            "bristlecone: error: a key in bucket \"outer/in%2Fner\" is too long: expected at most \
             {max} bytes, found {key_bytes}\n"
        );
        assert_eq!(ran.err, expected);
        assert!(!Path::new(&dir).exists());
    }
    assert_eq!(run(&["import-bolt", path, &dir, "--page-bytes", "5000"]).code, 2);
}

#[test]
fn what_the_engine_has_no_room_for_is_refused() {
    let (folder, dir) = scratch();
    let file = folder.path().join("bolt.db");
    let refusal =
        |root: &bolt_image::Bucket| {
            fs::write(&file, image(4096, root)).expect("written");
            import(&file, Path::new(&dir), &ImportOptions::default(), &mut |_| {
                ControlFlow::Continue(())
            })
        };
    let empty = bolt_image::Bucket::default;
    let deep = refusal(&empty().within(b"b", 65));
    assert!(matches!(deep, Err(ImportError::TooDeep { max: 64, .. })), "{deep:?}");
    let reserved = refusal(&empty().within(b"__import_incomplete", 1));
    assert!(matches!(reserved, Err(ImportError::ReservedName)), "{reserved:?}");
    let counted = refusal(&bolt_image::Bucket { sequence: 9, ..empty() });
    assert!(matches!(counted, Err(ImportError::RootSequence { found: 9 })), "{counted:?}");
    assert!(!Path::new(&dir).exists());
    let report = refusal(&empty().within(b"b", 64)).expect("just deep enough");
    assert_eq!((report.buckets, report.keys), (64, 0));
    run(&["check", &dir]).ok();
}

#[test]
fn an_import_that_was_cut_short_is_told_and_not_served() {
    let (_folder, dir) = scratch();
    let db = Db::open(&dir).expect("a database");
    db.update(|txn| {
        txn.create_bucket("half")?.put("k", "v")?;
        txn.create_bucket("__import_incomplete").map(drop)
    })
    .expect("written");
    db.close().expect("closed");
    let file = fixture("containerd-snapshots.db");
    for arguments in [
        &["import-bolt", file.to_str().expect("UTF-8"), &dir][..],
        &["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 5);
        assert!(ran.err.contains("was cut short: remove it and import again"), "{}", ran.err);
    }
    let listed = run(&["buckets", &dir]).ok();
    assert!(listed.text().contains("half") && listed.err.contains("warning"), "{listed:?}");
}

#[test]
fn an_import_that_is_stopped_leaves_nothing() {
    let (folder, dir) = scratch();
    let file = fixture("etcd.db");
    let mut calls = 0;
    let options = ImportOptions::default();
    import(&file, Path::new(&dir), &options, &mut |_| {
        calls += 1;
        ControlFlow::Continue(())
    })
    .expect("a sound file");
    assert!(calls > 1, "{calls} calls");
    for stop_at in 1..=calls {
        let dir = folder.path().join(format!("stopped-{stop_at}"));
        let mut calls = 0;
        let stopped = import(&file, &dir, &options, &mut |_| {
            calls += 1;
            if calls == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let error = stopped.expect_err("it was stopped");
        assert_eq!(error.to_string(), "import stopped as asked");
        assert!(!dir.exists(), "stopped at call {stop_at}");
    }
}
