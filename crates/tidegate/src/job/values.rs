//! The sections of a job file, checked one by one.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;

use super::{FlagOrWord, JobError, OutputSection, ProbeSpec, RequestSection, RetrySection, StatusOrWord};
use crate::http::{Http2, Options};
use crate::retry::{RetryPolicy, parse_duration};
use crate::template::{BodySpec, RequestSpec};
use crate::verdict::Accept;

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

/// A list of statuses.
pub(super) fn statuses(
    field: &'static str,
    list: Option<&[StatusOrWord]>,
    default: Accept,
) -> Result<Accept, JobError> {
    let Some(list) = list else { return Ok(default) };
    Accept::parse(&list.iter().map(ToString::to_string).collect::<Vec<_>>())
        .map_err(|message| JobError::value(field, message))
}

/// Whether results end up in the order of the input.
pub(super) fn in_order(output: &OutputSection) -> Result<bool, JobError> {
    match output.order.as_deref() {
        None | Some("completion") => Ok(false),
        Some("input") => Ok(true),
        Some(other) => {
            let message = format!("`{other}` is not an order: expected input or completion");
            Err(JobError::value("output.order", message))
        }
    }
}

/// How the provider is asked about calls of unknown outcome.
pub(super) fn probe(retry: &RetrySection, request: &RequestSection) -> Result<Option<ProbeSpec>, JobError> {
    let is_policy = retry.unknown.as_deref() == Some("probe");
    let Some(probe) = retry.probe.as_ref().filter(|_| is_policy) else {
        if is_policy {
            return Err(JobError::value("retry.unknown", "`probe` needs to know how to ask")
                .hinting("add [retry.probe] with url = \"https://…/{user_id}\" to the job file"));
        }
        return Ok(None);
    };
    let url = probe.url.clone().ok_or_else(|| JobError::value("retry.probe.url", "it is missing"))?;
    let request = RequestSpec {
        method: probe.method.clone().or_else(|| Some("GET".to_owned())),
        url,
        headers: request.headers.0.clone(),
        query: Vec::new(),
        body: BodySpec::None,
        bearer_env: request.bearer_env.clone(),
        user_agent: None,
    };
    let missing =
        Accept::parse(&["404"]).map_err(|message| JobError::value("retry.probe.missing", message))?;
    Ok(Some(ProbeSpec {
        request,
        done: statuses("retry.probe.done", probe.done.as_deref(), Accept::default())?,
        missing: statuses("retry.probe.missing", probe.missing.as_deref(), missing)?,
    }))
}

/// The header of idempotency keys, and whether they are added.
pub(super) fn idempotency(request: &RequestSection) -> Result<(HeaderName, bool), JobError> {
    let usual = HeaderName::from_static("idempotency-key");
    match &request.idempotency_key {
        None | Some(FlagOrWord::Flag(false)) => Ok((usual, false)),
        Some(FlagOrWord::Flag(true)) => Ok((usual, true)),
        Some(FlagOrWord::Word(name)) => {
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                let message = format!("`{name}` is not the name of a header");
                JobError::value("request.idempotency_key", message)
            })?;
            Ok((header, true))
        }
    }
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
