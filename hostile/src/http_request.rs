//! Hostile bytes on a connection, served as `bristlecone serve` does, without a socket.
//!
//! The first byte chooses how the bytes arrive; the rest are the bytes. In them, with bit 4 of the
//! choice, the byte 2 and a count repeat the byte before by so many thousands.
//!
//! Every answer is well formed; what the API has answered and nothing else is in the database; a
//! request that is malformed is the last of its connection.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use bristlecone_server::limits::HEADER_TIMEOUT;
use bristlecone_server::names::unescape;
use bristlecone_server::serve::serve_stream;

use crate::answers::{Answer, answers};
use crate::api::{self, Served};
use crate::content::{Content, look};
use crate::json::{is_json, members};
use crate::wire::{State, Watched, Wire, lock};

/// Bytes that the peer sends, at most, with all repetitions.
const BYTES_MAX: usize = 12 << 20;
/// What arrives at once.
const PIECES: [usize; 8] = [1, 2, 7, 61, 512, 4096, 65_536, usize::MAX];

/// A request that reached the API.
#[derive(Debug)]
struct Exchange {
    method: Method,
    path: String,
    body: Arc<Mutex<Vec<u8>>>,
    /// Set when it was answered.
    status: Option<StatusCode>,
}

type Exchanges = Arc<Mutex<Vec<Exchange>>>;

/// Tries one input; panics when it finds a bug.
pub fn run(bytes: &[u8]) {
    let Some((&mode, bytes)) = bytes.split_first() else { return };
    let bytes = if mode & 16 == 0 { bytes.to_vec() } else { repeated(bytes) };
    let abrupt = mode & 8 != 0;
    let served = Served::new();
    let before = look(&served.db).content;
    let state = Arc::new(Mutex::new(State::default()));
    let exchanges: Exchanges = Arc::default();
    let (noted, watching) = (Arc::clone(&exchanges), Arc::clone(&state));
    let router = served.router.clone().layer(from_fn(move |request, next| {
        note(request, next, Arc::clone(&noted), Arc::clone(&watching))
    }));
    let piece = PIECES[usize::from(mode & 7)];
    let wire = Wire::new(bytes, piece, abrupt, Arc::clone(&state));
    // An error says that the client broke the protocol.
    let _ended = api::run(serve_stream(router, HEADER_TIMEOUT, wire));
    let written = std::mem::take(&mut lock(&state).written);
    let exchanges = lock(&exchanges);
    judge_answers(&written, &exchanges, abrupt);
    judge_content(&served, before, &exchanges);
}

fn repeated(bytes: &[u8]) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    let mut bytes = bytes.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, all.last()) {
            (2, Some(&last)) => {
                let count = usize::from(bytes.next().copied().unwrap_or(0)) * 1000;
                let room = BYTES_MAX.saturating_sub(all.len());
                all.extend(std::iter::repeat_n(last, count.min(room)));
            }
            _ => all.push(byte),
        }
    }
    all
}

/// Notes what reaches the API and how it is answered.
async fn note(
    request: Request,
    next: Next,
    exchanges: Exchanges,
    state: Arc<Mutex<State>>,
) -> Response {
    let busy = State::begin(&state);
    let (head, body) = request.into_parts();
    let seen = Arc::default();
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    let exchange = Exchange { method, path, body: Arc::clone(&seen), status: None };
    let number = {
        let mut exchanges = lock(&exchanges);
        exchanges.push(exchange);
        exchanges.len() - 1
    };
    let body = Body::new(Watched::new(body, seen, state));
    let response = next.run(Request::from_parts(head, body)).await;
    lock(&exchanges)[number].status = Some(response.status());
    drop(busy);
    response
}

/// Panics unless the answers are well formed, one for each request in their order, with one at most
/// that the API knows nothing of: the last, for a request that is malformed.
fn judge_answers(written: &[u8], exchanges: &MutexGuard<'_, Vec<Exchange>>, abrupt: bool) {
    let methods: Vec<&Method> = exchanges.iter().map(|exchange| &exchange.method).collect();
    let answers = answers(written, &methods);
    let answered = exchanges.iter().filter_map(|exchange| exchange.status);
    for (answer, status) in answers.iter().zip(answered) {
        assert_eq!(answer.status, status.as_u16(), "{exchanges:?}");
    }
    let unanswered = exchanges.len().saturating_sub(answers.len());
    assert!(unanswered <= 1, "{unanswered} requests without an answer: {exchanges:?}");
    assert!(answers.len() <= exchanges.len() + 1, "{answers:?} to {exchanges:?}");
    if let Some(Answer { status, closes, .. }) = answers.get(exchanges.len()) {
        assert!((400..500).contains(status), "{answers:?} to {exchanges:?}");
        assert!(abrupt || *closes, "{answers:?}");
    }
    for answer in &answers {
        assert!(answer.status < 500, "{answer:?}");
        assert!(answer.body.is_empty() || is_json(&answer.body), "{answer:?}");
    }
}

/// Panics unless the database holds what the answers say.
fn judge_content(served: &Served, before: Content, exchanges: &MutexGuard<'_, Vec<Exchange>>) {
    let mut expected = vec![before];
    for exchange in exchanges.iter() {
        let mut done = expected.last().expect("never empty").clone();
        match (&exchange.method, exchange.status.map(|status| status.as_u16())) {
            (&Method::PUT, Some(200)) => put(&mut done, exchange),
            (&Method::DELETE, Some(204)) => {
                done.remove(&place(&exchange.path).expect("an address"));
            }
            // Cut off in the middle: done or not.
            (&Method::PUT, None) if members(&lock(&exchange.body)).is_some() => {
                let written = place(&exchange.path).filter(|_| is_whole(exchange));
                if written.is_some() {
                    put(&mut done, exchange);
                }
                expected.push(done);
                continue;
            }
            (&Method::DELETE, None) => {
                if let Some(place) = place(&exchange.path) {
                    done.remove(&place);
                }
                expected.push(done);
                continue;
            }
            _ => {}
        }
        expected = vec![done];
    }
    served.db.sync().expect("a sound disk");
    let after = look(&served.db);
    assert!(after.whole, "everything can be read");
    assert!(
        expected.contains(&after.content),
        "{exchanges:?} left {:?}, expected one of {expected:?}",
        after.content
    );
    let report = served.db.check(&mut |_| ControlFlow::Continue(())).expect("a check");
    assert!(report.is_sound(), "{report:?}");
}

fn is_whole(exchange: &Exchange) -> bool {
    let body = lock(&exchange.body);
    members(&body).is_some_and(|members| members.iter().any(|(name, _)| name == "value"))
}

fn put(content: &mut Content, exchange: &Exchange) {
    let place = place(&exchange.path).expect("an address");
    let body = lock(&exchange.body);
    let members = members(&body).expect("an object");
    let value = members.iter().find(|(name, _)| name == "value").expect("a value").1;
    for depth in 1..place.len() {
        content.entry(place[..depth].to_vec()).or_insert_with(|| vec![0; 8]);
    }
    content.insert(place, value.to_vec());
}

/// The names and the key that a path stands for, by the documentation.
fn place(path: &str) -> Option<Vec<Vec<u8>>> {
    let (first, rest) = path.strip_prefix("/api/db/")?.split_once('/')?;
    let first = unescape(first.as_bytes()).ok()?;
    let kind = |name: &[u8]| name == b"user" || name == b"job";
    if kind(&first) {
        let (id, key) = rest.split_once('/')?;
        return Some(vec![first, unescape(id.as_bytes()).ok()?, unescape(key.as_bytes()).ok()?]);
    }
    let key = unescape(rest.as_bytes()).ok()?;
    match first.iter().position(|byte| *byte == b'/') {
        Some(at) if kind(&first[..at]) => {
            Some(vec![first[..at].to_vec(), first[at + 1..].to_vec(), key])
        }
        _ => Some(vec![first, key]),
    }
}

/// Inputs to begin with: a name for each.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sent = |mode: u8, text: &str| [&[mode], text.as_bytes()].concat();
    let one = |head: &str| sent(7, &format!("{head}\r\nhost: h\r\n\r\n"));
    let with = |headers: &str, body: &str| {
        sent(5, &format!("PUT /api/db/n/a HTTP/1.1\r\nhost: h\r\n{headers}\r\n\r\n{body}"))
    };
    let get = "GET /api/db/n/k HTTP/1.1\r\nhost: h\r\n\r\n";
    let put = "PUT /api/db/n/a HTTP/1.1\r\nhost: h\r\ncontent-length: 11\r\n\r\n{\"value\":1}";
    let chunked = "transfer-encoding: chunked";
    vec![
        ("a-get", sent(0, get)),
        ("a-put", sent(7, put)),
        ("a-list", one("GET /api/db/n?limit=2&prefix=%ff HTTP/1.1")),
        ("a-delete", one("DELETE /api/db/user/42/name HTTP/1.1")),
        ("a-head", one("HEAD /api/db/n/k HTTP/1.1")),
        ("health", one("GET /health HTTP/1.1")),
        ("options", one("OPTIONS * HTTP/1.1")),
        ("connect", one("CONNECT h:80 HTTP/1.1")),
        ("an-absolute-form", one("PUT http://h/api/db/n/a HTTP/1.1\r\ncontent-length: 0")),
        ("http-1.0", sent(7, "GET /health HTTP/1.0\r\n\r\n")),
        ("http-2", sent(7, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        ("no-host", sent(7, "GET /health HTTP/1.1\r\n\r\n")),
        ("three-in-one-go", sent(7, &format!("{put}{get}{put}"))),
        ("three-byte-by-byte", sent(0, &format!("{put}{get}{put}"))),
        ("a-good-and-a-bad-one", sent(7, &format!("{put}GET  / HTTP/1.1\r\n\r\n{put}"))),
        ("an-abrupt-end", sent(15, put)),
        ("a-chunked-body", with(chunked, "4\r\n{\"va\r\n7\r\nlue\":1}\r\n0\r\n\r\n")),
        ("a-chunk-with-more", with(chunked, "b;x=y\r\n{\"value\":1}\r\n0\r\nt: u\r\n\r\n")),
        ("a-chunk-of-no-number", with(chunked, "zz\r\n{\"value\":1}\r\n0\r\n\r\n")),
        ("a-chunk-of-all-lengths", with(chunked, "fffffffffffffffff\r\n{\"value\":1}")),
        (
            "both-lengths",
            with(&format!("content-length: 11\r\n{chunked}"), "0\r\n\r\n{\"value\":1}"),
        ),
        ("two-lengths", with("content-length: 11\r\ncontent-length: 5", "{\"value\":1}")),
        ("a-negative-length", with("content-length: -1", "{\"value\":1}")),
        ("a-length-with-a-sign", with("content-length: +11", "{\"value\":1}")),
        ("an-unknown-encoding", with("transfer-encoding: gzip", "{\"value\":1}")),
        ("a-body-cut-short", with("content-length: 99", "{\"value\":1}")),
        ("a-body-in-wait", with("content-length: 11\r\nexpect: 100-continue", "{\"value\":1}")),
        ("a-folded-header", with("x: a\r\n b\r\ncontent-length: 11", "{\"value\":1}")),
        ("a-space-before-the-colon", with("content-length : 11", "{\"value\":1}")),
        ("a-line-feed-alone", sent(7, "GET /health HTTP/1.1\nhost: h\n\n")),
        ("a-zero-in-a-header", sent(7, "GET /health HTTP/1.1\r\nx: \0\r\n\r\n")),
        ("a-head-too-large", sent(23, "GET /health HTTP/1.1\r\nx: a\u{2}F\r\n\r\n")),
        ("a-uri-too-long", sent(23, "GET /api/db/n/a\u{2}\u{9} HTTP/1.1\r\n\r\n")),
        ("an-upgrade", one("GET /health HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade")),
        ("a-key-in-escapes", one("PUT /api/db/user%2F7/%00%ff%2F HTTP/1.1")),
        ("a-reserved-name", one("PUT /api/db/__import_incomplete/k HTTP/1.1")),
        ("nothing", vec![0]),
        ("line-feeds", sent(7, "\r\n\r\n\r\n")),
    ]
}
