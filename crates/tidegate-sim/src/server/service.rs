//! The way of one request.

use std::future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::DATE;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::Body;
use super::call::Call;
use super::chat::TotalTokens;
use super::config::RetryAfter;
use super::shared::{Checked, Shared};
use super::state::{Accepted, Admission, Charge};
use super::wire::{Connection, InService};
use super::{clock, endpoints, respond, served};
use crate::fault::Fault;

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection ends here")]
pub(super) struct Disconnect;

/// Answers one request.
pub(super) async fn answer(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Disconnect> {
    let shared = Arc::clone(&connection.shared);
    let path = request.uri().path();
    let mut response =
        if path.starts_with("/_") { control(&shared, path) } else { limited(connection, request).await? };
    // Without a clock of its own the system's date is right, which hyper adds for less.
    if shared.config.clock.is_some()
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(shared.wall()))
    {
        response.headers_mut().insert(DATE, date);
    }
    Ok(response)
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

async fn limited(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Disconnect> {
    let shared = &connection.shared;
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(answer) => return answer.ok_or(Disconnect),
    };
    let charge = shared.charge(&call);
    let mut latency = Delay::default();
    latency.add(shared.jitter()).await;
    if let Some(left) = shared.stall_left() {
        Stalled::new(shared, charge, left).end().await;
        latency = Delay::default();
    }

    let Checked { admission, standings, now, wall } = shared.check(charge);
    let mut response = match admission {
        Admission::Accepted(accepted) => accept(&connection, &call, accepted, latency).await?,
        Admission::Rejected(limit, wait) => {
            let limit = Some(&*shared.limit_names[limit]);
            respond::too_many(limit, wait, shared.config.retry_after, wall)
        }
        Admission::Paused(left) => {
            // A pause that nobody is told of would test nothing.
            let form = match shared.config.retry_after {
                RetryAfter::None => RetryAfter::Seconds,
                form => form,
            };
            respond::too_many(None, Some(left), form, wall)
        }
        Admission::Unauthorized => {
            respond::error(StatusCode::UNAUTHORIZED, "unauthorized", "the key was revoked")
        }
    };
    if let Some(standings) = standings {
        standings.add(response.headers_mut(), shared.config.header_form, now, wall);
    }
    Ok(response)
}

async fn accept(
    connection: &Arc<Connection>,
    call: &Call,
    accepted: Accepted,
    mut latency: Delay,
) -> Result<Response<Body>, Disconnect> {
    let mut in_service = InService::new(Arc::clone(connection), accepted.ticket);
    latency.add(accepted.service).await;
    let mut response = match accepted.fault {
        None => good_answer(&connection.shared, call),
        Some(fault) => fail(connection, fault).await?,
    };
    if let Some(TotalTokens(actual)) = response.extensions().get().filter(|_| call.estimated) {
        in_service.costs(*actual);
    }
    response.body_mut().keep_in_service(in_service);
    response.body_mut().spread_over(accepted.body);
    Ok(response)
}

fn good_answer(shared: &Shared, call: &Call) -> Response<Body> {
    let response = endpoints::answer(call, shared.config.seed);
    if response.status() == StatusCode::OK && call.head.uri.path().starts_with("/v1/") {
        let items = endpoints::items(call).unwrap_or_default();
        let many = items.iter().map(|item| served::call(&call.head, item.to_string().as_bytes())).collect();
        shared.served(if items.is_empty() { vec![served::call(&call.head, &call.body)] } else { many });
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

/// A request that waits for the end of a stall. If it is dropped before, because its client has gone, it
/// is counted then all the same: the provider has read it.
struct Stalled {
    /// None once it is over.
    shared: Option<Arc<Shared>>,
    charge: Charge,
    until: Instant,
}

impl Stalled {
    fn new(shared: &Arc<Shared>, charge: Charge, left: Duration) -> Self {
        Self { shared: Some(Arc::clone(shared)), charge, until: clock::now() + left }
    }

    async fn end(mut self) {
        clock::timer(self.until).await;
        self.shared = None;
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let Some(room) = shared.room_for_abandoned() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (charge, until) = (self.charge, self.until);
        runtime.spawn(async move {
            clock::timer(until).await;
            if let Admission::Accepted(accepted) = shared.check(charge).admission {
                let mut latency = Delay::default();
                latency.add(accepted.service + accepted.body).await;
                shared.finish([accepted.ticket]);
            }
            drop(room);
        });
    }
}

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
        clock::timer(until).await;
    }
}
