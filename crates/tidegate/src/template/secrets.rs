//! Secrets, and how they are kept out of everything that is shown or stored.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use memchr::memmem::Finder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::encode::{push_data, push_form};
use super::text::json_string;

/// What a secret is replaced with.
pub(super) const MASK: &str = "***";
/// Shorter values are not masked: they would shred every text and hide nothing.
const MIN_SECRET: usize = 4;
/// What flags are set to; masking these would break every JSON that is stored.
const WORDS: [&str; 4] = ["true", "false", "null", "none"];
/// Base64 of fewer characters occurs by chance.
const MIN_BASE64: usize = 8;
/// What JavaScript's `encodeURIComponent` leaves alone.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Values that must never be shown, stored or logged. Cheap to clone; `Debug` shows only how many.
#[derive(Clone, Default)]
pub struct Secrets(Arc<[Finder<'static>]>);

impl Secrets {
    /// Secrets of these values, each in every form in which a server or a log might repeat it:
    /// as it is, percent-encoded, as a form value, JSON-escaped, and inside base64.
    ///
    /// Values of fewer than 4 bytes, and words such as `true`, are left out.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let secret = |value: &String| value.len() >= MIN_SECRET && !WORDS.contains(&value.as_str());
        let values = values.into_iter().filter(secret);
        let forms: BTreeSet<String> = values.flat_map(|value| forms(&value)).collect();
        Self(forms.iter().map(|form| Finder::new(form.as_bytes()).into_owned()).collect())
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` with `***` in place of every secret. Borrowed if there is none in it.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hits: Vec<(usize, usize)> = Vec::new();
        for finder in self.0.iter() {
            let len = finder.needle().len();
            hits.extend(finder.find_iter(text.as_bytes()).map(|at| (at, at + len)));
        }
        if hits.is_empty() {
            return Cow::Borrowed(text);
        }
        hits.sort_unstable();
        let mut out = String::with_capacity(text.len());
        let mut end_of_last = 0;
        for (start, end) in hits {
            if start >= end_of_last {
                out.push_str(&text[end_of_last..start]);
                out.push_str(MASK);
            }
            end_of_last = end_of_last.max(end);
        }
        out.push_str(&text[end_of_last..]);
        Cow::Owned(out)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({MASK} in {} forms)", self.0.len())
    }
}

/// All forms of one secret.
fn forms(value: &str) -> Vec<String> {
    let encoded = |push: fn(&str, &mut String)| {
        let mut out = String::new();
        push(value, &mut out);
        out
    };
    let json = json_string(value);
    let json = json[1..json.len() - 1].to_owned();
    let mut forms = vec![value.to_owned(), json.replace('/', "\\/"), json];
    for percent in [encoded(push_data), encoded(push_form), utf8_percent_encode(value, COMPONENT).to_string()]
    {
        forms.push(lower_hex(&percent));
        forms.push(percent);
    }
    for prefix in 0..3 {
        let base64 = base64_core(value.as_bytes(), prefix);
        if base64.len() >= MIN_BASE64 {
            forms.push(base64.replace('+', "-").replace('/', "_"));
            forms.push(base64);
        }
    }
    forms
}

/// `%2F` as `%2f`.
fn lower_hex(percent: &str) -> String {
    let mut left = 0;
    let fold = |c: char| {
        left = if c == '%' { 3 } else { left };
        let folded = if left > 0 { c.to_ascii_lowercase() } else { c };
        left = usize::saturating_sub(left, 1);
        folded
    };
    percent.chars().map(fold).collect()
}

/// The characters of base64 that are the same whatever `prefix` bytes (0 to 2) stand before the
/// value, as `user:` does in basic authentication, and whatever follows it.
fn base64_core(value: &[u8], prefix: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = [&[0_u8; 2][..prefix], value].concat();
    let bits = |character: usize| {
        let (byte, offset) = (character * 6 / 8, character * 6 % 8);
        let pair = u16::from_be_bytes([bytes[byte], bytes.get(byte + 1).copied().unwrap_or(0)]);
        usize::from((pair >> (10 - offset)) & 63)
    };
    let first = (prefix * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    (first..end).map(|character| char::from(ALPHABET[bits(character)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        Secrets::new(values.iter().map(|&value| value.to_owned()))
    }

    #[test]
    fn masks_every_form() {
        let secrets = secrets(&["p/ss \"wörd\""]);
        for text in [
            "p/ss \"wörd\"",
            r#"{"a":"p/ss \"wörd\""}"#,
            r#"{"a":"p\/ss \"wörd\""}"#,
            "?key=p%2Fss%20%22w%C3%B6rd%22",
            "?key=p%2fss%20%22w%c3%b6rd%22",
            "key=p%2Fss+%22w%C3%B6rd%22&a=b",
        ] {
            let redacted = secrets.redact(text);
            assert!(redacted.contains("***") && !redacted.contains("ss"), "{redacted}");
        }
    }

    #[test]
    fn masks_base64_at_every_offset() {
        // printf '%s' 's3cret-token', 'x:s3cret-token', 'xy:s3cret-token!' | base64
        let secrets = secrets(&["s3cret-token"]);
        for (text, expected) in [
            ("czNjcmV0LXRva2Vu", "***"),
            ("eDpzM2NyZXQtdG9rZW4=", "eDp***4="),
            ("eHk6czNjcmV0LXRva2VuIQ==", "eHk6***IQ=="),
        ] {
            assert_eq!(secrets.redact(text), expected);
        }
    }

    #[test]
    fn overlapping_secrets_leave_nothing_behind() {
        let secrets = secrets(&["abcd", "cdef", "abcdefgh"]);
        assert_eq!(secrets.redact("x abcdef y abcdefgh z abcdabcd"), "x *** y *** z ******");
    }

    #[test]
    fn short_values_and_clean_texts_stay() {
        let secrets = secrets(&["abc", "", "true", "long-secret"]);
        assert!(matches!(secrets.redact("abc true long secret é"), Cow::Borrowed(_)));
        assert!(!format!("{secrets:?}").contains("long-secret"));
    }

    #[test]
    fn only_the_hex_digits_are_folded() {
        assert_eq!(lower_hex("A%2FB%C3%B6C"), "A%2fB%c3%b6C");
    }
}
