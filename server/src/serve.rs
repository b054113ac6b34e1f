//! The listener: accepts connections, hands their requests to the API, and stops gracefully.
//!
//! There is no authentication yet, so it listens on loopback addresses alone unless told otherwise.
//!
//! Invariants:
//! 1. What was acknowledged before the server stops is in the database: it closes the database
//!    after the last request, and a write is acknowledged only when it is durable.
//! 2. Connections, headers and the time to stop are bounded.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api;
use crate::limits::{
    BACKLOG_MAX, CONNECTIONS_MAX, DRAIN_TIMEOUT, HEAD_BYTES_MAX, HEADER_TIMEOUT, REQUEST_TIMEOUT,
};
use crate::storage::Storage;

/// How long to wait when the system has no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What to serve, where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database's directory; created if it is missing.
    pub data_dir: PathBuf,
    /// Whether an address that other machines can reach is allowed.
    pub insecure_bind: bool,
    /// Within this time the headers of a request have come.
    pub header_timeout: Duration,
    /// Within this time a request is answered.
    pub request_timeout: Duration,
    /// How long requests under way may take when the server stops.
    pub drain_timeout: Duration,
}

impl ServeOptions {
    /// Serves the database in `data_dir` on `listen`, with the default times.
    #[must_use]
    pub fn new(listen: SocketAddr, data_dir: PathBuf) -> ServeOptions {
        ServeOptions {
            listen,
            data_dir,
            insecure_bind: false,
            header_timeout: HEADER_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

/// Why the server did not start, or did not stop well.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// Other machines could reach the address, and nobody allowed that.
    NotLoopback {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be listened on.
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// An import into the database was cut short.
    ImportIncomplete {
        /// The database's directory.
        dir: PathBuf,
    },
    /// The database refused to open or to close.
    Database(bristlecone::Error),
}

/// Serves until `stop` completes, and then until the requests under way are answered. `ready` is
/// told the address when connections are accepted.
///
/// Needs a tokio runtime with time and network.
///
/// # Errors
/// Those of [`ServeError`].
pub async fn serve(
    options: ServeOptions,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listen = options.listen;
    if !listen.ip().is_loopback() && !options.insecure_bind {
        return Err(ServeError::NotLoopback { listen });
    }
    let storage = Storage::open(&options.data_dir)?;
    if storage.is_import_incomplete()? {
        return Err(ServeError::ImportIncomplete { dir: options.data_dir });
    }
    let cannot_listen = |source| ServeError::Listen { listen, source };
    let listener = bind(listen).map_err(cannot_listen)?;
    ready(listener.local_addr().map_err(cannot_listen)?);
    let router = api::router(storage.clone(), options.request_timeout);
    let connections = Connections::new(router, options.header_timeout);
    tokio::select! {
        never = connections.accept(&listener) => match never {},
        () = stop => {}
    }
    // Nobody can connect from here on.
    drop(listener);
    if tokio::time::timeout(options.drain_timeout, connections.finish()).await.is_err() {
        eprintln!("bristlecone: some requests did not finish in time and were cut off");
    }
    storage.close().await?;
    Ok(())
}

/// Listens as `TcpListener::bind` does, with room for a burst of connections.
fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart need not wait for connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG_MAX)
}

/// Serves the requests that come over `stream`, as [`serve`] does with each connection that it
/// accepts; returns when the connection has ended. Needs a tokio runtime with time.
///
/// # Errors
/// The client broke the connection or the protocol.
pub async fn serve_stream<S>(
    router: Router,
    header_timeout: Duration,
    stream: S,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection(&protocol(header_timeout), router, stream).await
}

/// HTTP/1.1 within its bounds.
fn protocol(header_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Without a timer hyper would ignore the timeout.
    http.timer(TokioTimer::new());
    http.header_read_timeout(header_timeout).max_buf_size(HEAD_BYTES_MAX);
    http
}

fn connection<S>(
    http: &http1::Builder,
    router: Router,
    stream: S,
) -> http1::Connection<TokioIo<S>, TowerToHyperService<Router>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

struct Connections {
    router: Router,
    http: http1::Builder,
    graceful: GracefulShutdown,
    places: Arc<Semaphore>,
}

impl Connections {
    fn new(router: Router, header_timeout: Duration) -> Connections {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let http = protocol(header_timeout);
        Connections { router, http, graceful: GracefulShutdown::new(), places }
    }

    async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.expect("invariant: the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _peer)) => self.spawn(stream, place),
                // No room for another now, or a connection that ended before it began.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn spawn(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        // Answers are small and written whole; waiting for more would only delay them.
        let _as_it_is = stream.set_nodelay(true);
        let connection = connection(&self.http, self.router.clone(), stream);
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            // An error means that the client broke the connection or the protocol.
            let _ended = connection.await;
            drop(place);
        });
    }

    async fn finish(self) {
        self.graceful.shutdown().await;
    }
}

impl From<bristlecone::Error> for ServeError {
    fn from(error: bristlecone::Error) -> ServeError {
        ServeError::Database(error)
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::NotLoopback { listen } => write!(
                f,
                "expected a loopback address, found {listen}: there is no authentication yet, so \
                 whoever reaches it can read and write everything; --insecure-bind allows it"
            ),
            ServeError::Listen { listen, source } => {
                write!(f, "cannot listen on {listen}: {source}")
            }
            ServeError::ImportIncomplete { dir } => {
                let dir = dir.display();
                write!(f, "an import into {dir} was cut short: remove it and import again")
            }
            ServeError::Database(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ServeError::Listen { source, .. } => Some(source),
            ServeError::Database(error) => error.source(),
            _ => None,
        }
    }
}
