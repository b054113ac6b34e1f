//! The server's API over a database on a simulated disk: no socket, no file, and a clock that
//! stands still.

use std::cell::RefCell;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use bristlecone::Db;
use bristlecone::io::sim::SimDisk;
use bristlecone_server::api;
use bristlecone_server::storage::Storage;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::{Builder, Runtime};

use crate::content::{RESERVE_BYTES, open};

/// Longer than anything takes: what lasts longer hangs.
const HANG: Duration = Duration::from_secs(8);
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A database with a few pairs, and the API over it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) db: Db,
    pub(crate) router: Router,
}

impl Served {
    pub(crate) fn new() -> Served {
        static IMAGE: OnceLock<SimDisk> = OnceLock::new();
        let image = IMAGE.get_or_init(|| {
            let disk = SimDisk::new(1);
            disk.set_reserve_bytes_max(RESERVE_BYTES);
            let db = open(&disk).expect("a new database");
            let filled = db.update(|txn| {
                let mut plain = txn.create_bucket("n")?;
                plain.put("k", "1")?;
                plain.put("raw", b"\xff not JSON")?;
                plain.put([0xff, b'/'], "2")?;
                drop(plain);
                txn.create_bucket("user")?.create_bucket("42")?.put("name", "\"a\"")
            });
            filled.and_then(|()| db.close()).expect("a sound database");
            disk
        });
        let disk = image.fork();
        let db = open(&disk).expect("a sound database");
        let router = api::router(Storage::of(db.clone()), HANG * 2);
        Served { db, router }
    }

    /// Asks the router itself, past HTTP.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &[u8],
    ) -> (StatusCode, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_vec()));
        let request = request.expect("a path that is a URI");
        let service = TowerToHyperService::new(self.router.clone());
        let Ok(answer) = service.call(request).await;
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, ANSWER_BYTES_MAX).await.expect("a whole answer");
        (head.status, body.to_vec())
    }
}

/// Runs to the end, with all that was begun on other threads; panics when it hangs.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    }
    RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(|| {
            // One more thread at most, so what waits for it is done in order.
            let mut builder = Builder::new_current_thread();
            builder.enable_time().max_blocking_threads(1).build().expect("a runtime")
        });
        runtime.block_on(async {
            let result = tokio::time::timeout(HANG, future).await.expect("an end within seconds");
            tokio::task::spawn_blocking(|| ()).await.expect("the thread lives");
            result
        })
    })
}
