//! A connection in memory: the peer has sent all it will, and takes all it is answered.
//!
//! The end of what the peer sent is told only when nothing is being done for it, or a body is
//! waited for; so all requests are answered that can be. A peer that ends abruptly tells at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the connection and those who watch it share.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What the server answered.
    pub(crate) written: Vec<u8>,
    /// Requests that are being answered.
    busy: usize,
    /// True while a request waits for more of its body.
    awaiting_body: bool,
    reader: Option<Waker>,
}

impl State {
    /// A request is being answered as long as the value lives.
    pub(crate) fn begin(state: &Arc<Mutex<State>>) -> Busy {
        lock(state).busy += 1;
        Busy(Arc::clone(state))
    }

    fn changed(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Mutex<State>>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.busy -= 1;
        state.awaiting_body = false;
        state.changed();
    }
}

/// The content, though a panic elsewhere may have poisoned it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The server's end of the connection.
#[derive(Debug)]
pub(crate) struct Wire {
    input: Vec<u8>,
    at: usize,
    /// Bytes that arrive at once.
    piece: usize,
    abrupt: bool,
    state: Arc<Mutex<State>>,
}

impl Wire {
    pub(crate) fn new(
        input: Vec<u8>,
        piece: usize,
        abrupt: bool,
        state: Arc<Mutex<State>>,
    ) -> Wire {
        Wire { input, at: 0, piece, abrupt, state }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.input.len() - self.at;
        if left == 0 {
            let mut state = lock(&self.state);
            if self.abrupt || state.busy == 0 || state.awaiting_body {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = left.min(self.piece).min(buf.remaining());
        buf.put_slice(&self.input[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.state).written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The body of a request: passes it on, notes it, and tells when it is waited for.
#[derive(Debug)]
pub(crate) struct Watched {
    body: Body,
    seen: Arc<Mutex<Vec<u8>>>,
    state: Arc<Mutex<State>>,
}

impl Watched {
    pub(crate) fn new(body: Body, seen: Arc<Mutex<Vec<u8>>>, state: Arc<Mutex<State>>) -> Watched {
        Watched { body, seen, state }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            lock(&self.seen).extend_from_slice(data);
        }
        let mut state = lock(&self.state);
        state.awaiting_body = polled.is_pending();
        state.changed();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
