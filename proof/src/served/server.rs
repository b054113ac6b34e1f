//! The server in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server; killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts it on a free port and waits until it listens.
    pub(super) fn start(program: &Path, dir: &Path) -> Result<Server, String> {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the server does not start: {error}"))?;
        let said = child.stderr.take().expect("it was piped");
        let mut line = String::new();
        let read = BufReader::new(said).read_line(&mut line);
        let address = line.trim().rsplit_once("http://").and_then(|(_, text)| text.parse().ok());
        match address {
            Some(address) => Ok(Server { child, address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("expected the server's address, found {line:?} ({read:?})"))
            }
        }
    }
}

impl Drop for Server {
    /// SIGKILL: nothing is flushed, nothing is closed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
