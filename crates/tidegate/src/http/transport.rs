//! What the engine needs of HTTP: the seam at which a simulation takes the network's place.

use bytes::Bytes;
use http::Request;

use super::{CallError, ConnectError, Connection, Connector, Head, Origin, SetupError};

/// Makes connections to one origin. The engine's own is [`Connector`].
///
/// Clones share whatever connections have in common; each worker has one.
pub trait Connect: Clone + Send + Sync + Sized + 'static {
    /// What it makes.
    type Connection: Exchange;

    /// Where its connections lead.
    fn origin(&self) -> &Origin;

    /// The same for another origin, to which a redirect leads.
    fn elsewhere(&self, origin: Origin) -> Result<Self, SetupError>;

    /// Connects. No error means that a call was sent.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, ConnectError>> + Send;
}

/// A connection that carries one call after the other: [`send`](Self::send), then
/// [`body`](Self::body), then the next while it is [`reusable`](Self::reusable).
///
/// Dropping the connection, or the future of a call on it, gives the call up: nothing of it may be
/// sent from then on. An error that says [`Sent::NotSent`](super::Sent::NotSent) promises that
/// nothing was.
pub trait Exchange: Send + 'static {
    /// Sends a request and waits for the head of its answer.
    fn send(&mut self, request: Request<Bytes>) -> impl Future<Output = Result<Head, CallError>> + Send;

    /// Reads the rest of the answer.
    fn body(&mut self) -> impl Future<Output = Result<Bytes, CallError>> + Send;

    /// Whether it can carry another call.
    fn reusable(&self) -> bool;

    /// Resolves when the other side closes it. For the time between calls; may be dropped and asked
    /// again.
    fn closed(&mut self) -> impl Future<Output = ()> + Send;
}

// Each hands on the future itself: a wrapper around it would be paid for at each call.

impl Connect for Connector {
    type Connection = Connection;

    fn origin(&self) -> &Origin {
        Self::origin(self)
    }

    fn elsewhere(&self, origin: Origin) -> Result<Self, SetupError> {
        Self::elsewhere(self, origin)
    }

    fn connect(&self) -> impl Future<Output = Result<Connection, ConnectError>> + Send {
        Self::connect(self)
    }
}

impl Exchange for Connection {
    fn send(&mut self, request: Request<Bytes>) -> impl Future<Output = Result<Head, CallError>> + Send {
        Self::send(self, request)
    }

    fn body(&mut self) -> impl Future<Output = Result<Bytes, CallError>> + Send {
        Self::body(self)
    }

    fn reusable(&self) -> bool {
        Self::reusable(self)
    }

    fn closed(&mut self) -> impl Future<Output = ()> + Send {
        Self::closed(self)
    }
}
