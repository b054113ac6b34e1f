//! The operations of a full backup, as bytes.
//!
//! ```text
//! operation  u8 kind, then by kind; n is a LEB128 number, s is n and that many bytes
//!            1 enter      s bucket name, n sequence, n expiry
//!            2 leave
//!            3 put        s key, s value
//!            4 put until  s key, n expiry, s value
//!            5 put long   s key, n expiry, n length: the value is in the blocks that follow
//! ```
//!
//! Expiries are milliseconds since 1970; zero, where it may be, stands for none. Never interprets
//! names or keys. Bytes that do not decode are an error that says where.

use crate::codec::{get_leb128, put_leb128};

/// The most that an operation takes beside its name, key and value.
pub(super) const OPERATION_BYTES_MAX: usize = 1 + 3 * NUMBER_BYTES_MAX;
const NUMBER_BYTES_MAX: usize = 10;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    /// What follows is in this bucket of the present one.
    Enter { name: &'a [u8], sequence: u64, expires_at: u64 },
    /// Back to the bucket around the present one.
    Leave,
    /// A record of the present bucket.
    Put { key: &'a [u8], value: &'a [u8], expires_at: u64 },
    /// One whose value follows in blocks of its own.
    PutLong { key: &'a [u8], len: u64, expires_at: u64 },
}

impl Operation<'_> {
    /// Appends the operation.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Operation::Enter { name, sequence, expires_at } => {
                out.push(1);
                push_bytes(out, name);
                push_number(out, sequence);
                push_number(out, expires_at);
            }
            Operation::Leave => out.push(2),
            Operation::Put { key, value, expires_at: 0 } => {
                out.push(3);
                push_bytes(out, key);
                push_bytes(out, value);
            }
            Operation::Put { key, value, expires_at } => {
                out.push(4);
                push_bytes(out, key);
                push_number(out, expires_at);
                push_bytes(out, value);
            }
            Operation::PutLong { key, len, expires_at } => {
                out.push(5);
                push_bytes(out, key);
                push_number(out, expires_at);
                push_number(out, len);
            }
        }
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    put_leb128(number, |byte| out.push(byte));
}

/// What was decoded, or what was expected and what was found.
type Decoded<T> = Result<T, (String, String)>;

/// Reads the operation at `at`; returns it and where the next one begins.
pub(super) fn decode(bytes: &[u8], at: usize) -> Decoded<(Operation<'_>, usize)> {
    let mut reader = Reader { bytes, at };
    let operation = match reader.byte()? {
        1 => Operation::Enter {
            name: reader.content()?,
            sequence: reader.number()?,
            expires_at: reader.number()?,
        },
        2 => Operation::Leave,
        3 => Operation::Put { key: reader.content()?, value: reader.content()?, expires_at: 0 },
        4 => {
            let (key, expires_at) = (reader.content()?, reader.number()?);
            if expires_at == 0 {
                return Err(("an expiry".to_owned(), "none".to_owned()));
            }
            Operation::Put { key, value: reader.content()?, expires_at }
        }
        5 => {
            let (key, expires_at) = (reader.content()?, reader.number()?);
            Operation::PutLong { key, len: reader.number()?, expires_at }
        }
        kind => return Err(("an operation kind of 1 to 5".to_owned(), kind.to_string())),
    };
    Ok((operation, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Decoded<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let Some(content) = rest.get(..count) else {
            let expected = format!("{count} bytes at byte {} of the payload", self.at);
            return Err((expected, rest.len().to_string()));
        };
        self.at += count;
        Ok(content)
    }

    fn number(&mut self) -> Decoded<u64> {
        get_leb128(|| self.byte())?.ok_or_else(|| {
            let expected = format!("a number below 2^64 before byte {}", self.at);
            (expected, "a larger one".to_owned())
        })
    }

    fn content(&mut self) -> Decoded<&'a [u8]> {
        let count = self.number()?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> Vec<Operation<'static>> {
        vec![
            Operation::Enter { name: b"nodes", sequence: u64::MAX, expires_at: 1 << 42 },
            Operation::Put { key: b"a", value: &[7; 300], expires_at: 0 },
            Operation::Put { key: b"b", value: b"", expires_at: u64::MAX },
            Operation::PutLong { key: b"c", len: 1 << 29, expires_at: 0 },
            Operation::Leave,
        ]
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        operations().iter().for_each(|operation| operation.write(&mut bytes));
        bytes
    }

    #[test]
    fn operations_are_read_back_as_written() {
        let (bytes, mut at) = (bytes(), 0);
        for expected in operations() {
            let (found, next) = decode(&bytes, at).unwrap();
            assert_eq!(found, expected);
            at = next;
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn bytes_cut_anywhere_are_an_error_or_a_prefix() {
        let bytes = bytes();
        for len in 0..bytes.len() {
            let (mut at, mut found) = (0, Vec::new());
            while let Ok((operation, next)) = decode(&bytes[..len], at) {
                found.push(operation);
                at = next;
            }
            assert!(operations().starts_with(&found) && found.len() < 5, "{len} bytes");
        }
    }

    #[test]
    fn what_no_writer_writes_is_refused() {
        let mut number = vec![1, 1, b'a'];
        number.extend([0xff; 10]);
        for (bytes, expected) in [
            (&[0][..], "an operation kind"),
            (&[6], "an operation kind"),
            (&[4, 1, b'a', 0, 0], "an expiry"),
            (&[3, 1, b'a', 9, 1], "9 bytes at byte 4"),
            (&number, "a number below 2^64"),
        ] {
            let (told, _) = decode(bytes, 0).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
