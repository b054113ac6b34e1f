//! What cannot be answered is a problem with a status and a stable code.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::server::Server;
use support::{run, scratch};

const PUT: &str = r#"{"value":1}"#;

#[test]
fn addresses_that_cannot_be_are_400() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    let long = format!("/api/db/n/{}", "k".repeat(2049));
    for (path, code) in [
        ("/api/db/n/", "empty_key"),
        ("/api/db/user/1/", "empty_key"),
        ("/api/db/n/%", "bad_escape"),
        ("/api/db/n/%zz", "bad_escape"),
        ("/api/db/%2/k", "bad_escape"),
        ("/api/db//k", "bad_namespace"),
        ("/api/db/user//k", "bad_namespace"),
        ("/api/db/__import_incomplete/k", "bad_namespace"),
        (&long, "key_too_large"),
    ] {
        for answer in [server.get(path), server.put(path, PUT), server.delete(path)] {
            assert_eq!((answer.status, &answer.problem()[..]), (400, code), "{path}");
        }
    }
    for (query, code) in [
        ("limit=0", "bad_limit"),
        ("limit=1001", "bad_limit"),
        ("limit=ten", "bad_limit"),
        ("perfix=a", "bad_parameter"),
        ("prefix=a&prefix=b", "bad_parameter"),
        ("prefix=%f", "bad_escape"),
        ("path=a//b", "bad_path"),
    ] {
        let answer = server.get(&format!("/api/db/n?{query}"));
        assert_eq!((answer.status, &answer.problem()[..]), (400, code), "{query}");
    }
    assert_eq!(server.put("/api/db/n/k?ttl=1", PUT).problem(), "bad_parameter");
    assert_eq!(server.delete("/api/db/n/k?path=x").problem(), "bad_parameter");
    assert_eq!(server.put("/api/db/n", PUT).problem(), "empty_key");
    server.put_ok(&long[..long.len() - 1], PUT);
}

#[test]
fn bodies_that_cannot_be_are_400_413_or_422() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    for (body, status, code) in [
        ("", 400, "bad_json"),
        ("value", 400, "bad_json"),
        ("{\"value\":}", 400, "bad_json"),
        ("{\"value\":1} x", 400, "bad_json"),
        ("[]", 422, "bad_body"),
        (" [1,2]", 422, "bad_body"),
        ("{}", 422, "bad_body"),
        ("{\"value\":1,\"tll\":1}", 422, "bad_body"),
        ("{\"value\":1,\"ttl\":\"1\"}", 422, "bad_body"),
        ("{\"value\":1,\"ttl\":0}", 422, "bad_ttl"),
        ("{\"value\":1,\"ttl\":-1}", 422, "bad_ttl"),
        ("{\"value\":1,\"ttl\":1e300}", 422, "bad_ttl"),
    ] {
        let answer = server.put("/api/db/n/k", body);
        assert_eq!((answer.status, &answer.problem()[..]), (status, code), "{body}");
    }
    assert_eq!(server.get("/api/db/n/k").status, 404, "nothing was written");
    // Quotes included, exactly the bound; then one byte more, and a body beyond all bounds.
    let value = |bytes: usize| format!("{{\"value\":\"{}\"}}", "v".repeat(bytes - 2));
    server.put_ok("/api/db/n/k", value(1 << 20));
    for (bytes, code) in [
        ((1 << 20) + 1, "value_too_large"),
        (2 << 20, "body_too_large"),
        (6 << 20, "body_too_large"),
    ] {
        let answer = server.put("/api/db/n/k", value(bytes));
        assert_eq!((answer.status, &answer.problem()[..]), (413, code), "{bytes}");
    }
    assert_eq!(server.get("/api/db/n/k").body.len(), (1 << 20) + 34);
}

#[test]
fn paths_and_methods_that_are_not_there_are_404_and_405() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    for path in ["/", "/api/db", "/api/db/", "/api/other"] {
        let answer = server.get(path);
        assert_eq!((answer.status, &answer.problem()[..]), (404, "no_such_path"), "{path}");
    }
    let answer = server.post("/api/db/n/k");
    assert_eq!((answer.status, &answer.problem()[..]), (405, "no_such_method"));
    assert_eq!(answer.allow, "GET,HEAD,PUT,DELETE");
    let long = server.get(&format!("/api/db/n/{}", "k".repeat(9000)));
    assert_eq!((long.status, &long.problem()[..]), (414, "uri_too_long"));
}

#[test]
fn headers_without_end_are_refused() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    let mut stream = TcpStream::connect(&server.address).expect("connected");
    let head = format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n", "y".repeat(100_000));
    // The server may close before all of it is sent.
    let _cut_off = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn addresses_that_others_can_reach_need_consent() {
    let (_folder, dir) = scratch();
    let ran = run(&["serve", "--listen", "0.0.0.0:0", "--data-dir", &dir]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no authentication yet"), "{}", ran.err);
    let server = Server::start(&dir);
    let taken = run(&["serve", "--listen", &server.address, "--data-dir", &format!("{dir}2")]);
    assert_eq!(taken.code, 5);
    let locked = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir]);
    assert_eq!(locked.code, 3);
}
