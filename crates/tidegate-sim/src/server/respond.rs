//! Answers that are alike for all endpoints.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::body::Body;
use super::config::RetryAfter;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Status 200 and this value.
pub(super) fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(StatusCode::OK, bytes),
        Err(_) => json_bytes(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
    }
}

/// Bytes that are JSON already.
pub(super) fn json_bytes(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    with_type(status, JSON, Body::whole(bytes))
}

/// Status 200 and a stream of events.
pub(super) fn events(text: String) -> Response<Body> {
    with_type(StatusCode::OK, EVENTS, Body::whole(text))
}

pub(super) fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let body = json!({ "error": { "type": kind, "message": message } });
    json_bytes(status, body.to_string())
}

pub(super) fn not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "not_found", "there is no such endpoint")
}

/// 429, because of this limit or of a pause, at this wall time.
pub(super) fn too_many(
    limit: Option<&str>,
    wait: Option<Duration>,
    form: RetryAfter,
    wall: SystemTime,
) -> Response<Body> {
    let body = json!({ "error": {
        "type": "rate_limited",
        "message": limit.map_or("paused".to_owned(), |limit| format!("the limit `{limit}` has no room")),
        "limit": limit,
        "retry_after_ms": wait.map(ceil_millis),
    } });
    let mut response = json_bytes(StatusCode::TOO_MANY_REQUESTS, body.to_string());
    if let Some(wait) = wait {
        add_retry_after(response.headers_mut(), wait, form, wall);
    }
    response
}

/// Announces more than it sends.
pub(super) fn truncated() -> Response<Body> {
    let start = Bytes::from_static(br#"{"id":"cut","name":"Us"#);
    let announced = start.len() * 4;
    let mut response = with_type(StatusCode::OK, JSON, Body::cut(start));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(announced));
    response
}

pub(super) fn html_page() -> Response<Body> {
    let page = "<!DOCTYPE html>\n<html><head><title>Please wait</title></head>\
        <body><h1>Checking your browser</h1></body></html>\n";
    with_type(StatusCode::OK, HTML, Body::whole(page))
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn add_retry_after(headers: &mut HeaderMap, wait: Duration, form: RetryAfter, wall: SystemTime) {
    match form {
        RetryAfter::None => {}
        RetryAfter::Seconds => {
            headers.insert(RETRY_AFTER, HeaderValue::from(ceil_seconds(wait)));
        }
        RetryAfter::Decimal => {
            let ms = ceil_millis(wait);
            if let Ok(value) = HeaderValue::try_from(format!("{}.{:03}", ms / 1_000, ms % 1_000)) {
                headers.insert(RETRY_AFTER, value);
            }
        }
        RetryAfter::Iso => {
            // Whole seconds, rounded up as below.
            let at = Timestamp::try_from(wall + wait + Duration::from_nanos(999_999_999)).unwrap_or_default();
            let at = Timestamp::from_second(at.as_second()).unwrap_or_default();
            if let Ok(value) = HeaderValue::try_from(at.to_string()) {
                headers.insert(RETRY_AFTER, value);
            }
        }
        RetryAfter::Millis => {
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(ceil_millis(wait)));
        }
        RetryAfter::HttpDate => {
            // Dates have whole seconds and are cut, so one nanosecond short of a second more rounds up.
            let date = httpdate::fmt_http_date(wall + wait + Duration::from_nanos(999_999_999));
            if let Ok(value) = HeaderValue::try_from(date) {
                headers.insert(RETRY_AFTER, value);
            }
        }
    }
}

fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1_000_000_000) as u64
}

fn ceil_millis(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1_000_000) as u64
}
