//! Reads the answers on a connection, as a client would that trusts nothing.

use axum::http::Method;

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether it says that the connection ends with it.
    pub(crate) closes: bool,
}

/// All answers to requests with these methods; panics when one is not well formed. The last may
/// answer a request that is not known of.
pub(crate) fn answers(mut bytes: &[u8], methods: &[&Method]) -> Vec<Answer> {
    let mut answers: Vec<Answer> = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, rest) = bytes.split_at(end.expect("an end of the headers") + 4);
        let head = std::str::from_utf8(head).expect("headers of plain text");
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let status = status(lines.next().unwrap_or_default());
        let headers: Vec<(String, &str)> = lines.map(header).collect();
        bytes = rest;
        if status == 100 {
            continue;
        }
        let all = |wanted: &str| -> Vec<&str> {
            let chosen = headers.iter().filter(|(name, _)| name == wanted);
            chosen.map(|(_, value)| *value).collect()
        };
        let lengths = all("content-length");
        assert!(lengths.len() <= 1 && all("transfer-encoding").is_empty(), "{head}");
        let length: usize = match lengths.first() {
            Some(length) => length.parse().expect("a length"),
            None => {
                assert_eq!(status, 204, "an answer with a length: {head}");
                0
            }
        };
        let is_head = methods.get(answers.len()).is_some_and(|method| *method == Method::HEAD);
        let body_bytes = if is_head || status == 204 || status == 304 { 0 } else { length };
        assert!(body_bytes <= bytes.len(), "a body as long as its header says: {head}");
        let (body, rest) = bytes.split_at(body_bytes);
        bytes = rest;
        let closes = all("connection").contains(&"close");
        assert!(!closes || bytes.is_empty(), "nothing behind the last answer: {bytes:?}");
        answers.push(Answer { status, body: body.to_vec(), closes });
    }
    answers
}

fn status(line: &str) -> u16 {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let (digits, _reason) = rest.and_then(|rest| rest.split_at_checked(3)).expect("a status line");
    digits.parse().expect("a status")
}

fn header(line: &str) -> (String, &str) {
    let (name, value) = line.split_once(':').expect("a header");
    let is_token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    assert!(is_token && !name.is_empty(), "{line}");
    assert!(!value.contains(['\r', '\n', '\0']), "{line}");
    (name.to_ascii_lowercase(), value.trim())
}
