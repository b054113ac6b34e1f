//! Names, keys and bucket paths as text: percent escapes and hexadecimal digits.
//!
//! Never opens anything. A bucket path is written `a/b/c`; a byte that cannot stand for itself,
//! such as `/` within a name, is written `%2F`.
//!
//! Invariants:
//! 1. `unescape` takes back what `escape` gave, for any bytes.
//! 2. A `BucketPath` has no empty name and is no deeper than the engine allows.

use std::fmt;
use std::str::FromStr;

use bristlecone::limits::BUCKET_DEPTH_MAX;

/// The way from the root to a bucket: the names of the buckets, the outermost first.
///
/// ```
/// use bristlecone_server::names::BucketPath;
///
/// let path: BucketPath = "v1/snapshots/k8s.io%2F10".parse()?;
/// assert_eq!(path.names(), [&b"v1"[..], b"snapshots", b"k8s.io/10"]);
/// assert_eq!(path.to_string(), "v1/snapshots/k8s.io%2F10");
/// # Ok::<(), bristlecone_server::names::NameError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketPath(Vec<Vec<u8>>);

/// Why a text is no name or no bucket path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// A `%` without two hexadecimal digits behind it.
    BadEscape {
        /// Where it stands, in bytes from 0.
        at: usize,
    },
    /// A name without a byte.
    Empty,
    /// More names than buckets nest.
    TooDeep {
        /// Names found.
        found: usize,
    },
    /// An odd number of hexadecimal digits, or something else among them.
    BadHex,
}

impl BucketPath {
    /// The path of these names.
    ///
    /// # Errors
    /// `Empty` for a name without a byte, `TooDeep` beyond the engine's depth.
    pub fn new(names: Vec<Vec<u8>>) -> Result<BucketPath, NameError> {
        if names.iter().any(Vec::is_empty) {
            return Err(NameError::Empty);
        }
        if names.len() > BUCKET_DEPTH_MAX {
            return Err(NameError::TooDeep { found: names.len() });
        }
        Ok(BucketPath(names))
    }

    /// The names, the outermost first.
    #[must_use]
    pub fn names(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The path that goes on from this one.
    ///
    /// # Errors
    /// `TooDeep` beyond the engine's depth.
    pub fn join(&self, inner: BucketPath) -> Result<BucketPath, NameError> {
        BucketPath::new([self.0.clone(), inner.0].concat())
    }
}

impl FromStr for BucketPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<BucketPath, NameError> {
        let names: Result<_, _> = text.split('/').map(|name| unescape(name.as_bytes())).collect();
        BucketPath::new(names?)
    }
}

impl fmt::Display for BucketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let slash = if index == 0 { "" } else { "/" };
            write!(f, "{slash}{}", escape(name))?;
        }
        Ok(())
    }
}

/// The bytes as text that can stand in a bucket path, a URL or a shell word.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(byte.into()),
            b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b',' | b'=' => text.push(byte.into()),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The bytes that a text with percent escapes stands for; decoded once.
///
/// # Errors
/// `BadEscape`.
pub fn unescape(text: &[u8]) -> Result<Vec<u8>, NameError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte == b'%' {
            let digits = text.get(at + 1..at + 3).and_then(byte_of_hex);
            bytes.push(digits.ok_or(NameError::BadEscape { at })?);
            at += 3;
        } else {
            bytes.push(byte);
            at += 1;
        }
    }
    Ok(bytes)
}

/// The bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
///
/// # Errors
/// `BadHex`.
pub fn from_hex(digits: &[u8]) -> Result<Vec<u8>, NameError> {
    digits.chunks(2).map(|pair| byte_of_hex(pair).ok_or(NameError::BadHex)).collect()
}

fn byte_of_hex(digits: &[u8]) -> Option<u8> {
    let &[high, low] = digits else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::BadEscape { at } => {
                write!(f, "expected two hexadecimal digits after the % at byte {at}")
            }
            NameError::Empty => write!(f, "expected a name, found an empty one"),
            NameError::TooDeep { found } => {
                write!(f, "expected at most {BUCKET_DEPTH_MAX} nested buckets, found {found}")
            }
            NameError::BadHex => write!(f, "expected pairs of hexadecimal digits"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_names_survive_as_text(
            names in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 1..5)
        ) {
            let path = BucketPath::new(names).unwrap();
            prop_assert!(path.to_string().is_ascii());
            prop_assert_eq!(path.to_string().parse::<BucketPath>().unwrap(), path);
        }

        #[test]
        fn any_bytes_survive_as_hex(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert_eq!(from_hex(to_hex(&bytes).as_bytes()).unwrap(), bytes);
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(unescape(b"a%252Fb%ff").unwrap(), b"a%2Fb\xff");
        for (text, at) in [("%", 0), ("a%2", 1), ("%zz", 0), ("%+1", 0), ("ok%20%g0", 5)] {
            assert_eq!(unescape(text.as_bytes()), Err(NameError::BadEscape { at }), "{text}");
        }
    }

    #[test]
    fn a_path_has_no_empty_name_and_a_bounded_depth() {
        for text in ["", "/", "a//b", "a/"] {
            assert_eq!(text.parse::<BucketPath>(), Err(NameError::Empty), "{text}");
        }
        let deep = vec!["x"; BUCKET_DEPTH_MAX + 1].join("/");
        assert_eq!(
            deep.parse::<BucketPath>(),
            Err(NameError::TooDeep { found: BUCKET_DEPTH_MAX + 1 })
        );
    }

    #[test]
    fn hex_is_strict() {
        for text in ["0", "0g", "+1", "é0"] {
            assert_eq!(from_hex(text.as_bytes()), Err(NameError::BadHex), "{text}");
        }
    }
}
