//! Reads the body of a request, up to a bound.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, Bytes, HttpBody};

use crate::limits::{BODY_BYTES_DISCARDED_MAX, BODY_BYTES_MAX};

use super::problem::Problem;

/// The whole body. One that is too large is read on for a while and thrown away: a client that is
/// still sending when its connection is closed would not get to read the answer.
pub(super) async fn read(mut body: Body) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > BODY_BYTES_DISCARDED_MAX as u64 {
        return Err(Problem::too_large("body_too_large", BODY_BYTES_MAX));
    }
    let mut bytes = Vec::new();
    let mut discarded = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(frame) = frame else {
            return Err(Problem::bad_request("bad_body", "expected a whole body"));
        };
        // Trailers are no data.
        let Ok(data) = frame.into_data() else { continue };
        if discarded == 0 && bytes.len() + data.len() <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
            continue;
        }
        discarded += data.len();
        if discarded > BODY_BYTES_DISCARDED_MAX {
            break;
        }
    }
    match discarded {
        0 => Ok(bytes.into()),
        _ => Err(Problem::too_large("body_too_large", BODY_BYTES_MAX)),
    }
}
