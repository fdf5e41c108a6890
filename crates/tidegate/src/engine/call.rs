//! One attempt: send, wait for the head, read the body, and say what happened.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AGE, CONTENT_TYPE, DATE, HeaderMap, HeaderName};
use http::{Method, StatusCode, Uri};
use tidegate_core::{Costs, Outcome, Time, WallClock};
use tidegate_quota::Permit;

use super::outcome::Brought;
use super::work::{Job, LaneId};
use super::{Ended, Engine, lock};
use crate::http::{CallError, CallFault, Connect, Exchange, Head, Origin, Sent};
use crate::log::{self, Micros};
use crate::retry::{Human, RetryPolicy, UnknownPolicy};
use crate::sink::{Failure, FailureKind, SinkError};
use crate::template::Call;
use crate::verdict::{Answer, Cause, Tried, Trouble, Verdict, judge, retry_after};

/// The shortest pause after a 429, unless the shortest window is shorter still.
const LEAST_SILENCE: Duration = Duration::from_secs(1);
/// How far the clock that counts may be from the one that a provider's `Date` is read from.
const DATE_SKEW: Duration = Duration::from_secs(1);

impl Engine {
    /// Makes the call on `connection` and carries the row on.
    pub(super) async fn attempt(
        &self,
        connection: &mut impl Exchange,
        mut job: Box<Job>,
        mut permit: Permit,
    ) {
        let sent = permit.granted_at();
        job.attempts += 1;
        job.sends += 1;
        job.first_sent.get_or_insert(sent);
        let reserved = permit.costs();
        let id = self.sends.as_ref().map(|sends| sends.note(&job, sent, &reserved));
        let (request, lane) = (request(&job.call), job.lane);
        let mut under_way = UnderWay { engine: self, job: Some(job), id, left: false };
        if let (Some(sends), Some(id)) = (&self.sends, id) {
            let written = sends.written(id).await;
            if written.is_err() || !under_way.job.as_ref().is_some_and(|job| self.may_send(job)) {
                return self.call_off(under_way, permit, written);
            }
        }
        under_way.left = true;
        lock(&self.stats).sent(sent);
        let (mut head, mut head_at) = (None, None);
        // A call that fails is aborted by then: nothing of it is sent after the permit is settled.
        let result = self.exchange(connection, request, lane, &mut permit, &mut head, &mut head_at).await;
        let Some(mut job) = under_way.job.take() else { return };
        let outcome = match &result {
            Err(CallError { sent: Sent::NotSent, .. }) => Outcome::NotSent,
            Err(CallError { fault: CallFault::Timeout(_), .. }) => Outcome::TimedOut,
            Err(CallError { sent: Sent::Unknown, .. }) => Outcome::Unknown,
            _ => Outcome::Answered,
        };
        let actual = result.as_ref().ok().and_then(|body| self.charges.actual(job.costs, body));
        let over = match actual {
            Some(actual) => permit.settle_costing(outcome, &actual),
            None => permit.settle(outcome),
        };
        {
            let mut stats = lock(&self.stats);
            if outcome == Outcome::NotSent {
                stats.not_sent();
            } else {
                if head.is_none() {
                    stats.answered(over, None);
                }
                stats.ended();
            }
        }

        let status = head.as_ref().map(|head: &Head| head.status);
        if status == Some(StatusCode::TOO_MANY_REQUESTS) {
            lock(&self.stats).throttled();
            job.attempts -= 1;
        }
        if outcome == Outcome::NotSent {
            job.attempts -= 1;
            job.sends -= 1;
            self.units_are_back(job.lane);
        } else {
            self.answer_came(job.lane);
            job.unsent = 0;
        }
        let end = id.map(|id| log::End {
            id,
            answered: Micros::ceil(head_at.unwrap_or(over)),
            ended: Micros::ceil(over),
            outcome: match (outcome, status) {
                (Outcome::NotSent, _) => log::Outcome::NotSent,
                (_, Some(status)) => log::Outcome::Answered(status.as_u16()),
                (Outcome::TimedOut, None) => log::Outcome::TimedOut,
                (_, None) => log::Outcome::Unknown,
            },
            costs: actual.and_then(|actual| self.settled(&reserved, &actual)),
        });
        let mut brought = Brought {
            status: status.map(|status| status.as_u16()),
            sent_at: (outcome != Outcome::NotSent).then_some(sent),
            latency: Some(over.since(sent)),
            body: None,
            end,
        };
        match (head, result) {
            // An answer that is no result has said so with its head, even if its body was cut short.
            (Some(head), result) if result.is_ok() || !self.accept.accepts(head.status) => {
                if self.follow(&mut job, &head) {
                    self.over(&mut brought);
                    lock(&self.work).put_back(job);
                    self.wake.notify_one();
                    return;
                }
                brought.body = result.ok();
                self.judge(job, &Answer::Status(head.status, &head.headers), brought);
            }
            (_, Err(error)) => {
                self.judge(job, &Answer::Trouble(trouble(&error), error.to_string()), brought);
            }
            (_, Ok(_)) => unreachable!("a body without a head"),
        }
    }

    async fn exchange(
        &self,
        connection: &mut impl Exchange,
        request: http::Request<Bytes>,
        lane: LaneId,
        permit: &mut Permit,
        head: &mut Option<Head>,
        head_at: &mut Option<Time>,
    ) -> Result<Bytes, CallError> {
        let sent = permit.granted_at();
        let received = connection.send(request).await?;
        // Any pause before the units go back: nothing may slip through in between.
        self.heed(&received, permit);
        let answered = permit.answered();
        lock(&self.stats).answered(answered, Some(answered.since(sent)));
        self.answer_came(lane);
        (*head, *head_at) = (Some(received), Some(answered));
        connection.body().await
    }

    /// A call that was to be sent is not: there was a pause meanwhile, or it could not be noted.
    fn call_off(&self, mut under_way: UnderWay<'_>, permit: Permit, written: Result<(), SinkError>) {
        permit.settle(Outcome::NotSent);
        let Some(mut job) = under_way.job.take() else { return };
        job.attempts -= 1;
        job.sends -= 1;
        match written {
            Ok(()) => under_way.never_left(),
            Err(error) => self.stop(Ended::Output(error)),
        }
        let lane = job.lane;
        lock(&self.work).put_back(job);
        self.units_are_back(lane);
    }

    /// What a call counts as of each limit in the end, where that is not what was reserved: less only
    /// where the provider refunds.
    fn settled(&self, reserved: &Costs, actual: &Costs) -> Option<Box<[u64]>> {
        let limits = self.quotas.contract().limits().enumerate();
        let settled =
            limits.map(
                |(i, (limit, _))| {
                    if limit.refunds() { actual.of(i) } else { actual.of(i).max(reserved.of(i)) }
                },
            );
        let settled: Box<[u64]> = settled.collect();
        let differs = settled.iter().enumerate().any(|(i, cost)| *cost != reserved.of(i));
        differs.then_some(settled)
    }

    /// What an answer tells of the quota: a 429, or a 503 with Retry-After, asks for silence; the
    /// date says where in its calendar the provider is.
    fn heed(&self, head: &Head, permit: &Permit) {
        if self.charges.follows_calendar()
            && let Some(date) = date(&head.headers)
        {
            permit.observe(WallClock::from_date(date, permit.granted_at(), self.clock.now(), DATE_SKEW));
        }
        if !matches!(head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return; // nearly all: without a look at the clock or the headers
        }
        let asked = retry_after(&head.headers, self.wall(self.clock.now()));
        match head.status {
            StatusCode::TOO_MANY_REQUESTS => {
                // Without a limit there is no hold to wait for; and a "Retry-After: 0" must not make us
                // ask as fast as the network goes.
                let silence = match asked {
                    Some(asked) => Some(asked.max(self.throttle.min(LEAST_SILENCE))),
                    None if self.limits.is_empty() => Some(self.throttle),
                    None => None,
                };
                self.park_if_longer(silence, head.status);
                if let Some(incident) = permit.rejected(silence) {
                    lock(&self.stats).incident(permit.granted_at(), incident, asked);
                }
            }
            StatusCode::SERVICE_UNAVAILABLE if asked.is_some() => {
                self.park_if_longer(asked, head.status);
                permit.pause(asked.unwrap_or_default());
            }
            _ => {}
        }
    }

    /// Stops the job if the provider asks for more silence than it may wait for.
    fn park_if_longer(&self, asked: Option<Duration>, status: StatusCode) {
        if let Some(silence) = asked.filter(|silence| *silence > self.retry.max_pause) {
            let (status, silence, most) = (status.as_u16(), Human(silence), Human(self.retry.max_pause));
            self.stop(Ended::Stopped(format!(
                "the provider answered {status} and asks for silence of {silence}, more than max_pause = {most}"
            )));
        }
    }

    /// Whether a call of unknown outcome may be sent again.
    pub(super) fn may_resend(&self, job: &Job) -> bool {
        // A question may be asked again and again.
        job.original.is_some() || self.retry.unknown.resends(&job.call.method, self.keys.has(&job.call))
    }

    fn judge(&self, mut job: Box<Job>, answer: &Answer<'_>, brought: Brought) {
        let now = self.clock.now();
        let tried = Tried {
            method: &job.call.method,
            idempotency_key: self.keys.has(&job.call),
            attempts: job.attempts,
            elapsed: job.first_sent.map_or(Duration::ZERO, |first| now.since(first)),
        };
        let verdict: Verdict = if job.original.is_some() {
            // A question may be asked again, whatever became of it.
            let policy = RetryPolicy { unknown: UnknownPolicy::Resend, ..self.retry.clone() };
            let usual = judge(&policy, &self.accept, tried, answer);
            self.judge_probe(&mut job, answer, usual)
        } else {
            judge(&self.retry, &self.accept, tried, answer)
        };
        self.conclude_or_ask(job, verdict, brought);
    }

    /// Turns the job into the call that a redirect asks for, if redirects are followed. It costs a
    /// permit of its own, and carries no credentials to another origin.
    fn follow(&self, job: &mut Job, head: &Head) -> bool {
        if job.hops >= self.redirects || !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return false;
        }
        let Some(to) = location(&job.call.uri, &head.headers) else { return false };
        let same_origin = to.scheme() == job.call.uri.scheme() && to.authority() == job.call.uri.authority();
        let becomes_get = match head.status.as_u16() {
            303 => job.call.method != Method::HEAD,
            301 | 302 => job.call.method == Method::POST,
            _ => false,
        };
        if !same_origin {
            if !becomes_get && self.holds_secret(&job.call.body) {
                return false;
            }
            let credentials: Vec<HeaderName> =
                job.call.headers.iter().filter(|(_, v)| v.is_sensitive()).map(|(n, _)| n.clone()).collect();
            for name in credentials {
                job.call.headers.remove(name);
            }
        }
        if becomes_get {
            job.call.method = Method::GET;
            job.call.body = Bytes::new();
            job.call.headers.remove(CONTENT_TYPE);
        }
        job.call.uri = to;
        job.hops += 1;
        job.attempts -= 1; // it costs a permit, but nothing has failed
        true
    }

    fn holds_secret(&self, body: &[u8]) -> bool {
        let body = String::from_utf8_lossy(body);
        matches!(self.template.secrets().redact(&body), Cow::Owned(_))
    }

    /// A redirect led to where no connection can be made. Nothing was sent; but unlike a provider
    /// that is away, this is the row's own trouble, and costs it an attempt.
    pub(super) fn led_astray(&self, mut job: Box<Job>, permit: Permit, why: &str) {
        permit.settle(Outcome::NotSent);
        self.units_are_back(job.lane);
        job.attempts += 1;
        let verdict = if job.attempts < self.retry.attempts {
            Verdict::Retry { cause: Cause::Network }
        } else {
            let message = format!("redirected to {}: {why}", job.call.uri);
            Verdict::Failed(Failure { kind: FailureKind::Network, message })
        };
        self.conclude(job, verdict, Brought::default());
    }
}

/// Whether a call that was redirected still goes to the job's own origin.
pub(super) fn is_home(transport: &impl Connect, uri: &Uri) -> bool {
    Origin::try_from(uri).is_ok_and(|origin| origin == *transport.origin())
}

/// A connection for a call that a redirect has sent elsewhere.
pub(super) async fn connect_elsewhere<C: Connect>(transport: &C, uri: &Uri) -> Result<C::Connection, String> {
    let origin = Origin::try_from(uri).map_err(|error| error.to_string())?;
    let elsewhere = transport.elsewhere(origin).map_err(|error| error.to_string())?;
    elsewhere.connect().await.map_err(|error| error.to_string())
}

/// A call that waits for its answer. If the run ends first, a row that must not be sent twice
/// ends with it; any other stays undone.
struct UnderWay<'e> {
    engine: &'e Engine,
    job: Option<Box<Job>>,
    id: Option<u64>,
    /// It may have been written to the network.
    left: bool,
}

impl UnderWay<'_> {
    /// Notes that nothing of it was written to the network.
    fn never_left(&self) {
        let over = Micros::ceil(self.engine.clock.now());
        let outcome = log::Outcome::NotSent;
        let is_written = |id: &u64| self.engine.sends.as_ref().is_some_and(|sends| sends.is_written(*id));
        if let Some(id) = self.id.filter(is_written) {
            let end = log::End { id, answered: over, ended: over, outcome, costs: None };
            lock(&self.engine.writer).end(&end);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        if !self.left {
            return self.never_left();
        }
        let over = Micros::ceil(self.engine.clock.now());
        let outcome = log::Outcome::Unknown;
        let end = self.id.map(|id| log::End { id, answered: over, ended: over, outcome, costs: None });
        let mut brought = Brought { sent_at: job.first_sent, end, ..Brought::default() };
        if self.engine.is_left_open(&job) {
            self.engine.over(&mut brought);
            return;
        }
        let message = format!(
            "the run was ended before an answer came; whether the {} took effect is unknown",
            job.call.method
        );
        let failure = Failure { kind: FailureKind::Unknown, message };
        self.engine.conclude(job, Verdict::Failed(failure), brought);
    }
}

fn request(call: &Call) -> http::Request<Bytes> {
    let mut request = http::Request::new(call.body.clone());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.uri.clone();
    *request.headers_mut() = call.headers.clone();
    request
}

fn trouble(error: &CallError) -> Trouble {
    match (&error.sent, &error.fault) {
        (Sent::NotSent, _) => Trouble::NotSent,
        (_, CallFault::Timeout(_)) => Trouble::Timeout,
        (_, CallFault::TooLarge { .. }) => Trouble::BodyTooLarge,
        (_, CallFault::Coding { .. } | CallFault::UnknownCoding(_)) => Trouble::BadBody,
        _ => Trouble::Network,
    }
}

/// The `Date` of an answer, in seconds since 1970; `None` of one that a cache has kept (RFC 9111,
/// section 5.1).
fn date(headers: &HeaderMap) -> Option<i64> {
    if headers.contains_key(AGE) {
        return None;
    }
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// The absolute target of a redirect.
fn location(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let to: Uri = headers.get(http::header::LOCATION)?.to_str().ok()?.parse().ok()?;
    if to.scheme().is_some() {
        return matches!(to.scheme_str(), Some("http" | "https")).then_some(to);
    }
    let path = to.path_and_query()?.as_str();
    if !path.starts_with('/') {
        return None; // relative paths are rare enough to be reported as they came
    }
    Uri::builder()
        .scheme(from.scheme()?.clone())
        .authority(from.authority()?.clone())
        .path_and_query(path)
        .build()
        .ok()
}
