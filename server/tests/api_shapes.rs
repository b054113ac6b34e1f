//! The API answers in the shapes that its first users wrote against.

mod support;

use support::scratch;
use support::server::Server;

#[test]
fn a_key_is_put_got_and_deleted() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    let missing = r#"{"key":"name","value":null,"exists":false}"#;
    for path in ["/api/db/user/42/name", "/api/db/job/7/name", "/api/db/shared/name"] {
        let got = server.get(path);
        assert_eq!((got.status, got.text()), (404, missing));
        server.put_ok(path, r#"{"value":"Ada"}"#);
        let got = server.get(path);
        assert_eq!(
            (got.status, got.text(), &got.content_type[..]),
            (200, r#"{"key":"name","value":"Ada","exists":true}"#, "application/json")
        );
        let deleted = server.delete(path);
        assert_eq!((deleted.status, deleted.text()), (204, ""));
        let deleted = server.delete(path);
        assert_eq!((deleted.status, deleted.text()), (404, missing));
        assert_eq!(server.get(path).status, 404);
    }
    assert_eq!(server.get("/health").text(), r#"{"status":"ok"}"#);
}

#[test]
fn a_value_is_returned_as_the_bytes_that_came() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    for value in [
        r#"{"b": 1.0,  "a":[1e2, -0],"a":"\u00e9é"}"#,
        "null",
        "12345678901234567890.10",
        "\"\"",
        "\"\\ud800\"",
        "[]",
        "false",
    ] {
        server.put_ok("/api/db/n/k", format!(" {{ \"value\" : {value} , \"ttl\":null}}\n"));
        let expected = format!(r#"{{"key":"k","value":{value},"exists":true}}"#);
        assert_eq!(server.get("/api/db/n/k").text(), expected);
    }
}

#[test]
fn a_namespace_lists_its_keys_in_order() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    let listed = |query: &str| server.get(&format!("/api/db/user/1{query}")).text().to_owned();
    assert_eq!(listed(""), r#"{"keys":[],"count":0}"#);
    for index in 0..120 {
        server.put_ok(&format!("/api/db/user/1/k/{index:03}"), r#"{"value":0}"#);
    }
    server.put_ok("/api/db/user/2/other", r#"{"value":0}"#);
    assert_eq!(server.get("/api/db/user/1").json()["count"], 100);
    assert_eq!(server.get("/api/db/user/1?limit=1000").json()["count"], 120);
    assert_eq!(listed("?limit=2"), r#"{"keys":["k/000","k/001"],"count":2}"#);
    assert_eq!(listed("?prefix=k%2F11&limit=1"), r#"{"keys":["k/110"],"count":1}"#);
    assert_eq!(listed("?prefix=x"), r#"{"keys":[],"count":0}"#);
    assert_eq!(server.get("/api/db/user/2").text(), r#"{"keys":["other"],"count":1}"#);
}

#[test]
fn values_outlive_the_server() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    server.put_ok("/api/db/n/k", r#"{"value":[1]}"#);
    server.signal("INT");
    let (code, log) = server.wait();
    assert_eq!((code, &log[..]), (Some(0), "bristlecone: stopped\n"));
    let server = Server::start(&dir);
    assert_eq!(server.get("/api/db/n/k").json()["value"][0], 1);
}
