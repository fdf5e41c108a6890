//! Calls that rows bring whole: method, path and body.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};

use super::error::RenderError;
use super::{Call, MAX_BODY};
use crate::row::Record;
use crate::source::Request;

/// Longest path with its query, in bytes.
const MAX_PATH: usize = 8 << 10;

/// The call of a row of a batch, relative to `base`: scheme and host are the job's, never the row's.
pub(super) fn call(record: &Record, base: &Uri, headers: HeaderMap) -> Result<Call, RenderError> {
    let wrong = |why: &str| RenderError::NotARequest { why: why.to_owned() };
    let Record::Json(raw) = record else { return Err(wrong("expected a JSON object")) };
    let request = Request::read(raw.get()).map_err(|why| RenderError::NotARequest { why })?;
    let method = Method::from_bytes(request.method.to_ascii_uppercase().as_bytes());
    let method = method.ok().filter(|method| *method != Method::CONNECT);
    let body = request.body.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.get().as_bytes()));
    if body.len() > MAX_BODY {
        return Err(RenderError::TooLarge { place: "body".into(), limit: MAX_BODY });
    }
    Ok(Call {
        method: method.ok_or_else(|| wrong("`method` is not a usable HTTP method"))?,
        uri: uri(base, &request.url)?,
        headers,
        body,
    })
}

fn uri(base: &Uri, url: &str) -> Result<Uri, RenderError> {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    if !path.starts_with('/') {
        let why = "`url` is to be a path such as /v1/chat/completions: the job says which host is called";
        return Err(RenderError::NotARequest { why: why.to_owned() });
    }
    if path[1..].split('/').any(changes_path) {
        return Err(RenderError::PathSegment);
    }
    let mut whole = joined(base.path(), path);
    let queries = [base.query(), query].into_iter().flatten().filter(|query| !query.is_empty());
    for (i, query) in queries.enumerate() {
        whole.push(if i == 0 { '?' } else { '&' });
        whole.push_str(query);
    }
    if whole.len() > MAX_PATH {
        return Err(RenderError::UrlTooLong { len: whole.len(), limit: MAX_PATH });
    }
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(whole).map_err(|_| RenderError::Url)?);
    Uri::from_parts(parts).map_err(|_| RenderError::Url)
}

/// `path` below the path of the base. What both say is said once: people give the base of an SDK, which
/// ends with `/v1`, and the paths of batches begin with it.
fn joined(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let overlap = base
        .match_indices('/')
        .map(|(at, _)| &base[at..])
        .find(|tail| path.strip_prefix(tail).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    let kept = base.len() - overlap.map_or(0, str::len);
    format!("{}{path}", &base[..kept])
}

/// Empty, `.` and `..`, percent-encoded or not, lead elsewhere than the path says.
fn changes_path(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    matches!(plain.as_str(), "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn row(json: &str) -> Record {
        Record::Json(RawValue::from_string(json.to_owned()).unwrap())
    }

    fn at(base: &str, url: &str) -> Result<String, RenderError> {
        uri(&base.parse().unwrap(), url).map(|uri| uri.to_string())
    }

    #[test]
    fn paths_are_below_the_base_and_say_nothing_twice() {
        for (base, url, whole) in [
            ("https://h", "/v1/chat/completions", "https://h/v1/chat/completions"),
            ("https://h/", "/v1/messages", "https://h/v1/messages"),
            ("https://h/v1", "/v1/embeddings", "https://h/v1/embeddings"),
            ("https://h/openai/v1/", "/v1/x", "https://h/openai/v1/x"),
            ("https://h/v1", "/v1beta/x", "https://h/v1/v1beta/x"),
            ("https://h/a?api-version=7", "/b?c=1", "https://h/a/b?api-version=7&c=1"),
        ] {
            assert_eq!(at(base, url).as_deref(), Ok(whole));
        }
    }

    #[test]
    fn a_row_cannot_choose_whom_it_calls() {
        for url in ["https://evil/x", "v1/x", "", "@evil/x"] {
            assert!(matches!(at("https://h", url), Err(RenderError::NotARequest { .. })), "{url}");
        }
        for url in ["//evil/x", "/a/../b", "/a/%2E%2e", "/a/", "/."] {
            assert_eq!(at("https://h", url), Err(RenderError::PathSegment), "{url}");
        }
        assert_eq!(at("https://h", "/a b"), Err(RenderError::Url));
    }

    #[test]
    fn a_body_is_sent_as_it_stands() {
        let row =
            row(r#"{"custom_id":"r1","method":"post","url":"/v1/x","body":{"n": 1.50, "a":[ ]}, "x":1}"#);
        let call = call(&row, &"https://h".parse().unwrap(), HeaderMap::new()).unwrap();
        assert_eq!((call.method, &*call.body), (Method::POST, &br#"{"n": 1.50, "a":[ ]}"#[..]));
    }

    #[test]
    fn what_is_no_request_says_why() {
        for (json, why) in [
            ("[1]", "invalid type"),
            (r#"{"custom_id":"a","method":"POST"}"#, "missing field `url`"),
            (r#"{"custom_id":"a","method":"a b","url":"/v1"}"#, "HTTP method"),
        ] {
            let error = call(&row(json), &"https://h".parse().unwrap(), HeaderMap::new()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
