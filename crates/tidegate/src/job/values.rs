//! The sections of a job file, checked one by one.

use std::time::Duration;

use http::StatusCode;

use super::{JobError, RequestSection, RetrySection, StatusOrWord};
use crate::http::{Http2, Options};
use crate::retry::{RetryPolicy, parse_duration};
use crate::template::{BodySpec, RequestSpec};

pub(super) fn request_spec(request: RequestSection) -> Result<RequestSpec, JobError> {
    let url = request.url.ok_or(JobError::Missing {
        what: "URL",
        hint: "give one with --url 'https://api.example.com/v1/users/{user_id}'",
    })?;
    let body = match (request.json, request.body, request.form) {
        (None, None, None) => BodySpec::None,
        (Some(json), None, None) => BodySpec::Json(json),
        (None, Some(text), None) => BodySpec::Text(text),
        (None, None, Some(form)) => BodySpec::Form(form.0),
        _ => return Err(JobError::value("request", "a call has one body: give json, body or form")),
    };
    Ok(RequestSpec {
        method: request.method,
        url,
        headers: request.headers.0,
        query: request.query.0,
        body,
        bearer_env: request.bearer_env,
        user_agent: None,
    })
}

pub(super) fn http_options(request: &RequestSection) -> Result<Options, JobError> {
    let mut options = Options::default();
    options.call_timeout = duration("request.timeout", request.timeout.as_deref(), options.call_timeout)?;
    options.connect_timeout =
        duration("request.connect_timeout", request.connect_timeout.as_deref(), options.connect_timeout)?;
    if options.call_timeout.is_zero() || options.connect_timeout.is_zero() {
        return Err(JobError::value("request.timeout", "a time-out of 0 leaves no time for an answer"));
    }
    options.max_body = request.max_body.unwrap_or(options.max_body);
    options.ca.clone_from(&request.ca);
    options.http2 = match request.http2.as_deref() {
        None | Some("auto") => Http2::Auto,
        Some("never") => Http2::Never,
        Some("always") => Http2::PriorKnowledge,
        Some(other) => {
            let message = format!("`{other}` is not one of auto, never, always");
            return Err(JobError::value("request.http2", message));
        }
    };
    options.proxy = request.proxy.as_deref().map(str::parse).transpose()?;
    Ok(options)
}

pub(super) fn retry_policy(retry: &RetrySection) -> Result<RetryPolicy, JobError> {
    let mut policy = RetryPolicy::default();
    if let Some(attempts) = retry.attempts {
        if attempts == 0 {
            return Err(JobError::value(
                "retry.attempts",
                "0 attempts would never send anything; 1 never retries",
            ));
        }
        policy.attempts = attempts;
    }
    if let Some(backoff) = &retry.backoff {
        policy.backoff = backoff.parse().map_err(|message| JobError::value("retry.backoff", message))?;
    }
    if let Some(on) = &retry.on {
        policy.statuses.clear();
        policy.network = false;
        for item in on {
            let status = match item {
                StatusOrWord::Word(word) if word == "network" => {
                    policy.network = true;
                    continue;
                }
                StatusOrWord::Number(n) => u16::try_from(*n).ok().and_then(|n| StatusCode::from_u16(n).ok()),
                StatusOrWord::Word(word) => word.parse().ok(),
            };
            policy.statuses.push(status.ok_or_else(|| {
                JobError::value("retry.on", format!("`{item}` is neither a status nor \"network\""))
            })?);
        }
    }
    if let Some(unknown) = &retry.unknown {
        policy.unknown = unknown.parse().map_err(|message| JobError::value("retry.unknown", message))?;
    }
    policy.max_elapsed = duration("retry.max_elapsed", retry.max_elapsed.as_deref(), policy.max_elapsed)?;
    policy.max_pause = duration("retry.max_pause", retry.max_pause.as_deref(), policy.max_pause)?;
    Ok(policy)
}

pub(super) fn duration(
    field: &'static str,
    text: Option<&str>,
    default: Duration,
) -> Result<Duration, JobError> {
    text.map_or(Ok(default), |text| parse_duration(text).map_err(|message| JobError::value(field, message)))
}
