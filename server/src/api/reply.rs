//! The answers of the API as JSON.
//!
//! Never changes a value: what is JSON is put into the answer as it is, all else as base64.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::names::escape;

/// Answers a `GET` of one key.
#[derive(Serialize)]
struct Entry<'a> {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    value: Option<Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    exists: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Json(&'a RawValue),
    Base64(String),
}

/// Answers a `GET` of a namespace.
#[derive(Serialize)]
struct Keys {
    keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    count: usize,
}

/// A key that is there.
pub(super) fn entry(key: &[u8], value: &[u8]) -> Response {
    let (value, encoding) = match as_json(value) {
        Some(json) => (Value::Json(json), None),
        None => (Value::Base64(STANDARD.encode(value)), Some("base64")),
    };
    let (key, key_encoding) = one_key(key);
    let entry = Entry { key, key_encoding, value: Some(value), encoding, exists: true };
    json(StatusCode::OK, &entry)
}

/// A key that is not there.
pub(super) fn missing(key: &[u8]) -> Response {
    let (key, key_encoding) = one_key(key);
    let entry = Entry { key, key_encoding, value: None, encoding: None, exists: false };
    json(StatusCode::NOT_FOUND, &entry)
}

/// The keys of a namespace.
pub(super) fn keys(keys: Vec<Vec<u8>>) -> Response {
    let count = keys.len();
    let text: Result<Vec<&str>, _> = keys.iter().map(|key| std::str::from_utf8(key)).collect();
    let (keys, key_encoding) = match text {
        Ok(text) => (text.into_iter().map(str::to_owned).collect(), None),
        Err(_) => (keys.iter().map(|key| escape(key)).collect(), Some("percent")),
    };
    json(StatusCode::OK, &Keys { keys, key_encoding, count })
}

/// It was done, or the server is well.
pub(super) fn ok() -> Response {
    #[derive(Serialize)]
    struct Done {
        status: &'static str,
    }
    json(StatusCode::OK, &Done { status: "ok" })
}

fn one_key(key: &[u8]) -> (String, Option<&'static str>) {
    match std::str::from_utf8(key) {
        Ok(key) => (key.to_owned(), None),
        Err(_) => (escape(key), Some("percent")),
    }
}

/// The value if it is JSON text from its first byte to its last.
fn as_json(value: &[u8]) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_slice(value).ok()?;
    // White space around it would get lost.
    (raw.get().len() == value.len()).then_some(raw)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("invariant: strings and raw values serialize");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_json_text_is_json() {
        for json in ["{\"a\": 1.0}", "1", "null", "\"\\u00e9\"", "[[[]]]"] {
            assert_eq!(as_json(json.as_bytes()).map(RawValue::get), Some(json));
        }
        for other in [&b""[..], b" 1", b"1\n", b"{", b"1 2", b"\xff", b"\"\xff\"", b"nul"] {
            assert!(as_json(other).is_none(), "{other:?}");
        }
    }
}
