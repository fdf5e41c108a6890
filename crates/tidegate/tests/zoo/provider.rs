//! A provider in virtual time, in the place of the network.
//!
//! ```text
//!  send ──network──► arrival: the judge counts ──service──► head ──network──► head is read
//!                                                  └─rest──► finish ──network──► body is read
//! ```
//!
//! Tokio's timers tick in milliseconds. What happens at the provider does so at exact nanoseconds,
//! and in their order; the client only hears of it at the next tick.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use tidegate::http::{CallError, CallFault, Connect, ConnectError, Exchange, Head, Origin, Sent, SetupError};
use tidegate_sim::{Latency, LimitSpec, Verdict};
use tokio::time::{Instant, sleep, sleep_until};

use crate::service::{Asked, Fault, Seen, State};

/// Calls after which the provider closes a connection.
const KEEP_ALIVE: u32 = 500;

/// What a provider enforces, how long it takes, and what goes wrong.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Of each shop.
    pub(crate) limits: Vec<LimitSpec>,
    /// A rejected call uses the limits up as well.
    pub(crate) reject_counts: bool,
    /// What its wall clock shows at its time 0, in nanoseconds since 1970. With one, answers are dated.
    pub(crate) wall: Option<i64>,
    /// From the look-up of the name to the end of the handshake.
    pub(crate) handshake: Latency,
    /// One way.
    pub(crate) network: Latency,
    /// From arrival to head.
    pub(crate) service: Latency,
    /// From head to the last byte.
    pub(crate) rest: Latency,
    /// What the client waits for an answer.
    pub(crate) timeout: Duration,
    pub(crate) faults: Faults,
    pub(crate) freeze: Option<Freeze>,
    pub(crate) closed: Option<Span>,
    /// Nobody listens, and connections that stand are closed.
    pub(crate) down: Option<Span>,
    pub(crate) foreigner: Option<Foreigner>,
}

/// From, and until before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration, pub(crate) Duration);

/// Shares of all calls, or of all connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Calls that are never answered, and counted at any time until the client gives up.
    pub(crate) silent: f64,
    /// Calls that are counted, and their connection reset.
    pub(crate) reset: f64,
    /// Calls that are counted, and answered with a 503.
    pub(crate) unavailable: f64,
    /// Calls that meet a connection just closed: nothing of them is sent.
    pub(crate) stale: f64,
    /// Connections that are refused.
    pub(crate) refused: f64,
}

/// A share of the calls that reach the provider meanwhile is taken in, and counted in one moment at the
/// end, whether or not their clients still wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freeze {
    pub(crate) during: Span,
    pub(crate) share: f64,
}

/// Somebody else who uses the key, with a call every so often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreigner {
    pub(crate) during: Span,
    pub(crate) every: Duration,
}

/// The transport to the provider. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Provider {
    world: Arc<World>,
}

struct World {
    config: Config,
    origin: Origin,
    start: Instant,
    state: Mutex<State>,
}

impl Provider {
    /// A provider whose clock starts now; must be made within the runtime.
    pub(crate) fn new(config: Config, origin: &str, seed: u64) -> Self {
        let state = Mutex::new(State::new(&config, seed));
        let origin = Origin::try_from(&origin.parse().unwrap()).unwrap();
        Self { world: Arc::new(World { config, origin, start: Instant::now(), state }) }
    }

    /// What it has seen, with all that is still on its way.
    pub(crate) fn seen(&self) -> Seen {
        self.world.state().all()
    }
}

impl Connect for Provider {
    type Connection = Connection;

    fn origin(&self) -> &Origin {
        &self.world.origin
    }

    fn elsewhere(&self, _origin: Origin) -> Result<Self, SetupError> {
        unreachable!("there are no redirects")
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let (takes, refused) = {
            let State { rng, .. } = &mut *self.world.state();
            (self.world.config.handshake.sample(rng), rng.f64() < self.world.config.faults.refused)
        };
        sleep(takes).await;
        if refused || self.world.is_down() {
            return Err(ConnectError::Refused { host: self.world.origin.host().to_owned(), port: 80 });
        }
        self.world.state().seen.connections += 1;
        Ok(Connection { world: Arc::clone(&self.world), left: KEEP_ALIVE, answer: None })
    }
}

/// A connection to the provider.
pub(crate) struct Connection {
    world: Arc<World>,
    left: u32,
    answer: Option<Answer>,
}

/// An answer of which the body was not read yet.
struct Answer {
    /// `None` if the call counts in no statistic.
    sent: Option<Duration>,
    end: Duration,
    body: Bytes,
}

impl Exchange for Connection {
    async fn send(&mut self, request: Request<Bytes>) -> Result<Head, CallError> {
        let world = Arc::clone(&self.world);
        let left = std::mem::take(&mut self.left); // broken, unless it ends well
        let asked = Asked::of(request.uri().path());
        let sent = world.now();
        let taken = if world.is_down() { None } else { world.state().send(&world.config, sent, &asked) };
        let Some((call, fate)) = taken else {
            return Err(CallError { sent: Sent::NotSent, fault: CallFault::Closed });
        };
        let measured = (!fate.frozen).then_some(sent);
        let deadline = sent + world.config.timeout;
        world.sleep_until(fate.arrival.min(deadline)).await;
        let verdict = if fate.arrival > deadline { None } else { Some(world.verdict(call)) };
        let mut headers = HeaderMap::new();
        let status = match (fate.fault, verdict) {
            (Some(Fault::Silent), _) | (_, None) => {
                world.sleep_until(deadline).await;
                world.gave_up(measured);
                let fault = CallFault::Timeout(world.config.timeout);
                return Err(CallError { sent: Sent::Unknown, fault });
            }
            (_, Some(Verdict::Reject(_))) => StatusCode::TOO_MANY_REQUESTS,
            (None, _) => StatusCode::OK,
            (Some(Fault::Unavailable), _) => StatusCode::SERVICE_UNAVAILABLE,
            (Some(Fault::Closed(left)), _) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(left.as_secs() + 1));
                StatusCode::SERVICE_UNAVAILABLE
            }
            (Some(Fault::Reset), _) => {
                world.sleep_until(fate.head).await;
                world.gave_up(measured);
                let fault = CallFault::Reset(io::ErrorKind::ConnectionReset.into());
                return Err(CallError { sent: Sent::Unknown, fault });
            }
        };
        world.sleep_until(fate.head).await;
        if let Some(sent) = measured {
            let took = world.since(sent);
            world.state().seen.to_head += took;
        }
        if let Some(wall) = world.config.wall {
            let unix = Duration::from_nanos(wall.cast_unsigned()) + fate.answered;
            let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + unix);
            headers.insert(DATE, HeaderValue::try_from(date).unwrap());
        }
        let usage = if status == StatusCode::OK { asked.actual } else { asked.cost };
        let body = format!(r#"{{"id":"{}","usage":{{"total_tokens":{usage}}}}}"#, asked.id);
        self.answer = Some(Answer { sent: measured, end: fate.end, body: Bytes::from(body) });
        self.left = left - 1;
        let (mut head, ()) = Response::builder().status(status).body(()).unwrap().into_parts();
        head.headers = headers;
        Ok(Head::from(head))
    }

    async fn body(&mut self) -> Result<Bytes, CallError> {
        let Some(answer) = self.answer.take() else { return Ok(Bytes::new()) };
        self.world.sleep_until(answer.end).await;
        if let Some(sent) = answer.sent {
            let took = self.world.since(sent);
            self.world.state().ended(Duration::ZERO, took);
        }
        Ok(answer.body)
    }

    fn reusable(&self) -> bool {
        self.left > 0 && self.answer.is_none()
    }

    async fn closed(&mut self) {
        let patience = Duration::from_millis(self.world.state().rng.u64(500..8_000));
        sleep(patience).await;
    }
}

impl World {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_down(&self) -> bool {
        self.config.down.is_some_and(|down| down.has(self.now()))
    }

    fn since(&self, sent: Duration) -> Duration {
        self.now().saturating_sub(sent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn sleep_until(&self, at: Duration) {
        sleep_until(self.start + at).await;
    }

    fn verdict(&self, call: u64) -> Verdict {
        let mut state = self.state();
        state.pass(self.now());
        state.verdicts.remove(&call).unwrap()
    }

    /// The client knows that it will not hear anything more.
    fn gave_up(&self, measured: Option<Duration>) {
        if let Some(sent) = measured {
            let took = self.since(sent);
            self.state().ended(took, took);
        }
    }
}
