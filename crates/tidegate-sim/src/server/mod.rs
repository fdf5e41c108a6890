//! The provider: HTTP/1.1 with keep-alive around a [`Judge`](crate::Judge).
//!
//! What happens to a request, in this order: it has arrived completely (head and body) → jitter, which stands
//! for the network before the check → the limiter counts it → rejected: 429 at once; accepted: the service
//! time passes → answer or fault, the body in its own time. Paths that begin with `/_` are served at once and
//! never limited.
//!
//! In limits of tokens a request costs what its header `x-cost` says; without one, a completion costs its prompt
//! and the longest answer that it allows until the actual cost is known, and all else 1.
//!
//! | endpoint | answers |
//! | --- | --- |
//! | `GET /v1/users/{id}` | `{"id","name","email"}`, the decoded id echoed exactly |
//! | `POST /v1/chat/completions` | an OpenAI-shaped completion with `usage` |
//! | any `/echo…` | method, path, query, headers and body, as JSON |
//! | `GET /redirect?to=URL` | 302 |
//! | `GET /status/{code}` | that status, 200 to 599 |
//! | `GET /gzip` | compressed JSON |
//! | `GET /big?bytes=N` | N bytes |
//! | `/_stats` | [`Stats`] |
//! | `/_reset` | fresh counters and limits |

mod body;
mod call;
mod chat;
mod clock;
mod config;
mod endpoints;
mod headers;
mod respond;
mod served;
mod service;
mod shared;
mod state;
mod stats;
mod tenants;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub use config::{RetryAfter, SimConfig, WallTime};
pub use headers::HeaderForm;
pub use stats::{FaultCounts, LimitRejections, Stats, WorstWindowStats};

use shared::Shared;
use wire::{Connection, Wire};

/// Connections served at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 20_000;

/// Without this many, a client that opens hundreds of connections at once would wait a
/// second for its SYNs to be sent again.
const BACKLOG: u32 = 4096;

/// Longest wait between two tries to accept when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why the provider could not be started or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address as configured.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No new connections can be accepted.
    #[error("cannot accept connections: {0}")]
    Accept(#[source] io::Error),
    /// The event loop could not be started.
    #[error("cannot start the event loop: {0}")]
    Runtime(#[source] io::Error),
}

/// A provider that is bound to its address, and not yet running.
#[derive(Debug)]
pub struct Sim {
    listener: TcpListener,
    local_addr: SocketAddr,
    handle: SimHandle,
}

/// Looks at and controls a running provider, from any thread.
#[derive(Debug, Clone)]
pub struct SimHandle {
    shared: Arc<Shared>,
    stop: Arc<Notify>,
}

impl Sim {
    /// Listens on the configured address; connections wait until [`run`](Self::run). Needs a tokio runtime
    /// with I/O and time. The provider's clock begins here.
    pub fn bind(config: SimConfig) -> Result<Self, SimError> {
        let addr = config.addr;
        let bind_error = |source| SimError::Bind { addr, source };
        let listener = listen(addr).map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        let handle = SimHandle { shared: Arc::new(Shared::new(config)), stop: Arc::new(Notify::new()) };
        Ok(Self { listener, local_addr, handle })
    }

    /// The address, with the port that the system chose where the configured one was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A handle that outlives [`run`](Self::run).
    pub fn handle(&self) -> SimHandle {
        self.handle.clone()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Serves until `shutdown` completes or [`SimHandle::shutdown`] is called, then closes all connections.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), SimError> {
        let mut shutdown = pin!(shutdown);
        // Dropping the set at the end aborts what is still open, hanging requests too.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = self.handle.stop.notified() => return Ok(()),
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(stream, Arc::clone(&self.handle.shared)));
                    }
                    Err(error) => recover(error).await?,
                },
            }
        }
    }
}

impl SimHandle {
    /// What was counted since the start or the last reset.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Starts over: fresh counters, limits and random numbers, and the clock of fixed windows at zero. Requests
    /// in service stay in service.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Makes [`Sim::run`] return.
    pub fn shutdown(&self) {
        self.stop.notify_one();
    }
}

/// Serves on this thread, with an event loop of its own, until the handle given to `ready` shuts it down.
/// `ready` is called once the address is bound.
pub fn serve_blocking(config: SimConfig, ready: impl FnOnce(SocketAddr, SimHandle)) -> Result<(), SimError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SimError::Runtime)?;
    runtime.block_on(async {
        let sim = Sim::bind(config)?;
        ready(sim.local_addr(), sim.handle());
        sim.run(std::future::pending()).await
    })
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without TCP_NODELAY answers may sit in the kernel for 40 ms; a socket that is already gone may refuse.
    let _ = stream.set_nodelay(true);
    let connection = Arc::new(Connection::new(shared));
    let wire = Wire::new(stream, Arc::clone(&connection));
    let service = service_fn(move |request| service::answer(Arc::clone(&connection), request));
    // A connection ends in an error when the client goes away or a fault strikes; both are none of ours.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(wire), service).await;
}

/// Waits a moment if the failure to accept will pass, and gives up if it will not.
async fn recover(error: io::Error) -> Result<(), SimError> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {
            Ok(())
        }
        // EINVAL and EBADF will not heal; being out of descriptors or buffers will, as clients leave.
        io::ErrorKind::InvalidInput => Err(SimError::Accept(error)),
        _ => {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            Ok(())
        }
    }
}
