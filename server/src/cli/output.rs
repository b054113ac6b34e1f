//! What commands print: text as it is, other bytes in a form that JSON can carry.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::names::to_hex;

/// A key and its value. A key that is not UTF-8 is `key_hex`, such a value `value_base64`.
#[derive(Serialize)]
pub(super) struct Pair<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Milliseconds since 1970, of a value that expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at_ms: Option<u64>,
}

impl<'a> Pair<'a> {
    pub(super) fn new(key: &'a [u8], value: Option<&'a [u8]>) -> Pair<'a> {
        let text = std::str::from_utf8(key).ok();
        let key_hex = text.is_none().then(|| to_hex(key));
        let (value, value_base64) = match value.map(|value| (value, std::str::from_utf8(value))) {
            None => (None, None),
            Some((_, Ok(text))) => (Some(text), None),
            Some((value, Err(_))) => (None, Some(STANDARD.encode(value))),
        };
        Pair { key: text, key_hex, value, value_base64, expires_at_ms: None }
    }
}

/// Prints one JSON object on a line of its own.
pub(super) fn print_json(out: &mut dyn Write, object: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(object).map_err(io::Error::other)?;
    writeln!(out, "{line}")
}

/// A count of pairs on the standard error; hidden when that is no terminal.
pub(super) fn pair_counter(name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>8} {pos} pairs")
        .expect("invariant: the template is right");
    ProgressBar::new(0).with_style(style).with_message(name)
}

/// A progress bar on the standard error; hidden when that is no terminal.
pub(super) fn progress_bar(name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>8} [{bar:40}] {pos}/{len} pages, {eta} left")
        .expect("invariant: the template is right");
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_message(name)
}

/// The same for bytes.
pub(super) fn byte_bar(name: &'static str) -> ProgressBar {
    let template = "{msg:>8} [{bar:40}] {binary_bytes}/{binary_total_bytes}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("invariant: the template is right");
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_message(name)
}
