//! The server in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// A running server; killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    /// Reads what it says; a server that cannot say what is wrong would stop for that.
    said: Option<JoinHandle<String>>,
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
        let mut said = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut line = String::new();
        let read = said.read_line(&mut line);
        let address = line.trim().rsplit_once("http://").and_then(|(_, text)| text.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("expected the server's address, found {line:?} ({read:?})"));
        };
        let said = std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = said.read_to_string(&mut rest);
            rest
        });
        Ok(Server { child, address, said: Some(said) })
    }

    /// SIGKILL: nothing is flushed, nothing is closed. Fails if it was dead already, or had said
    /// that something is wrong.
    pub(super) fn kill(mut self) -> Result<(), String> {
        let ended = self.child.try_wait().map_err(|error| error.to_string())?;
        self.stop();
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        match ended {
            Some(status) => Err(format!("the server had ended with {status}: {said}")),
            None if said.is_empty() => Ok(()),
            None => Err(format!("the server said: {said}")),
        }
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
