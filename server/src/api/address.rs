//! What a request is about: the bucket and the key in its path, the parameters in its query.
//!
//! Works on the raw path and query: each name, key and parameter is decoded exactly once.
//!
//! Invariants:
//! 1. Names and keys are not empty and within the engine's bound.
//! 2. A parameter that is not known, or comes twice, is refused: a misspelt one widens no list.

use axum::http::Uri;

use crate::limits::{LIST_KEYS_DEFAULT, LIST_KEYS_MAX};
use crate::names::{BucketPath, NameError, unescape};
use crate::storage::IMPORT_INCOMPLETE;

use super::problem::Problem;

/// Where all addresses begin.
const PREFIX: &str = "/api/db/";
/// The kinds of namespaces that take a second segment.
const KINDS: [&[u8]; 2] = [b"user", b"job"];

/// The bucket of a namespace, and the key within it unless the whole namespace is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) bucket: BucketPath,
    pub(super) key: Option<Vec<u8>>,
}

/// What may stand in the query of a `GET`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// The bucket within the namespace.
    pub(super) path: Option<BucketPath>,
    pub(super) prefix: Vec<u8>,
    pub(super) limit: usize,
}

impl Address {
    /// The address in the path of `uri`; names and keys have at most `bytes_max` bytes.
    pub(super) fn of(uri: &Uri, bytes_max: usize) -> Result<Address, Problem> {
        let raw = uri.path().strip_prefix(PREFIX).unwrap_or_default().as_bytes();
        let (first, mut rest) = cut(raw);
        let mut names = vec![decode(first)?];
        if let Some((kind, id)) = kind_and_id(&names[0]) {
            names = vec![kind, id];
        } else if KINDS.contains(&&names[0][..]) {
            let (id, behind) = cut(rest.unwrap_or_default());
            names.push(decode(id)?);
            rest = behind;
        }
        if names.iter().any(Vec::is_empty) {
            let detail = "expected a namespace: a name, user/{id} or job/{id}";
            return Err(Problem::bad_request("bad_namespace", detail));
        }
        if names[0] == IMPORT_INCOMPLETE {
            let detail = "expected another namespace: this name is reserved";
            return Err(Problem::bad_request("bad_namespace", detail));
        }
        let key = rest.map(decode).transpose()?;
        for part in names.iter().chain(&key) {
            if part.len() > bytes_max {
                let found = part.len();
                let detail = format!("expected a key of at most {bytes_max} bytes, found {found}");
                return Err(Problem::bad_request("key_too_large", detail));
            }
        }
        if key.as_ref().is_some_and(Vec::is_empty) {
            let detail = "expected a key behind the namespace, found an empty one";
            return Err(Problem::bad_request("empty_key", detail));
        }
        let bucket = BucketPath::new(names).map_err(bad_name)?;
        Ok(Address { bucket, key })
    }

    /// The key, for requests that need one.
    pub(super) fn into_pair(self) -> Result<(BucketPath, Vec<u8>), Problem> {
        match self.key {
            Some(key) => Ok((self.bucket, key)),
            None => {
                let detail = "expected a key behind the namespace, found none";
                Err(Problem::bad_request("empty_key", detail))
            }
        }
    }
}

impl Parameters {
    /// The parameters in the query of `uri`, of which only `allowed` ones may be there.
    pub(super) fn of(uri: &Uri, allowed: &[&str]) -> Result<Parameters, Problem> {
        let mut parameters =
            Parameters { path: None, prefix: Vec::new(), limit: LIST_KEYS_DEFAULT };
        let mut seen: Vec<&str> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !allowed.contains(&name) || seen.contains(&name) {
                let name: String = name.escape_default().take(64).collect();
                let detail = match allowed {
                    [] => format!("expected no parameters, found {name}"),
                    _ => format!("expected each of {} once, found {name}", allowed.join(", ")),
                };
                return Err(Problem::bad_request("bad_parameter", detail));
            }
            seen.push(name);
            let value = decode(value.replace('+', " ").as_bytes())?;
            match name {
                "prefix" => parameters.prefix = value,
                "limit" => parameters.limit = limit(&value)?,
                _ => parameters.path = bucket_path(&value)?,
            }
        }
        Ok(parameters)
    }
}

/// Cuts at the first slash; `None` behind it means that there is none.
fn cut(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    match raw.iter().position(|&byte| byte == b'/') {
        Some(at) => (&raw[..at], Some(&raw[at + 1..])),
        None => (raw, None),
    }
}

/// `user%2F42` is `user/42`.
fn kind_and_id(name: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (kind, id) = cut(name);
    KINDS.contains(&kind).then_some((kind.to_vec(), id?.to_vec()))
}

fn decode(raw: &[u8]) -> Result<Vec<u8>, Problem> {
    unescape(raw).map_err(bad_name)
}

fn limit(value: &[u8]) -> Result<usize, Problem> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.filter(|number| (1..=LIST_KEYS_MAX).contains(number)).ok_or_else(|| {
        let detail = format!("expected a limit from 1 to {LIST_KEYS_MAX}");
        Problem::bad_request("bad_limit", detail)
    })
}

fn bucket_path(value: &[u8]) -> Result<Option<BucketPath>, Problem> {
    if value.is_empty() {
        return Ok(None);
    }
    let names: Result<_, _> = value.split(|&byte| byte == b'/').map(unescape).collect();
    names.and_then(BucketPath::new).map(Some).map_err(bad_name)
}

fn bad_name(error: NameError) -> Problem {
    let code = match error {
        NameError::BadEscape { .. } => "bad_escape",
        _ => "bad_path",
    };
    Problem::bad_request(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &str) -> Result<(String, Option<Vec<u8>>), &'static str> {
        let uri: Uri = path.parse().unwrap();
        match Address::of(&uri, 16) {
            Ok(address) => Ok((address.bucket.to_string(), address.key)),
            Err(problem) => Err(problem.code),
        }
    }

    fn found(bucket: &str, key: &[u8]) -> Result<(String, Option<Vec<u8>>), &'static str> {
        Ok((bucket.to_owned(), Some(key.to_vec())))
    }

    #[test]
    fn a_namespace_has_one_segment_or_two() {
        assert_eq!(address("/api/db/plain/k"), found("plain", b"k"));
        assert_eq!(address("/api/db/user/42/k"), found("user/42", b"k"));
        assert_eq!(address("/api/db/job/7/k/l"), found("job/7", b"k/l"));
        assert_eq!(address("/api/db/user%2F42/k"), found("user/42", b"k"));
        assert_eq!(address("/api/db/a%2Fb/k"), found("a%2Fb", b"k"));
        assert_eq!(address("/api/db/user/42"), Ok(("user/42".to_owned(), None)));
        for path in ["", "/k", "user", "user/", "user//k", "job%2F", "__import_incomplete/k"] {
            assert_eq!(address(&format!("/api/db/{path}")), Err("bad_namespace"), "{path}");
        }
    }

    #[test]
    fn a_key_is_decoded_once_and_not_normalised() {
        assert_eq!(address("/api/db/n/a%2Fb"), address("/api/db/n/a/b"));
        assert_eq!(address("/api/db/n/a%252Fb"), found("n", b"a%2Fb"));
        assert_eq!(address("/api/db/n//a//"), found("n", b"/a//"));
        assert_eq!(address("/api/db/n/../%00%ff+"), found("n", b"../\0\xff+"));
        assert_eq!(address("/api/db/n/"), Err("empty_key"));
        assert_eq!(address("/api/db/n/%zz"), Err("bad_escape"));
        assert_eq!(address("/api/db/n/0123456789abcdef"), found("n", b"0123456789abcdef"));
        assert_eq!(address("/api/db/n/0123456789abcdef0"), Err("key_too_large"));
    }

    #[test]
    fn parameters_are_known_and_come_once() {
        let parameters = |query: &str| {
            let uri: Uri = format!("/api/db/n?{query}").parse().unwrap();
            Parameters::of(&uri, &["prefix", "limit", "path"]).map_err(|problem| problem.code)
        };
        let found = parameters("prefix=a%2Fb+c&limit=7&path=x%2Fy%252Fz").unwrap();
        assert_eq!((&found.prefix[..], found.limit), (&b"a/b c"[..], 7));
        assert_eq!(found.path.unwrap().to_string(), "x/y%2Fz");
        assert_eq!(parameters("").unwrap().limit, LIST_KEYS_DEFAULT);
        for query in ["perfix=a", "limit=1&limit=2"] {
            assert_eq!(parameters(query), Err("bad_parameter"), "{query}");
        }
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit="] {
            assert_eq!(parameters(query), Err("bad_limit"), "{query}");
        }
        assert_eq!(parameters("prefix=%"), Err("bad_escape"));
        assert_eq!(parameters("path=a//b"), Err("bad_path"));
    }
}
