//! The sections of a job file, checked one by one.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName};
use http::{StatusCode, Uri};

use tidegate_core::{Pacing, Priority, Reserve};

use super::{
    AuthSection, FlagOrWord, JobError, OAuth2Section, OutputSection, ProbeSpec, QuotaSection, RequestSection,
    ReserveSection, RetrySection, SignSection, StatusOrWord, StopPolicy, StoreSpec,
};
use crate::auth::{AuthSpec, OAuth2, Secret, TokenSource};
use crate::http::{Http2, Options};
use crate::log::MOST_ROWS;
use crate::retry::{RetryPolicy, parse_duration};
use crate::signs::{Class, Sign};
use crate::sink::OutputFormat;
use crate::split::Split;
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
        many_rows: false,
    })
}

/// How many rows a call carries, and how its answer is divided among them.
pub(super) fn batch(
    request: &RequestSection,
    output: &OutputSection,
    key: Option<&str>,
    retry: &RetrySection,
) -> Result<Option<(usize, Split)>, JobError> {
    let Some(rows) = request.batch else {
        return match (&output.split, &output.split_key) {
            (None, None) => Ok(None),
            _ => Err(JobError::value("output.split", "there is nothing to split: each call is for one row")
                .hinting("say how many rows a call carries with request.batch = 100 (--batch 100)")),
        };
    };
    let rows = usize::try_from(rows).ok().filter(|rows| (1..=MOST_ROWS).contains(rows)).ok_or_else(|| {
        JobError::value("request.batch", format!("a call carries 1 to {MOST_ROWS} rows, not {rows}"))
    })?;
    let at = output.split.as_deref().ok_or(JobError::Missing {
        what: "output.split",
        hint: "where has the answer something for each row? split = \"/results\" for a list (or object) there, \
               split = \"\" if the answer is the list, split = \"whole\" to give all of it to each row",
    })?;
    let split = Split::parse(at, output.split_key.as_deref())
        .map_err(|message| JobError::value("output.split", message))?;
    if split.needs_keys() && key.is_none() {
        return Err(JobError::value("output.split_key", "rows have no key to be found by")
            .hinting("name the column that it is with input.key (--key COLUMN)"));
    }
    if retry.unknown.as_deref() == Some("probe") {
        return Err(JobError::value("retry.unknown", "a probe asks about one row, and calls carry many")
            .hinting("use resend or hold"));
    }
    Ok(Some((rows, split)))
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

/// Whom the job comes before.
pub(super) fn priority(quota: &QuotaSection) -> Result<Priority, JobError> {
    let priority = quota.priority.as_deref().map(str::parse).transpose();
    Ok(priority.map_err(|message| JobError::value("quota.priority", message))?.unwrap_or_default())
}

/// What is kept for calls of a higher priority.
pub(super) fn reserve(quota: &QuotaSection, store: &StoreSpec) -> Result<Reserve, JobError> {
    let reserve = quota.reserve.as_ref().map_or(Ok(Reserve::NONE), ReserveSection::kept)?;
    if !reserve.is_none() && matches!(store, StoreSpec::Memory) {
        let message = "a quota in memory is shared with nobody for whom something could be kept";
        return Err(JobError::value("quota.reserve", message)
            .hinting("store = \"sqlite\", or an address: redis://HOST:PORT/DB"));
    }
    Ok(reserve)
}

/// How sends are spread.
pub(super) fn pacing(quota: &QuotaSection) -> Result<Pacing, JobError> {
    match quota.pace.as_deref() {
        None | Some("even") => Ok(Pacing::Even),
        Some("burst") => Ok(Pacing::Burst),
        Some(other) => {
            Err(JobError::value("quota.pace", format!("`{other}` is not a pace: expected even or burst")))
        }
    }
}

/// How many failures are too many.
pub(super) fn stop_policy(output: &OutputSection) -> Result<StopPolicy, JobError> {
    let Some(text) = &output.max_failed else { return Ok(StopPolicy::Never) };
    StopPolicy::parse(&text.to_string()).ok_or_else(|| {
        let message = format!("`{text}` is neither a number nor a percentage such as `2%`");
        JobError::value("output.max_failed", message)
    })
}

/// The shape of the output, if it is said.
pub(super) fn output_format(output: &OutputSection) -> Result<Option<OutputFormat>, JobError> {
    match output.format.as_deref() {
        None => Ok(None),
        Some("jsonl") => Ok(Some(OutputFormat::Jsonl)),
        Some("csv") => Ok(Some(OutputFormat::Csv)),
        Some("batch") => Ok(Some(OutputFormat::Batch)),
        Some(other) => {
            let message = format!("`{other}` is not an output format: expected jsonl, csv or batch");
            Err(JobError::value("output.format", message))
        }
    }
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
        many_rows: false,
    };
    let missing =
        Accept::parse(&["404"]).map_err(|message| JobError::value("retry.probe.missing", message))?;
    Ok(Some(ProbeSpec {
        request,
        done: statuses("retry.probe.done", probe.done.as_deref(), Accept::default())?,
        missing: statuses("retry.probe.missing", probe.missing.as_deref(), missing)?,
    }))
}

/// Where a key comes from. Secrets are named by their environment variables only.
pub(super) fn auth(auth: AuthSection, http: &Options) -> Result<AuthSpec, JobError> {
    let source = match (auth.command, auth.file, auth.oauth2) {
        (Some(command), None, None) => TokenSource::Command(command),
        (None, Some(file), None) => TokenSource::File(file),
        (None, None, Some(oauth2)) => TokenSource::OAuth2(Box::new(oauth2_of(oauth2, http)?)),
        _ => {
            return Err(JobError::value("auth", "a key comes from one place")
                .hinting("give command = \"…\", file = \"…\" or oauth2 = { token_url = \"…\", … }"));
        }
    };
    let name = auth.header.as_deref().unwrap_or("authorization");
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| JobError::value("auth.header", format!("`{name}` is not the name of a header")))?;
    let usual = if header == AUTHORIZATION { "Bearer" } else { "" };
    Ok(AuthSpec { source, header, scheme: auth.scheme.unwrap_or_else(|| usual.to_owned()) })
}

fn oauth2_of(section: OAuth2Section, http: &Options) -> Result<OAuth2, JobError> {
    let url = section.token_url.ok_or_else(|| JobError::value("auth.oauth2.token_url", "it is missing"))?;
    let token_url: Uri =
        url.parse().map_err(|_| JobError::value("auth.oauth2.token_url", format!("`{url}` is not a URL")))?;
    Ok(OAuth2 {
        token_url,
        client_id: section
            .client_id
            .ok_or_else(|| JobError::value("auth.oauth2.client_id", "it is missing"))?,
        client_secret: section.client_secret_env.map(Secret::of),
        refresh_token: section.refresh_token_env.map(Secret::of),
        scope: section.scope,
        http: http.clone(),
    })
}

/// What answers mean, by the job's own words.
pub(super) fn signs(retry: &RetrySection) -> Result<Vec<Sign>, JobError> {
    let sign = |section: &SignSection| {
        let status = |code: &u16| {
            StatusCode::from_u16(*code)
                .map_err(|_| JobError::value("retry.sign.status", format!("`{code}` is not a status")))
        };
        let statuses = section.status.iter().map(status).collect::<Result<_, _>>()?;
        let class = match section.means.as_deref() {
            Some("wait") => Class::Wait,
            Some("cap") => Class::Cap,
            Some("stop") => Class::Stop,
            Some("retry") => Class::Retry,
            Some("fail") => Class::Fail,
            other => {
                let message = format!("`{}` is not a meaning", other.unwrap_or_default());
                return Err(JobError::value("retry.sign.means", message).hinting(
                    "wait (too fast), cap (the day's quota is gone), stop (unpaid, revoked), retry or fail",
                ));
            }
        };
        Sign::new(statuses, section.at.as_deref(), section.is.clone(), class)
            .map_err(|message| JobError::value("retry.sign", message))
    };
    retry.sign.iter().map(sign).collect()
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
    policy.max_pause = match (&retry.max_pause, retry.wait) {
        (Some(_), true) => {
            return Err(JobError::value("retry.wait", "`wait` has no end, and `max_pause` is one")
                .hinting("leave one of the two away"));
        }
        (None, true) => Duration::MAX,
        (text, false) => duration("retry.max_pause", text.as_deref(), policy.max_pause)?,
    };
    if let Some(text) = &retry.budget {
        policy.budget_percent =
            text.trim().strip_suffix('%').and_then(|percent| percent.trim().parse().ok()).ok_or_else(
                || {
                    JobError::value(
                        "retry.budget",
                        format!("`{text}` is not a share: expected one such as `20%`"),
                    )
                },
            )?;
    }
    Ok(policy)
}

pub(super) fn duration(
    field: &'static str,
    text: Option<&str>,
    default: Duration,
) -> Result<Duration, JobError> {
    text.map_or(Ok(default), |text| parse_duration(text).map_err(|message| JobError::value(field, message)))
}
