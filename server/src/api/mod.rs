//! The HTTP API: namespaces of keys with JSON values.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/db/{namespace}/{key}` | 200 or 404 with an *entry* |
//! | `PUT /api/db/{namespace}/{key}` of `{"value":v,"ttl":seconds}` | 200 `{"status":"ok"}` |
//! | `DELETE /api/db/{namespace}/{key}` | 204, or 404 with an *entry* |
//! | `GET /api/db/{namespace}?prefix=&limit=` | 200 `{"keys":[..],"count":n}` |
//! | `GET /health` | 200 `{"status":"ok"}` |
//!
//! An *entry* is `{"key":k,"value":v,"exists":true}`, or `{"key":k,"value":null,"exists":false}`
//! for a key that is missing or has expired. A `PUT` is answered when it is durable; its `ttl`, a
//! number of seconds above 0, may be left out. A list has the first keys in the order of their
//! bytes: 100, or `limit` from 1 to 1000.
//!
//! **Namespaces.** The first path segment names a top-level bucket; `user/{id}` and `job/{id}` take
//! two segments and name the bucket `{id}` in the bucket `user` or `job`. A namespace is created by
//! the first `PUT`; one that is missing is empty. `GET` takes `?path=a/b` to read the bucket `a/b`
//! within the namespace, written as `bristlecone buckets` prints it.
//!
//! **Keys.** The rest of the path is the key. It may hold `/` and any byte, and is decoded once, so
//! `%2F` is `/`. Nothing is normalised: `a//b`, `a/` and `a/../b` are keys of their own. A key that
//! is not UTF-8 stands in an answer with percent escapes, and `"key_encoding":"percent"` says so; a
//! list with such a key escapes all of its keys. In a query, `+` stands for a space.
//!
//! **Values** are returned as the very bytes that came. What was imported and is not JSON is
//! returned as base64, and `"encoding":"base64"` says so.
//!
//! **Errors** are `application/problem+json` with `type`, `title`, `status`, `detail` and a stable
//! `code`.
//!
//! Handlers hold no logic of the engine and no lock across an await.

mod address;
mod body;
mod guard;
mod handlers;
mod problem;
mod reply;

use std::time::Duration;

use axum::Router;
use axum::routing::get;

use crate::storage::Storage;

/// The API over `storage`; a request is answered within `request_timeout`.
pub fn router(storage: Storage, request_timeout: Duration) -> Router {
    let namespaces = get(handlers::read).put(handlers::write).delete(handlers::remove);
    Router::new()
        .route("/health", get(handlers::health))
        .route("/api/db/{*address}", namespaces)
        .fallback(handlers::no_such_path)
        .method_not_allowed_fallback(handlers::no_such_method)
        .with_state(storage)
        .layer(axum::middleware::from_fn(move |request, next| {
            guard::bound(request, next, request_timeout)
        }))
}
