//! A client that keeps one connection, and knows of HTTP just what this server answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::register::NEVER;

/// Longer than any answer takes; a server that hangs is a failure.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Returns when the value is on the device.
    pub(super) fn put(&mut self, key: &str, value: u64) -> io::Result<()> {
        let body = format!("{{\"value\":{value}}}");
        let head = format!(
            "PUT /api/db/registers/{key} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len(),
        );
        match self.ask(&(head + &body))? {
            (200, _) => Ok(()),
            (status, body) => Err(io::Error::other(format!("status {status}: {body}"))),
        }
    }

    pub(super) fn get(&mut self, key: &str) -> io::Result<u64> {
        let head = format!("GET /api/db/registers/{key} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let (status, body) = self.ask(&head)?;
        if status == 404 {
            return Ok(NEVER);
        }
        let value: Option<serde_json::Value> = serde_json::from_str(&body).ok();
        let value = value.and_then(|value| value["value"].as_u64());
        value.ok_or_else(|| io::Error::other(format!("status {status}: {body}")))
    }

    fn ask(&mut self, request: &str) -> io::Result<(u16, String)> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        String::from_utf8(body).map(|body| (status, body)).map_err(io::Error::other)
    }
}
