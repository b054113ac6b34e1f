//! Everything that can go wrong for a client, as `application/problem+json` (RFC 9457).
//!
//! Invariants:
//! 1. `code` is stable and tells the problem; `detail` is for a person.
//! 2. A fault of the server tells no path or page of the machine; those go to the log.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bristlecone::{Error, ErrorKind};
use serde::Serialize;

/// A problem, to be returned as the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// The members of the answer.
#[derive(Serialize)]
struct Members<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, code, detail: detail.into() }
    }

    /// A request that can never be answered.
    pub(super) fn bad_request(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// JSON of another shape or range than expected.
    pub(super) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub(super) fn too_large(code: &'static str, max: usize) -> Problem {
        let detail = format!("expected at most {max} bytes, found more");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let (status, code) = match error.kind() {
            ErrorKind::InvalidArgument { .. } => (StatusCode::BAD_REQUEST, "invalid_argument"),
            ErrorKind::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            ErrorKind::IsABucket { .. } => (StatusCode::CONFLICT, "is_a_bucket"),
            ErrorKind::NotABucket { .. } => (StatusCode::CONFLICT, "not_a_bucket"),
            ErrorKind::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            ErrorKind::Poisoned { .. } => (StatusCode::SERVICE_UNAVAILABLE, "poisoned"),
            ErrorKind::OutcomeUnknown { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "outcome_unknown")
            }
            ErrorKind::Corrupt(_) => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let detail = if status.is_server_error() {
            eprintln!("bristlecone: error: {error}");
            match code {
                "full" => "the database has no room; nothing was changed",
                "poisoned" => "the database stopped writing after a failure",
                "outcome_unknown" => "the change may or may not survive",
                "corrupt" => "the database is damaged",
                _ => "the server failed; its log says why",
            }
            .to_owned()
        } else {
            error.to_string()
        };
        Problem { status, code, detail }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let members = Members {
            // "about:blank" is the type whose title is that of the status.
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
        };
        let body = serde_json::to_vec(&members).expect("invariant: strings and numbers serialize");
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
