//! Reading single values out of JSON text without building a tree: numbers keep their digits
//! ("1.50" stays "1.50"), and nothing is allocated for what is not asked for.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The member `name` of the object `json`; the last one when the name is repeated, as in
/// `serde_json::Value`. `None` when there is none, or `json` is no object.
pub(crate) fn member<'a>(json: &'a str, name: &str) -> Option<&'a RawValue> {
    let mut parser = serde_json::Deserializer::from_str(json);
    let found = parser.deserialize_map(FindMember(name)).ok()?;
    // The start of a broken answer is no answer.
    parser.end().ok()?;
    found
}

/// The value that the tokens of a JSON Pointer lead to.
pub(crate) fn pointer<'a>(json: &'a str, tokens: &[String]) -> Option<&'a str> {
    let mut at = json;
    for token in tokens {
        at = match at.trim_ascii_start().as_bytes().first()? {
            b'{' => member(at, token)?,
            b'[' => element(at, token)?,
            _ => return None,
        }
        .get();
    }
    Some(at)
}

/// The elements of the array `json`, as they are written; `None` if it is none.
pub(crate) fn elements(json: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The members of the object `json`, in the order in which they are written; `None` if it is none.
pub(crate) fn members(json: &str) -> Option<Vec<(String, &str)>> {
    struct Collect;

    impl<'de> Visitor<'de> for Collect {
        type Value = Vec<(String, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                members.push((name, value.get()));
            }
            Ok(members)
        }
    }

    let mut parser = serde_json::Deserializer::from_str(json);
    let members = parser.deserialize_map(Collect).ok()?;
    parser.end().ok()?;
    Some(members)
}

/// The tokens of a JSON Pointer; `None` if it does not begin with `/` or has a stray `~`.
pub(crate) fn pointer_tokens(pointer: &str) -> Option<Vec<String>> {
    pointer.strip_prefix('/')?.split('/').map(unescape).collect()
}

/// The content of a JSON string, given with its quotes.
pub(crate) fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// Appends valid JSON so that it stays on one line. Raw line ends can only stand between tokens;
/// text that has none is copied byte for byte, other text loses its white space.
pub(crate) fn write_one_line(json: &[u8], out: &mut Vec<u8>) {
    if memchr::memchr2(b'\n', b'\r', json).is_none() {
        out.extend_from_slice(json);
        return;
    }
    let mut rest = json;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        push_dense(&rest[..quote], out);
        let end = string_end(rest, quote);
        out.extend_from_slice(&rest[quote..end]);
        rest = &rest[end..];
    }
    push_dense(rest, out);
}

/// RFC 6901, section 4.
fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        plain.push_str(&part[1..]);
    }
    Some(plain)
}

fn element<'a>(json: &'a str, token: &str) -> Option<&'a RawValue> {
    // RFC 6901: digits without a leading zero; "+1" and "01" name nothing.
    let canonical = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    let index = token.parse().ok().filter(|_| canonical)?;
    let mut parser = serde_json::Deserializer::from_str(json);
    let found = parser.deserialize_seq(FindElement(index)).ok()?;
    parser.end().ok()?;
    found
}

fn push_dense(between_strings: &[u8], out: &mut Vec<u8>) {
    out.extend(between_strings.iter().filter(|byte| !byte.is_ascii_whitespace()));
}

/// One past the closing quote of the string that opens at `quote`.
fn string_end(json: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(step) = memchr::memchr2(b'"', b'\\', &json[at..]) {
        at += step;
        if json[at] == b'"' {
            return at + 1;
        }
        at = (at + 2).min(json.len());
    }
    json.len()
}

struct FindMember<'n>(&'n str);

impl<'de> Visitor<'de> for FindMember<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct FindElement(usize);

impl<'de> Visitor<'de> for FindElement {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// Compares an object's key with a name while it is read, so that no key is ever copied.
struct Is<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(json: &str, path: &str) -> Option<String> {
        let tokens: Vec<String> = path.split('/').skip(1).map(String::from).collect();
        pointer(json, &tokens).map(str::to_owned)
    }

    #[test]
    fn pointers_keep_the_text_as_written() {
        let json = r#" {"a": {"b": [10, 1.50, {"c\"d": "x"}]}, "": 1e400, "n": null} "#;
        assert_eq!(at(json, "/a/b/1").as_deref(), Some("1.50"));
        assert_eq!(at(json, "/a/b/2/c\"d").as_deref(), Some("\"x\""));
        assert_eq!(at(json, "/").as_deref(), Some("1e400"));
        assert_eq!(at(json, "/n").as_deref(), Some("null"));
        for missing in ["/x", "/a/b/3", "/a/b/01", "/a/b/+1", "/a/b/-", "/a/b/1/0", "/n/x"] {
            assert_eq!(at(json, missing), None, "{missing}");
        }
    }

    #[test]
    fn broken_json_has_no_values() {
        for json in [r#"{"a":1,"b":"#, r#"{"a":1} {"#, r#"{"a":1,"b":01}"#, "{\"a\":1,\"b\":\"\n\"}"] {
            assert_eq!(at(json, "/a"), None, "{json}");
        }
        assert_eq!(at("[1,2", "/0"), None);
        assert_eq!(at("[1] 2", "/0"), None);
    }

    #[test]
    fn the_last_of_repeated_members_counts() {
        assert_eq!(member(r#"{"a":1,"a":2}"#, "a").map(RawValue::get), Some("2"));
    }

    #[test]
    fn one_line_touches_only_white_space_between_tokens() {
        let mut out = Vec::new();
        write_one_line(b"{\r\n \"a b\\\" c\" : [ 1 ,\t\"\\\\\" ]\n}", &mut out);
        assert_eq!(out, br#"{"a b\" c":[1,"\\"]}"#);
        out.clear();
        write_one_line(b"{ \"a\" : 1 }", &mut out);
        assert_eq!(out, b"{ \"a\" : 1 }", "already one line: not a byte is changed");
    }
}
