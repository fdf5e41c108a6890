//! One attempt: send, wait for the head, read the body, and say what happened.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, StatusCode, Uri};
use tidegate_core::{Costs, Outcome, Time};
use tidegate_quota::Permit;

use super::credentials::{ROW_REFUSED, Refusal};
use super::heed::News;
use super::job::Job;
use super::outcome::Brought;
use super::work::LaneId;
use super::{Ended, Engine, lock};
use crate::http::{CallError, CallFault, Connect, Exchange, Head, Origin, Sent};
use crate::llm::assembled;
use crate::log::{self, Micros};
use crate::retry::{RetryPolicy, UnknownPolicy};
use crate::signs::Class;
use crate::sink::{Failure, FailureKind, SinkError};
use crate::template::Call;
use crate::verdict::{Answer, Cause, Tried, Trouble, Verdict, judge};

impl Engine {
    /// Makes the call on `connection` and carries the row on.
    pub(super) async fn attempt(
        &self,
        connection: &mut impl Exchange,
        mut job: Box<Job>,
        mut permit: Permit,
    ) {
        let sent = permit.granted_at();
        job.begin_attempt();
        job.first_sent.get_or_insert(sent);
        let reserved = permit.costs();
        let id = self.sends.as_ref().map(|sends| sends.note(&job, sent, &reserved));
        let (request, lane) = (self.request(&mut job), job.lane);
        let mut under_way = UnderWay { engine: self, job: Some(job), id, left: false };
        if let (Some(sends), Some(id)) = (&self.sends, id) {
            let written = sends.written(id).await;
            if written.is_err() || !under_way.job.as_ref().is_some_and(|job| self.may_send(job)) {
                return self.call_off(under_way, permit, written);
            }
        }
        under_way.left = true;
        if let Some(stake) = under_way.job.as_mut().and_then(|job| job.stake.as_mut()) {
            stake.sent();
        }
        lock(&self.stats).sent(sent);
        let mut answer = None;
        // A call that fails is aborted by then: nothing of it is sent after the permit is settled.
        let result = self.exchange(connection, request, lane, &mut permit, &mut answer).await;
        let class = answer.as_ref().and_then(|Arrived { head, news, .. }| {
            self.heed_body(news, head, result.as_deref().ok(), &permit)
        });
        let (head, head_at) = answer.map(|Arrived { head, at, .. }| (head, at)).unzip();
        let Some(mut job) = under_way.job.take() else { return };
        let outcome = outcome(&result);
        let is_result = head.as_ref().is_some_and(|head: &Head| head.status.is_success());
        let actual = self.settle_up(&mut job, outcome, is_result, result.as_ref().ok());
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
        if class == Some(Class::Wait) {
            lock(&self.stats).throttled();
        }
        if matches!(class, Some(Class::Wait | Class::Cap)) {
            job.attempts -= 1;
        }
        if outcome == Outcome::NotSent {
            job.undo_attempt();
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
            request_id: head.as_ref().filter(|_| self.wants_request_ids).and_then(request_id),
            end,
        };
        match (head, result) {
            // An answer that is no result has said so with its head, even if its body was cut short.
            (Some(head), result)
                if result.is_ok() || class.is_some() || !self.accept.accepts(head.status) =>
            {
                if self.follow(&mut job, &head) {
                    self.over(&mut brought);
                    self.put_back(job);
                    self.wake.notify_one();
                    return;
                }
                brought.body = result.ok();
                self.judge(job, &Answer::Status(head.status, &head.headers, class), brought);
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
        answer: &mut Option<Arrived>,
    ) -> Result<Bytes, CallError> {
        let sent = permit.granted_at();
        let sent_body = request.body().clone();
        let received = connection.send(request).await?;
        // Any pause before the units go back: nothing may slip through in between.
        let news = self.heed(&received, permit);
        let answered = permit.answered();
        lock(&self.stats).answered(answered, Some(answered.since(sent)));
        self.answer_came(lane);
        let body = connection.body();
        let at_hand = answer.insert(Arrived { head: received, at: answered, news });
        assembled(&sent_body, &at_hand.head.headers, body.await?)
    }

    /// The call as it is sent, with the key that is good now.
    fn request(&self, job: &mut Job) -> http::Request<Bytes> {
        let mut request = request(&job.call);
        if let Some(credentials) = self.credentials.as_ref().filter(|_| job.is_home) {
            job.token = credentials.stamp(request.headers_mut());
        }
        request
    }

    /// A call that was to be sent is not: there was a pause meanwhile, or it could not be noted.
    fn call_off(&self, mut under_way: UnderWay<'_>, permit: Permit, written: Result<(), SinkError>) {
        permit.settle(Outcome::NotSent);
        let Some(mut job) = under_way.job.take() else { return };
        job.undo_attempt();
        match written {
            Ok(()) => under_way.never_left(),
            Err(error) => self.stop(Ended::Output(error)),
        }
        let lane = job.lane;
        self.put_back(job);
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

    /// Whether a call of unknown outcome may be sent again.
    pub(super) fn may_resend(&self, job: &Job) -> bool {
        // A question may be asked again and again.
        job.original.is_some() || self.retry.unknown.resends(&job.call.method, self.keys.has(&job.call))
    }

    /// A call that was answered 401 goes again with a new key, if there is a way to get one.
    fn is_let_in(&self, job: &mut Job, status: StatusCode) -> bool {
        let Some(credentials) = self.credentials.as_ref().filter(|_| job.is_home) else { return true };
        if status != StatusCode::UNAUTHORIZED {
            credentials.accepted(job.token);
            return true;
        }
        job.refusals += 1;
        credentials.refused(job.token) == Refusal::Stop || job.refusals >= ROW_REFUSED
    }

    fn judge(&self, mut job: Box<Job>, answer: &Answer<'_>, brought: Brought) {
        let now = self.clock.now();
        if let Answer::Status(status, ..) = answer
            && !self.is_let_in(&mut job, *status)
        {
            job.attempts -= 1;
            return self.conclude(job, Verdict::Retry { cause: Cause::Unauthorized }, brought);
        }
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
        job.is_home &= same_origin;
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

/// The head of an answer, and what it told.
struct Arrived {
    head: Head,
    at: Time,
    news: News,
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

fn outcome(result: &Result<Bytes, CallError>) -> Outcome {
    match result {
        Err(CallError { sent: Sent::NotSent, .. }) => Outcome::NotSent,
        Err(CallError { fault: CallFault::Timeout(_), .. }) => Outcome::TimedOut,
        Err(CallError { sent: Sent::Unknown, .. }) => Outcome::Unknown,
        _ => Outcome::Answered,
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

/// By this the provider knows the call: as `OpenAI` and most others say it, and as Anthropic does.
fn request_id(head: &Head) -> Option<Box<str>> {
    let id = ["x-request-id", "request-id"].iter().find_map(|name| head.headers.get(*name))?;
    id.to_str().ok().map(Box::from)
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
