//! Hostile bodies of requests, put to the API past HTTP.
//!
//! The first byte chooses method and path, the rest is the body.
//!
//! What is accepted is what the documentation promises to take, and reads back as the very bytes
//! that came; what is refused changes nothing. Every answer is JSON.

use axum::http::{Method, StatusCode};
use bristlecone_server::limits::{TTL_SECONDS_MAX, VALUE_BYTES_MAX};

use crate::api::{self, Served};
use crate::content::look;
use crate::json::{is_json, members};

/// Path, and the names on the way with the key as they stand in the database.
const PLACES: [(&str, &[&[u8]]); 4] = [
    ("/api/db/n/k", &[b"n", b"k"]),
    ("/api/db/new/a%2Fb", &[b"new", b"a/b"]),
    ("/api/db/job/7/%00%ff", &[b"job", b"7", b"\0\xff"]),
    ("/api/db/user/42/name", &[b"user", b"42", b"name"]),
];

/// Tries one input; panics when it finds a bug.
pub fn run(bytes: &[u8]) {
    let Some((&mode, body)) = bytes.split_first() else { return };
    let (path, place) = PLACES[usize::from(mode & 3)];
    let served = Served::new();
    let before = look(&served.db).content;
    let method = match mode >> 2 & 7 {
        1 => Method::DELETE,
        2 => Method::GET,
        3 => Method::POST,
        _ => Method::PUT,
    };
    let (status, answer) = api::run(served.ask(method.clone(), path, body));
    let told = format!("{status} {:?}", answer.escape_ascii().to_string());
    assert!(answer.is_empty() || is_json(&answer), "expected JSON, found {told}");
    assert!(!status.is_server_error(), "{told}");
    let mut expected = before.clone();
    let place: Vec<Vec<u8>> = place.iter().map(|name| name.to_vec()).collect();
    match method {
        Method::PUT => {
            let accepted = accepted(body);
            assert_eq!(status == StatusCode::OK, accepted.is_some(), "{told}");
            if let Some(value) = accepted {
                for depth in 1..place.len() {
                    expected.entry(place[..depth].to_vec()).or_insert_with(|| vec![0; 8]);
                }
                expected.insert(place, value.to_vec());
                assert_reads_back(&served, path, value);
            }
        }
        Method::DELETE if status == StatusCode::NO_CONTENT => {
            assert!(expected.remove(&place).is_some(), "{told}");
        }
        _ => {}
    }
    let after = look(&served.db);
    assert!(after.whole && after.content == expected, "{told} left {:?}", after.content);
}

/// The text of the value, if the documentation says that the body is accepted.
fn accepted(body: &[u8]) -> Option<&[u8]> {
    let members = members(body)?;
    let all = |wanted: &str| -> Vec<&[u8]> {
        let chosen = members.iter().filter(|(name, _)| name == wanted);
        chosen.map(|(_, value)| *value).collect()
    };
    let (values, ttls) = (all("value"), all("ttl"));
    let known = values.len() == 1 && ttls.len() <= 1 && members.len() == 1 + ttls.len();
    let fits = values.first().is_some_and(|value| value.len() <= VALUE_BYTES_MAX);
    let ttl = ttls.first().is_none_or(|ttl| is_ttl(ttl));
    (known && fits && ttl).then(|| values[0])
}

fn is_ttl(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    match text.parse::<f64>() {
        Ok(seconds) => (0.001..=TTL_SECONDS_MAX).contains(&seconds),
        Err(_) => text == "null",
    }
}

fn assert_reads_back(served: &Served, path: &str, value: &[u8]) {
    let (status, answer) = api::run(served.ask(Method::GET, path, b""));
    assert_eq!(status, StatusCode::OK);
    let members = members(&answer).expect("an object");
    let read = members.iter().find(|(name, _)| name == "value").map(|(_, value)| *value);
    assert!(read == Some(value), "reads back as {:?}", read.map(<[u8]>::escape_ascii));
}

/// Inputs to begin with: a name for each.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let put = |body: &str| [&[0], body.as_bytes()].concat();
    let nested =
        |depth: usize| put(&format!("{{\"value\":{}{}}}", "[".repeat(depth), "]".repeat(depth)));
    vec![
        ("a-number", put(r#"{"value":1}"#)),
        ("an-object", [&[1], &br#"{"value":{"a":[1,2.5e-3,null,true]},"ttl":60}"#[..]].concat()),
        ("a-ttl-of-null", [&[2], &br#"{"value":"x","ttl":null}"#[..]].concat()),
        ("white-space", put(" {\t\"value\"\r\n: [ 1 ] , \"ttl\" : 0.5 } ")),
        ("nested-300-deep", nested(300)),
        ("nested-1500-deep", nested(1500)),
        ("a-name-twice", put(r#"{"value":1,"value":2}"#)),
        ("a-name-twice-within", put(r#"{"value":{"a":1,"a":2}}"#)),
        ("a-huge-number", put(r#"{"value":123456789012345678901234567890e999999}"#)),
        ("a-huge-ttl", put(r#"{"value":1,"ttl":1e400}"#)),
        ("a-tiny-ttl", put(r#"{"value":1,"ttl":0.0009}"#)),
        ("a-negative-ttl", put(r#"{"value":1,"ttl":-1}"#)),
        ("a-ttl-in-quotes", put(r#"{"value":1,"ttl":"1"}"#)),
        ("a-lone-surrogate", put(r#"{"value":"\ud800"}"#)),
        ("a-lone-surrogate-in-a-name", put(r#"{"value":1,"\udc00":2}"#)),
        ("a-name-in-escapes", put(r#"{"\u0076alue":1}"#)),
        ("a-zero-byte", put("{\"value\":\"\0\"}")),
        ("no-utf-8", [&[0], &b"{\"value\":\"\xff\"}"[..]].concat()),
        ("a-byte-order-mark", put("\u{feff}{\"value\":1}")),
        ("an-array", put("[1]")),
        ("an-array-of-two", put("[1,2]")),
        ("an-unknown-name", put(r#"{"value":1,"other":2}"#)),
        ("no-value", put(r#"{"ttl":1}"#)),
        ("something-behind", put(r#"{"value":1}x"#)),
        ("a-comma-too-many", put(r#"{"value":1,}"#)),
        ("nothing", vec![0]),
        ("a-delete-with-a-body", [&[4 | 3], &br#"{"value":1}"#[..]].concat()),
        ("a-get-with-a-body", [&[8], &br#"{"value":1}"#[..]].concat()),
        ("a-post", [&[12], &br#"{"value":1}"#[..]].concat()),
    ]
}
