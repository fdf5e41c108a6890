//! Good answers. What is made up depends on the request and the seed only.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ALLOW, CONTENT_ENCODING, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::body::Body;
use super::call::Call;
use super::{chat, respond};

/// Where many items are taken at once.
const BATCH: &str = "/v1/batch";

/// Largest answer of `/big`.
const MAX_BIG: u64 = 16 << 30;

/// Answers an accepted request.
pub(super) fn answer(call: &Call, seed: u64) -> Response<Body> {
    if let Some(prompt) = &call.prompt {
        return chat::complete(prompt, seed);
    }
    let head = &call.head;
    let path = head.uri.path();
    if let Some(id) = path.strip_prefix("/v1/users/") {
        return only(head, &Method::GET, || user(id));
    }
    if let Some(code) = path.strip_prefix("/status/") {
        return only(head, &Method::GET, || status(code));
    }
    match path {
        // Those that are posted have a prompt.
        chat::PATH => only(head, &Method::POST, respond::not_found),
        BATCH => batch(call),
        "/redirect" => only(head, &Method::GET, || redirect(head)),
        "/gzip" => only(head, &Method::GET, gzip),
        "/big" => only(head, &Method::GET, || big(head)),
        _ if path.starts_with("/echo") => echo(head, &call.body),
        _ => respond::not_found(),
    }
}

/// Answers if the method fits; HEAD passes for GET (hyper leaves its body out).
fn only(head: &Parts, method: &Method, answer: impl FnOnce() -> Response<Body>) -> Response<Body> {
    if head.method == method || (method == Method::GET && head.method == Method::HEAD) {
        return answer();
    }
    let message = format!("use {method}");
    let mut response = respond::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
    if let Ok(allowed) = HeaderValue::from_str(method.as_str()) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// The busiest endpoint: written by hand, into one buffer.
fn user(segment: &str) -> Response<Body> {
    if segment.is_empty() || segment.contains('/') {
        return respond::not_found();
    }
    let Ok(id) = percent_decode_str(segment).decode_utf8() else {
        return respond::error(StatusCode::BAD_REQUEST, "bad_id", "the id is not UTF-8 once decoded");
    };
    let mut json = String::with_capacity(2 * id.len() + 80);
    json.push_str(r#"{"id":""#);
    push_escaped(&mut json, &id);
    json.push_str(r#"","name":"User "#);
    push_escaped(&mut json, &id);
    // Ids need not be fit for an address; their hash is.
    let _ = write!(json, r#"","email":"{:016x}@example.com"}}"#, fnv(id.as_bytes()));
    respond::json_bytes(StatusCode::OK, json)
}

fn status(code: &str) -> Response<Body> {
    let known = code.parse().ok().filter(|code| (200..=599).contains(code));
    let Some(status) = known.and_then(|code| StatusCode::from_u16(code).ok()) else {
        return respond::error(StatusCode::BAD_REQUEST, "bad_status", "a status is 200 to 599");
    };
    if matches!(status.as_u16(), 204 | 205 | 304) {
        let mut response = Response::new(Body::whole(Bytes::new()));
        *response.status_mut() = status;
        return response;
    }
    respond::json_bytes(status, json!({ "status": status.as_u16() }).to_string())
}

fn redirect(head: &Parts) -> Response<Body> {
    match parameter(head, "to").and_then(|to| HeaderValue::try_from(to).ok()) {
        Some(to) => {
            let mut response = Response::new(Body::whole(Bytes::new()));
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(LOCATION, to);
            response
        }
        None => respond::error(StatusCode::BAD_REQUEST, "bad_target", "say where: /redirect?to=URL"),
    }
}

/// Many items at once. One that is, or has the `id`, "poison…" spoils the whole call; "bad…" is refused by itself.
fn batch(call: &Call) -> Response<Body> {
    let Some(items) = items(call) else {
        let message = "send a JSON list, an object with one, or ?ids=a,b";
        return respond::error(StatusCode::BAD_REQUEST, "bad_batch", message);
    };
    let id = |item: &Value| item.get("id").unwrap_or(item).clone();
    let is = |item: &Value, word: &str| id(item).as_str().is_some_and(|id| id.starts_with(word));
    if items.iter().any(|item| is(item, "poison")) {
        let message = "an item cannot be processed, so none was";
        return respond::error(StatusCode::UNPROCESSABLE_ENTITY, "poison", message);
    }
    let results = items.iter().map(|item| json!({ "id": id(item), "ok": !is(item, "bad"), "item": item }));
    respond::json(&json!({ "results": results.collect::<Vec<_>>() }))
}

/// Those of a call of `/v1/batch`: the elements of its JSON list, of the one list in its object, or `ids` of its
/// query.
pub(super) fn items(call: &Call) -> Option<Vec<Value>> {
    if call.head.uri.path() != BATCH {
        return None;
    }
    match serde_json::from_slice(&call.body) {
        Ok(Value::Array(items)) => Some(items),
        Ok(Value::Object(members)) => members.into_iter().find_map(|(_, value)| match value {
            Value::Array(items) => Some(items),
            _ => None,
        }),
        _ => parameter(&call.head, "ids").map(|ids| ids.split(',').map(Value::from).collect()),
    }
}

fn gzip() -> Response<Body> {
    let compress = || -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(br#"{"compressed":"gzip"}"#)?;
        encoder.finish()
    };
    let mut response = respond::json_bytes(StatusCode::OK, compress().unwrap_or_default());
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn big(head: &Parts) -> Response<Body> {
    let bytes = parameter(head, "bytes").and_then(|bytes| bytes.parse().ok());
    match bytes.filter(|bytes| *bytes <= MAX_BIG) {
        Some(bytes) => Response::new(Body::filler(bytes)),
        None => {
            respond::error(StatusCode::BAD_REQUEST, "bad_size", "say how much: /big?bytes=N, at most 16 GiB")
        }
    }
}

fn echo(head: &Parts, body: &[u8]) -> Response<Body> {
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let values: Vec<_> = head
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        headers.insert(name.to_string(), Value::from(values.join(", ")));
    }
    respond::json(&json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": headers,
        "body": String::from_utf8_lossy(body),
    }))
}

/// A parameter of the query, percent-decoded; `None` if it is missing or not UTF-8.
fn parameter(head: &Parts, name: &str) -> Option<String> {
    let mut pairs = head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

fn push_escaped(json: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        return json.push_str(text);
    }
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(json, "\\u{:04x}", character as u32);
            }
            _ => json.push(character),
        }
    }
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_text_reads_back(text in any::<String>()) {
            let mut json = String::from("\"");
            push_escaped(&mut json, &text);
            json.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let request = http::Request::builder().uri("/redirect?x=1&to=http%3A%2F%2Fa%2F%3Fb%3D1&to=2");
        let head = request.body(()).unwrap().into_parts().0;
        assert_eq!(parameter(&head, "to").as_deref(), Some("http://a/?b=1"));
        assert_eq!(parameter(&head, "from"), None);
    }
}
