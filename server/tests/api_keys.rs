//! A key is the rest of the path, decoded once, with any bytes in it.

mod support;

use bristlecone::Db;
use support::scratch;
use support::server::Server;

#[test]
fn escapes_are_decoded_once_and_nothing_is_normalised() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    let keys: [(&str, &[u8]); 8] = [
        ("a/b", b"a/b"),
        ("a%252Fb", b"a%2Fb"),
        ("/a//", b"/a//"),
        ("a/../b", b"a/../b"),
        ("%C3%A9", "é".as_bytes()),
        ("a+b%20c", b"a+b c"),
        ("%00%01", b"\0\x01"),
        ("%ff%FE", b"\xff\xfe"),
    ];
    for (index, (path, _)) in keys.iter().enumerate() {
        server.put_ok(&format!("/api/db/n/{path}"), format!("{{\"value\":{index}}}"));
    }
    server.put_ok("/api/db/n/a%2Fb", r#"{"value":"the same"}"#);
    assert_eq!(server.get("/api/db/n/a/b").json()["value"], "the same");
    assert_eq!(server.get("/api/db/n/a%252Fb").json()["key"], "a%2Fb");
    assert_eq!(
        server.get("/api/db/n/%ff%fe").text(),
        r#"{"key":"%FF%FE","key_encoding":"percent","value":7,"exists":true}"#
    );
    assert_eq!(
        server.get("/api/db/n/%ff").text(),
        r#"{"key":"%FF","key_encoding":"percent","value":null,"exists":false}"#
    );
    assert_eq!(
        server.get("/api/db/n?prefix=a").text(),
        r#"{"keys":["a%2Fb","a+b c","a/../b","a/b"],"count":4}"#
    );
    let all = server.get("/api/db/n").json();
    assert_eq!((&all["count"], &all["key_encoding"]), (&8.into(), &"percent".into()));
    for key in all["keys"].as_array().expect("keys") {
        let path = format!("/api/db/n/{}", key.as_str().expect("text"));
        assert_eq!(server.get(&path).status, 200, "{path}");
    }
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    let db = Db::open(&dir).expect("a database");
    db.view(|txn| {
        let mut expected: Vec<&[u8]> = keys.iter().map(|(_, key)| *key).collect();
        expected.sort_unstable();
        let found: Result<Vec<_>, _> =
            txn.bucket("n")?.iter()?.map(|pair| pair.map(|(key, _)| key)).collect();
        assert_eq!(found?, expected);
        Ok(())
    })
    .expect("read");
}

#[test]
fn user_and_job_take_two_segments() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    server.put_ok("/api/db/user/42/a/b", r#"{"value":1}"#);
    server.put_ok("/api/db/job/42/a/b", r#"{"value":2}"#);
    server.put_ok("/api/db/users/42/a/b", r#"{"value":3}"#);
    assert_eq!(server.get("/api/db/user%2F42/a/b").json()["value"], 1);
    assert_eq!(server.get("/api/db/user/42").json()["keys"][0], "a/b");
    assert_eq!(server.get("/api/db/job/42").json()["keys"][0], "a/b");
    assert_eq!(server.get("/api/db/users").json()["keys"][0], "42/a/b");
    assert_eq!(server.get("/api/db/user").problem(), "bad_namespace");
}
