//! A request that has arrived completely.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use super::body::Body;
use super::chat::{self, Prompt};
use super::respond;

/// Largest request body.
const MAX_BODY: usize = 16 << 20;

/// Says what a request costs.
const COST: &str = "x-cost";

pub(super) struct Call {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    /// What is reserved for it in limits of tokens.
    pub(super) cost: u64,
    /// Whether the answer may say that it cost less.
    pub(super) estimated: bool,
    /// Read ahead, because its cost is needed before it is answered.
    pub(super) prompt: Option<serde_json::Result<Prompt>>,
}

impl Call {
    /// The whole request; otherwise the answer to send, if any.
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self, Option<Response<Body>>> {
        let (head, body) = request.into_parts();
        let body = read(body).await?;
        let chat = head.method == Method::POST && head.uri.path() == chat::PATH;
        let prompt = chat.then(|| Prompt::read(&body));
        let (cost, estimated) = match (head.headers.get(COST), &prompt) {
            (Some(given), _) => {
                let cost = given.to_str().ok().and_then(|cost| cost.parse().ok());
                (cost.ok_or_else(bad_cost)?, false)
            }
            (None, Some(Ok(prompt))) => (prompt.most_tokens(), true),
            (None, _) => (1, false),
        };
        Ok(Self { head, body, cost, estimated, prompt })
    }
}

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

fn bad_cost() -> Response<Body> {
    respond::error(StatusCode::BAD_REQUEST, "bad_cost", "x-cost is a whole number")
}
