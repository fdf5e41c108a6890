//! One call by itself: a connection that is made for it, and closed after it.

use bytes::Bytes;
use http::Request;

use super::{CallError, ConnectError, Connector, Head, Options, Origin, SetupError};
use crate::template::Call;

/// Why it brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError {
    /// How to connect makes no sense.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No connection; nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No whole answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Makes the call and reads the whole answer. It takes no permit: for questions that a person asks.
///
/// # Errors
/// If no answer comes.
pub async fn once(options: Options, call: &Call) -> Result<(Head, Bytes), OnceError> {
    let origin = Origin::try_from(&call.uri)?;
    let mut connection = Connector::new(origin, options)?.connect().await?;
    let mut request = Request::new(call.body.clone());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = call.uri.clone();
    *request.headers_mut() = call.headers.clone();
    let head = connection.send(request).await?;
    let body = connection.body().await?;
    Ok((head, body))
}
