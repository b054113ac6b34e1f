//! What holds for every request: a bound on its URI, and on the time until it is answered.

use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::limits::URI_BYTES_MAX;

use super::problem::Problem;

pub(super) async fn bound(request: Request, next: Next, timeout: Duration) -> Response {
    let uri_bytes = request.uri().path_and_query().map_or(0, |part| part.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        let detail = format!("expected a URI of at most {URI_BYTES_MAX} bytes, found {uri_bytes}");
        return Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail).into_response();
    }
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = timeout.as_secs_f64();
            let detail =
                format!("no answer within {seconds} s; a change may or may not have been made");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).into_response()
        }
    }
}
