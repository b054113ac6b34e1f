//! A value with a time to live is gone when it has passed.

mod support;

use std::time::{Duration, Instant};

use support::scratch;
use support::server::Server;

#[test]
fn a_value_expires() {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    server.put_ok("/api/db/n/stays", r#"{"value":0,"ttl":3600}"#);
    server.put_ok("/api/db/n/renewed", r#"{"value":0,"ttl":0.2}"#);
    server.put_ok("/api/db/n/renewed", r#"{"value":0}"#);
    let begun = Instant::now();
    server.put_ok("/api/db/n/goes", r#"{"value":0,"ttl":0.5}"#);
    let got = server.get("/api/db/n/goes").status;
    assert!(got == 200 || begun.elapsed() >= Duration::from_millis(500));
    std::thread::sleep(Duration::from_millis(550));
    assert_eq!(server.get("/api/db/n/goes").status, 404);
    assert_eq!(server.get("/api/db/n").text(), r#"{"keys":["renewed","stays"],"count":2}"#);
    assert_eq!(server.delete("/api/db/n/goes").status, 404);
    server.put_ok("/api/db/n/goes", r#"{"value":"again"}"#);
    assert_eq!(server.get("/api/db/n/goes").json()["value"], "again");
}
