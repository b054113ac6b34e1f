//! Goal: whatever was acknowledged under load is there, also when the server is stopped or killed
//! in the middle of it. Method: many clients put keys of their own and note what was acknowledged;
//! then the database is opened and compared with the notes.

mod support;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use bristlecone::Db;
use support::server::{Server, agent, answer};
use support::{run, scratch};

const CLIENTS: usize = 16;

#[test]
fn a_thousand_concurrent_puts_are_all_there() {
    const PUTS: usize = 1000;
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    let together = Barrier::new(PUTS);
    thread::scope(|scope| {
        for index in 0..PUTS {
            let (server, together) = (&server, &together);
            let put = move || {
                let agent = agent();
                let url = server.url(&format!("/api/db/user/{}/k{index}", index % 7));
                together.wait();
                let body = format!("{{\"value\":{index}}}");
                let answer = answer(agent.put(url).send(body).expect("an answer"));
                assert_eq!(answer.status, 200, "{answer:?}");
            };
            thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, put)
                .expect("a thread");
        }
    });
    for index in 0..PUTS {
        let path = format!("/api/db/user/{}/k{index}", index % 7);
        assert_eq!(server.get(&path).json()["value"], index);
    }
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    run(&["check", &dir]).ok();
}

/// Loads a server, ends it by a signal, and returns its exit code.
fn acknowledged_puts_survive(signal: &str) -> Option<i32> {
    let (_folder, dir) = scratch();
    let server = Server::start(&dir);
    let client = |client: usize| {
        let agent = agent();
        let mut acknowledged = Vec::new();
        for index in 0.. {
            let key = format!("{client}-{index}");
            let sent = agent.put(server.url(&format!("/api/db/n/{key}"))).send(r#"{"value":0}"#);
            match sent.map(answer) {
                Ok(answer) if answer.status == 200 => acknowledged.push(key),
                _ => break,
            }
        }
        acknowledged
    };
    let acknowledged: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        thread::sleep(Duration::from_millis(700));
        server.signal(signal);
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    let (code, _) = server.wait();
    assert!(acknowledged.len() > CLIENTS, "{} acknowledged", acknowledged.len());
    let db = Db::open(&dir).expect("a database");
    db.view(|txn| {
        let bucket = txn.bucket("n")?;
        for key in &acknowledged {
            assert_eq!(bucket.get(key)?, Some(&b"0"[..]), "{key} was acknowledged");
        }
        let extra = bucket.iter()?.count() - acknowledged.len();
        assert!(extra <= CLIENTS, "one for each client may be unacknowledged, found {extra}");
        Ok(())
    })
    .expect("read");
    db.close().expect("closed");
    run(&["check", &dir]).ok();
    code
}

#[test]
fn stopping_loses_no_acknowledged_put() {
    assert_eq!(acknowledged_puts_survive("TERM"), Some(0));
}

#[test]
fn killing_loses_no_acknowledged_put() {
    assert_eq!(acknowledged_puts_survive("KILL"), None);
}
