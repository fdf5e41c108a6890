//! The way of one request.

use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use super::body::Body;
use super::config::{RetryAfter, SimConfig};
use super::state::{Admission, State, Stats};
use super::wire::{Connection, InService};
use super::{clock, endpoints, respond, served};
use crate::fault::Fault;
use crate::model::Standing;

/// Largest request body.
const MAX_BODY: usize = 16 << 20;

/// The provider, shared by all its connections.
pub(super) struct Shared {
    config: SimConfig,
    /// For messages; writing them anew for each 429 would slow a flood of them down.
    limit_names: Vec<String>,
    counted: Mutex<Counted>,
}

struct Counted {
    origin: Instant,
    state: State,
}

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection ends here")]
pub(super) struct Disconnect;

/// Answers one request.
pub(super) async fn answer(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Disconnect> {
    let shared = &*connection.shared;
    let (head, body) = request.into_parts();
    if head.uri.path().starts_with("/_") {
        return Ok(control(shared, head.uri.path()));
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(answer) => return answer.ok_or(Disconnect),
    };
    let mut latency = Delay::default();
    latency.add(shared.jitter()).await;

    let (admission, standing) = shared.check();
    let mut response = match admission {
        Admission::Accepted { service, fault } => {
            let in_service = InService::new(Arc::clone(&connection));
            latency.add(service).await;
            let mut response = match fault {
                None => good_answer(shared, &head, &body),
                Some(fault) => fail(&connection, fault).await?,
            };
            response.body_mut().keep_in_service(in_service);
            response
        }
        Admission::Rejected(limit, wait) => {
            respond::too_many(Some(&shared.limit_names[limit]), wait, shared.config.retry_after)
        }
        Admission::Paused(left) => {
            // A pause that nobody is told of would test nothing.
            let form = match shared.config.retry_after {
                RetryAfter::None => RetryAfter::Seconds,
                form => form,
            };
            respond::too_many(None, Some(left), form)
        }
        Admission::Unauthorized => {
            respond::error(StatusCode::UNAUTHORIZED, "unauthorized", "the key was revoked")
        }
    };
    if let Some((standing, now)) = standing {
        respond::add_standing(response.headers_mut(), standing, now);
    }
    Ok(response)
}

impl Shared {
    pub(super) fn new(config: SimConfig) -> Self {
        let limit_names = config.limits.iter().map(ToString::to_string).collect();
        let counted = Mutex::new(Counted { origin: clock::now(), state: State::new(&config) });
        Self { config, limit_names, counted }
    }

    pub(super) fn finish(&self, requests: u64) {
        let mut counted = self.counted();
        let now = counted.now();
        counted.state.finish(requests, now);
    }

    pub(super) fn stats(&self) -> Stats {
        let counted = self.counted();
        counted.state.stats(&self.config, counted.now())
    }

    pub(super) fn reset(&self) {
        let mut counted = self.counted();
        counted.state.reset(&self.config);
        counted.origin = clock::now();
    }

    fn jitter(&self) -> Duration {
        if self.config.jitter.is_zero() {
            return Duration::ZERO;
        }
        self.counted().state.jitter(&self.config)
    }

    /// The limiter's check, and the state afterwards if it is to be reported, with its time.
    fn check(&self) -> (Admission, Option<(Standing, u64)>) {
        let mut counted = self.counted();
        // Read inside the lock, so that times are in the order of the checks.
        let now = counted.now();
        let admission = counted.state.admit(&self.config, now);
        if !self.config.ratelimit_headers {
            return (admission, None);
        }
        let standing = counted.state.standing(now);
        (admission, standing.map(|standing| (standing, now)))
    }

    fn served(&self, call: u64) {
        self.counted().state.served(call);
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Counters stay meaningful even if a thread died while it held them.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

fn control(shared: &Shared, path: &str) -> Response<Body> {
    match path {
        "/_stats" => respond::json(&shared.stats()),
        "/_reset" => {
            shared.reset();
            respond::json(&shared.stats())
        }
        _ => respond::not_found(),
    }
}

/// The whole body; without one, the answer to send, if any.
async fn read(body: Incoming) -> Result<Bytes, Option<Response<Body>>> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Some(respond::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "the body is larger than 16 MiB",
        ))),
        Err(_) => Err(None),
    }
}

/// Timers are rounded up to whole milliseconds, and so is the poll below them: they fire this much
/// late on average.
const LATENESS: Duration = Duration::from_millis(1);

/// Waits one after another whose lateness does not add up: the latency that was configured is the
/// one that clients are measured by.
#[derive(Default)]
struct Delay {
    until: Option<Instant>,
}

impl Delay {
    async fn add(&mut self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        let until = self.until.unwrap_or_else(clock::now) + duration;
        self.until = Some(until);
        let wake = until.checked_sub(LATENESS).unwrap_or(until);
        tokio::time::sleep_until(wake.into()).await;
    }
}

fn good_answer(shared: &Shared, head: &Parts, body: &Bytes) -> Response<Body> {
    let response = endpoints::answer(head, body, shared.config.seed);
    if response.status() == StatusCode::OK && head.uri.path().starts_with("/v1/") {
        shared.served(served::call(head, body));
    }
    response
}

async fn fail(connection: &Connection, fault: Fault) -> Result<Response<Body>, Disconnect> {
    match fault {
        Fault::Status(code) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(respond::error(status, "injected", "this fault was asked for"))
        }
        Fault::Reset => {
            connection.reset_on_close();
            Err(Disconnect)
        }
        // hyper drops this future when it sees the client close.
        Fault::Hang => future::pending().await,
        Fault::Truncate => Ok(respond::truncated()),
        Fault::Html => Ok(respond::html_page()),
    }
}
