//! The real server as a child process, and a client for it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use ureq::Agent;

/// A server on a free port; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    err: BufReader<ChildStderr>,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    agent: Agent,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) allow: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The code of a problem, with the form of problems checked.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        let problem = self.json();
        let names: Vec<&String> = problem.as_object().expect("an object").keys().collect();
        assert_eq!(names.len(), 5, "{problem}");
        assert_eq!(problem["status"], self.status, "{problem}");
        for name in ["type", "title", "detail"] {
            assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem["code"].as_str().expect("a code").to_owned()
    }
}

impl Server {
    /// Starts a server on a database, and waits until it says where it listens.
    pub(crate) fn start(dir: impl AsRef<Path>) -> Server {
        let mut child = super::program()
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir.as_ref())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        err.read_line(&mut line).expect("a line");
        let address = line.trim_end().rsplit("http://").next().expect("an address").to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        Server { child, err, address, agent: agent() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(self.url(path)).call().expect("an answer"))
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        answer(self.agent.delete(self.url(path)).call().expect("an answer"))
    }

    pub(crate) fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        answer(self.agent.put(self.url(path)).send(body.as_ref()).expect("an answer"))
    }

    pub(crate) fn post(&self, path: &str) -> Answer {
        answer(self.agent.post(self.url(path)).send_empty().expect("an answer"))
    }

    /// Puts a value that must be taken.
    pub(crate) fn put_ok(&self, path: &str, body: impl AsRef<[u8]>) {
        let answer = self.put(path, body);
        assert_eq!((answer.status, answer.text()), (200, r#"{"status":"ok"}"#), "{path}");
    }

    /// Sends a signal, `TERM` for one.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end; returns the exit code, `None` after a signal, and what was logged.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.err.read_to_string(&mut log).expect("a log in UTF-8");
        (self.child.wait().expect("the program ends").code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A client that returns answers of any status.
pub(crate) fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

pub(crate) fn answer(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let header = |name: &str| {
        let value = response.headers().get(name).map(|value| value.to_str());
        value.unwrap_or(Ok("")).expect("a header in ASCII").to_owned()
    };
    let (content_type, allow) = (header("content-type"), header("allow"));
    Answer {
        status: response.status().as_u16(),
        content_type,
        allow,
        body: response.body_mut().read_to_vec().expect("a body"),
    }
}
