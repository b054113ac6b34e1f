//! Slow clients are cut off, and stopping waits for requests under way, but not for ever.

mod support;

use std::future::pending;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bristlecone_server::serve::{ServeError, ServeOptions, serve};
use support::scratch;
use tokio::sync::oneshot;

/// A server in this process.
struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), ServeError>>,
}

impl Served {
    fn start(dir: &str, change: impl FnOnce(&mut ServeOptions)) -> Served {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut options = ServeOptions::new(any, Path::new(dir).to_owned());
        change(&mut options);
        let (ready, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let tell = move |address| ready.send(address).expect("a listener");
            runtime.block_on(serve(options, tell, async {
                if stopped.await.is_err() {
                    pending::<()>().await;
                }
            }))
        });
        Served { address: address.recv().expect("an address"), stop, thread }
    }

    fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.write_all(bytes.as_bytes()).expect("sent");
        stream
    }

    fn stop(self) -> JoinHandle<Result<(), ServeError>> {
        self.stop.send(()).expect("a server");
        self.thread
    }
}

/// What comes until the connection is closed, and how long that took.
fn read(mut stream: TcpStream) -> (String, Duration) {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an end");
    (text, begun.elapsed())
}

const HALF_A_PUT: &str = "PUT /api/db/n/k HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n{\"val";
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn headers_have_to_come_in_time() {
    let (_folder, dir) = scratch();
    let served = Served::start(&dir, |options| options.header_timeout = SHORT);
    let (_, took) = read(served.send("GET /health HTTP/1.1\r\nhost:"));
    assert!(took >= SHORT / 2 && took < SHORT * 20, "{took:?}");
    served.stop().join().expect("a thread").expect("a good end");
}

#[test]
fn a_body_has_to_come_in_time() {
    let (_folder, dir) = scratch();
    let served = Served::start(&dir, |options| options.request_timeout = SHORT);
    let (text, _) = read(served.send(HALF_A_PUT));
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(text.contains("\"code\":\"timeout\""), "{text}");
    served.stop().join().expect("a thread").expect("a good end");
}

#[test]
fn stopping_waits_for_a_request_under_way() {
    let (_folder, dir) = scratch();
    let served = Served::start(&dir, |_| {});
    let address = served.address;
    let mut stream = served.send(HALF_A_PUT);
    thread::sleep(SHORT);
    let stopping = served.stop();
    thread::sleep(SHORT);
    assert!(TcpStream::connect(address).is_err(), "nobody else is let in");
    assert!(!stopping.is_finished());
    stream.write_all(b"ue\":1}").expect("sent");
    let (text, _) = read(stream);
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    stopping.join().expect("a thread").expect("a good end");
    let db = bristlecone::Db::open(&dir).expect("a closed database");
    db.view(|txn| txn.bucket("n")?.get("k").map(|value| assert_eq!(value, Some(&b"1"[..]))))
        .expect("read");
}

#[test]
fn stopping_does_not_wait_for_ever() {
    let (_folder, dir) = scratch();
    let served = Served::start(&dir, |options| options.drain_timeout = SHORT);
    let _stuck = served.send(HALF_A_PUT);
    let _idle = served.send("");
    thread::sleep(SHORT);
    let begun = Instant::now();
    served.stop().join().expect("a thread").expect("a good end");
    assert!(begun.elapsed() < SHORT * 20, "{:?}", begun.elapsed());
}
