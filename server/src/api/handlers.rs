//! One function for each request: parse, ask the storage, answer.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits::{TTL_SECONDS_MAX, VALUE_BYTES_MAX};
use crate::names::{BucketPath, NameError};
use crate::storage::{Storage, ttl_of_seconds};

use super::address::{Address, Parameters};
use super::body;
use super::problem::Problem;
use super::reply;

/// The body of a `PUT`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    ttl: Option<f64>,
}

pub(super) async fn health() -> Response {
    reply::ok()
}

pub(super) async fn read(State(storage): State<Storage>, uri: Uri) -> Result<Response, Problem> {
    let Address { bucket, key } = Address::of(&uri, storage.key_bytes_max())?;
    let Some(key) = key else {
        let parameters = Parameters::of(&uri, &["prefix", "limit", "path"])?;
        let bucket = within(bucket, parameters.path)?;
        return Ok(reply::keys(storage.keys(&bucket, &parameters.prefix, parameters.limit)?));
    };
    let parameters = Parameters::of(&uri, &["path"])?;
    let bucket = within(bucket, parameters.path)?;
    Ok(match storage.get(&bucket, &key)? {
        Some(value) => reply::entry(&key, &value),
        None => reply::missing(&key),
    })
}

pub(super) async fn write(
    State(storage): State<Storage>,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let (bucket, key) = Address::of(&uri, storage.key_bytes_max())?.into_pair()?;
    Parameters::of(&uri, &[])?;
    let body = body::read(body).await?;
    let Put { value, ttl } = serde_json::from_slice(&body).map_err(|error| bad_body(&error))?;
    // An array of the members would do for serde.
    if !body.trim_ascii_start().starts_with(b"{") {
        let detail = "expected {\"value\": any JSON, \"ttl\": seconds}, found an array";
        return Err(Problem::unprocessable("bad_body", detail));
    }
    if value.get().len() > VALUE_BYTES_MAX {
        return Err(Problem::too_large("value_too_large", VALUE_BYTES_MAX));
    }
    let ttl = ttl.map(time_to_live).transpose()?;
    let value = body.slice_ref(value.get().as_bytes());
    storage.put(bucket, key, value, ttl).await?;
    Ok(reply::ok())
}

pub(super) async fn remove(State(storage): State<Storage>, uri: Uri) -> Result<Response, Problem> {
    let (bucket, key) = Address::of(&uri, storage.key_bytes_max())?.into_pair()?;
    Parameters::of(&uri, &[])?;
    match storage.delete(bucket, key.clone()).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Ok(reply::missing(&key)),
    }
}

pub(super) async fn no_such_path() -> Problem {
    let detail = "expected /api/db/{namespace}/{key}, /api/db/{namespace} or /health";
    Problem::new(StatusCode::NOT_FOUND, "no_such_path", detail)
}

pub(super) async fn no_such_method() -> Problem {
    let detail = "expected a method that the Allow header names";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", detail)
}

/// The bucket that a `path` parameter names within a namespace.
fn within(bucket: BucketPath, path: Option<BucketPath>) -> Result<BucketPath, Problem> {
    let too_deep = |error: NameError| Problem::bad_request("bad_path", error.to_string());
    path.map_or(Ok(bucket.clone()), |path| bucket.join(path).map_err(too_deep))
}

fn time_to_live(seconds: f64) -> Result<Duration, Problem> {
    ttl_of_seconds(seconds).ok_or_else(|| {
        let detail =
            format!("expected a ttl from 0.001 to {TTL_SECONDS_MAX} seconds, found {seconds}");
        Problem::unprocessable("bad_ttl", detail)
    })
}

fn bad_body(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        let detail = format!("expected {{\"value\": any JSON, \"ttl\": seconds}}: {error}");
        return Problem::unprocessable("bad_body", detail);
    }
    Problem::bad_request("bad_json", format!("expected JSON: {error}"))
}
