//! Percent-encoding, and the values that no encoding makes harmless.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters: right for path segments and query values alike.
const DATA: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As HTML forms have it; a space becomes `+` before this is applied.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');
/// What browsers and curl encode in a URL that a person typed.
const TYPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'|')
    .add(b'{')
    .add(b'}');
/// Servers in a chain that each decode a path once more.
const DECODERS: usize = 4;

/// Appends a value, encoded so that it stays one path segment or one query value.
pub(super) fn push_data(text: &str, out: &mut String) {
    out.extend(utf8_percent_encode(text, DATA));
}

/// Appends a name or value of a form.
pub(crate) fn push_form(text: &str, out: &mut String) {
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 {
            out.push('+');
        }
        out.extend(utf8_percent_encode(word, FORM));
    }
}

/// Appends a literal part of a URL template; what it has of syntax and encoding stays.
pub(super) fn push_typed(text: &str, out: &mut String) {
    out.extend(utf8_percent_encode(text, TYPED));
}

/// Whether a path segment, as it will be sent, names nothing or leads elsewhere.
///
/// An encoded `/` is no help against servers that decode before they resolve `..`, and an encoded
/// `%` is none against two of them in a row; so dots are searched for after decoding, between
/// slashes of either kind.
pub(super) fn changes_path(encoded: &str) -> bool {
    if encoded.is_empty() {
        return true;
    }
    if memchr::memchr2(b'.', b'%', encoded.as_bytes()).is_none() {
        return false;
    }
    let mut bytes = Cow::Borrowed(encoded.as_bytes());
    for _ in 0..=DECODERS {
        if bytes.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| matches!(part, b"." | b"..")) {
            return true;
        }
        let Ok(text) = std::str::from_utf8(&bytes) else { return false };
        let decoded: Cow<'_, [u8]> = percent_decode_str(text).into();
        if matches!(decoded, Cow::Borrowed(_)) {
            return false;
        }
        bytes = Cow::Owned(decoded.into_owned());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_found_behind_any_encoding() {
        for bad in [
            "",
            ".",
            "..",
            "%2e",
            "%2E%2e",
            "%252e%252e",
            "%25252e.",
            "..%2Fadmin",
            "a%2F..%2Fb",
            "..%5Cb",
            "a%252F%2e%2e",
            "%2E%2Fa",
        ] {
            assert!(changes_path(bad), "{bad}");
        }
        for good in [
            "a",
            "...",
            "a.b",
            ".a",
            "..a",
            "a..",
            "%2F",
            "https%3A%2F%2Fexample.com%2Fa",
            "%25",
            "100%25",
            "%C3%A9",
            "%FF",
        ] {
            assert!(!changes_path(good), "{good}");
        }
    }

    #[test]
    fn form_encoding_is_the_one_of_html() {
        let mut out = String::new();
        push_form("a b&c=é~*", &mut out);
        assert_eq!(out, "a+b%26c%3D%C3%A9%7E*");
    }
}
