//! Every value of an imported bbolt file is served as it is in the file.

mod support;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bristlecone_server::bolt::{BoltError, BoltFile, Event};
use bristlecone_server::names::{BucketPath as Names, escape};
use serde::Deserialize;
use serde_json::value::RawValue;
use support::manifest::{BucketPath, Gathered, fixtures, read_manifest};
use support::server::Server;
use support::{fixture, run, scratch};

/// The path and query of a key in a bucket.
fn url(bucket: &BucketPath, key: &[u8]) -> String {
    let url = format!("/api/db/{}/{}", escape(&bucket[0]), escape(key));
    match &bucket[1..] {
        [] => url,
        inner => {
            let path = Names::new(inner.to_vec()).expect("a path").to_string();
            format!("{url}?path={}", escape(path.as_bytes()))
        }
    }
}

/// Gets a value, and proves that the answer speaks of the key.
fn get(server: &Server, bucket: &BucketPath, key: &[u8]) -> Vec<u8> {
    let answer = server.get(&url(bucket, key));
    assert_eq!(answer.status, 200, "{bucket:x?} {key:x?}");
    let told = answer.json();
    let expected_key = match std::str::from_utf8(key) {
        Ok(key) => (key.to_owned(), None),
        Err(_) => (escape(key), Some("percent")),
    };
    assert_eq!((told["key"].as_str(), told["key_encoding"].as_str()), {
        (Some(&expected_key.0[..]), expected_key.1)
    });
    assert_eq!(told["exists"], true);
    match told["encoding"].as_str() {
        Some("base64") => STANDARD.decode(told["value"].as_str().expect("text")).expect("base64"),
        Some(other) => panic!("an encoding {other}"),
        None => raw_value(&answer.body),
    }
}

fn raw_value(body: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Value<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let told: Value<'_> = serde_json::from_slice(body).expect("JSON");
    told.value.get().as_bytes().to_vec()
}

#[test]
fn every_fixture_is_served_as_its_manifest_says() {
    for (file, manifest) in fixtures() {
        let (_folder, dir) = scratch();
        run(&["import-bolt", file.to_str().expect("UTF-8"), &dir]).ok();
        let server = Server::start(&dir);
        let mut served: BTreeMap<BucketPath, Gathered> = BTreeMap::new();
        let mut path: BucketPath = Vec::new();
        let file = BoltFile::open(&file).expect("a bolt file");
        let mut pairs = 0;
        file.walk(&mut |event| {
            match event {
                Event::EnterBucket { name, .. } => path.push(name.to_vec()),
                Event::LeaveBucket => drop(path.pop()),
                Event::Pair { key, value } => {
                    let found = get(&server, &path, key);
                    assert_eq!(found, value, "{path:x?} {key:x?}");
                    let gathered = served.entry(path.clone()).or_default();
                    gathered.absorb(key);
                    gathered.absorb(&found);
                    pairs += 1;
                }
                Event::Progress { .. } => {}
            }
            Ok::<(), BoltError>(())
        })
        .expect("a sound file");
        assert!(pairs > 0);
        let served: BTreeMap<_, _> =
            served.into_iter().map(|(path, gathered)| (path, gathered.finish().sha256)).collect();
        for (path, facts) in read_manifest(&manifest) {
            if facts.keys > 0 {
                assert_eq!(served.get(&path), Some(&facts.sha256), "{path:x?}");
            }
        }
        server.signal("TERM");
        assert_eq!(server.wait().0, Some(0));
        run(&["check", &dir]).ok();
    }
}

#[test]
fn nested_buckets_are_listed_by_their_path() {
    let file = fixture("containerd-snapshots.db");
    let (_folder, dir) = scratch();
    run(&["import-bolt", file.to_str().expect("UTF-8"), &dir]).ok();
    let server = Server::start(&dir);
    let told = server.get("/api/db/v1?path=snapshots/k8s.io%252F10%252Fctr-4").json();
    assert_eq!(told["count"], 5, "{told}");
    assert_eq!(server.get("/api/db/v1?path=snapshots").text(), r#"{"keys":[],"count":0}"#);
    assert_eq!(server.get("/api/db/v1?path=missing").text(), r#"{"keys":[],"count":0}"#);
    assert_eq!(server.get("/api/db/v1/id?path=missing").status, 404);
    assert_eq!(server.get("/api/db/v1/snapshots").status, 404, "a bucket is no value");
    assert_eq!(server.put("/api/db/v1/snapshots", r#"{"value":1}"#).problem(), "is_a_bucket");
    assert_eq!(server.delete("/api/db/v1/snapshots").problem(), "is_a_bucket");
}
