//! Tells JSON (RFC 8259) from other bytes, and the members of an object apart.
//!
//! Written from the grammar alone, to be compared with what the server takes. Never builds a value,
//! and never recurses.

/// What stands between the braces of an object: names with their escapes, and the text of values.
pub(crate) type Members<'a> = Vec<(String, &'a [u8])>;

/// Whether the bytes are one JSON text, with white space around it or not.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    let mut text = Text { bytes, at: 0 };
    let whole = std::str::from_utf8(bytes).is_ok() && text.value().is_some();
    text.space();
    whole && text.at == bytes.len()
}

/// The members of the object that the bytes are; `None` when they are something else.
pub(crate) fn members(bytes: &[u8]) -> Option<Members<'_>> {
    if !is_json(bytes) {
        return None;
    }
    let mut text = Text { bytes, at: 0 };
    let mut members = Vec::new();
    text.space();
    text.byte(b'{')?;
    text.space();
    if text.byte(b'}').is_some() {
        return Some(members);
    }
    loop {
        text.space();
        let name = text.taken(Text::string)?;
        text.space();
        text.byte(b':')?;
        text.space();
        let value = text.taken(Text::value)?;
        members.push((unescaped(name), value));
        text.space();
        if text.byte(b',').is_none() {
            return Some(members);
        }
    }
}

/// A string without its quotes and escapes; surrogates that stand alone become U+FFFD.
fn unescaped(string: &[u8]) -> String {
    let inner = String::from_utf8_lossy(&string[1..string.len() - 1]).into_owned();
    let mut units: Vec<u16> = Vec::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        let plain = match (char, if char == '\\' { chars.next() } else { None }) {
            ('\\', Some('u')) => {
                let digits: String = chars.by_ref().take(4).collect();
                units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xfffd));
                continue;
            }
            ('\\', Some('b')) => '\u{8}',
            ('\\', Some('f')) => '\u{c}',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            ('\\', Some(other)) => other,
            (other, _) => other,
        };
        units.extend(plain.encode_utf16(&mut [0; 2]).iter());
    }
    String::from_utf16_lossy(&units)
}

struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn taken(&mut self, take: fn(&mut Text<'a>) -> Option<()>) -> Option<&'a [u8]> {
        let from = self.at;
        take(self)?;
        Some(&self.bytes[from..self.at])
    }

    /// One value, with white space before it.
    fn value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            self.space();
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    self.space();
                    if self.byte(b'}').is_none() {
                        open.push(b'}');
                        self.name()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    self.space();
                    if self.byte(b']').is_none() {
                        open.push(b']');
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended, and perhaps those around it.
            loop {
                let Some(&closing) = open.last() else { return Some(()) };
                self.space();
                if self.byte(b',').is_some() {
                    if closing == b'}' {
                        self.space();
                        self.name()?;
                    }
                    break;
                }
                self.byte(closing)?;
                open.pop();
            }
        }
    }

    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.space();
        self.byte(b':')
    }

    fn scalar(&mut self) -> Option<()> {
        for word in [&b"true"[..], b"false", b"null"] {
            if self.bytes[self.at..].starts_with(word) {
                self.at += word.len();
                return Some(());
            }
        }
        if self.peek()? == b'"' { self.string() } else { self.number() }
    }

    fn string(&mut self) -> Option<()> {
        self.byte(b'"')?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let escape = self.peek()?;
                    self.at += 1;
                    if escape == b'u' {
                        let digits = self.bytes.get(self.at..self.at + 4)?;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                        self.at += 4;
                    } else if !b"\"\\/bfnrt".contains(&escape) {
                        return None;
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let _sign = self.byte(b'-');
        if self.byte(b'0').is_none() {
            self.digits()?;
        }
        if self.byte(b'.').is_some() {
            self.digits()?;
        }
        if self.byte(b'e').or_else(|| self.byte(b'E')).is_some() {
            let _sign = self.byte(b'+').or_else(|| self.byte(b'-'));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_kept_to() {
        for json in [
            "0",
            "-0.5e+7",
            " [1, {\"a\" : []},null ] ",
            "\"\\ud800\"",
            "{}",
            "[[[]]]",
            "1E9",
            "\"é\"",
        ] {
            assert!(is_json(json.as_bytes()), "{json}");
        }
        for other in [
            "",
            "01",
            "1.",
            ".5",
            "+1",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "[1 2]",
            "nul",
            "\"\n\"",
            "\"\\x\"",
            "1 1",
            "]",
            "{\"a\":1,}",
            "[",
            "\"\\u12\"",
            "-",
        ] {
            assert!(!is_json(other.as_bytes()), "{other}");
        }
        assert!(!is_json(b"\"\xff\""));
    }

    #[test]
    fn members_are_told_with_their_text() {
        let object = br#" {"value": [1, {"x":2}] , "t\u0074l":1e3,"":"\"" } "#;
        let members = members(object).expect("an object");
        let told: Vec<(&str, &[u8])> =
            members.iter().map(|(name, value)| (&name[..], *value)).collect();
        let expected: [(&str, &[u8]); 3] =
            [("value", b"[1, {\"x\":2}]"), ("ttl", b"1e3"), ("", b"\"\\\"\"")];
        assert_eq!(told, expected);
        assert!(super::members(b"[1]").is_none() && super::members(b"{").is_none());
        assert_eq!(super::members(b"{ }").map(|members| members.len()), Some(0));
    }
}
