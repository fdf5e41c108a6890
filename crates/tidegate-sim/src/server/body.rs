//! Bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::wire::InService;

/// What `/big` is made of.
static FILLER: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// The body of an answer; keeps its request in service until it is complete.
pub(super) struct Body {
    content: Content,
    /// Held for its drop.
    in_service: Option<InService>,
}

enum Content {
    Whole(Bytes),
    Filler(u64),
    Cut(Cut),
}

/// A body that ends before the length announced in its head.
enum Cut {
    Start(Bytes),
    /// The start is in hyper's buffer, and would be lost if the body ended now: let it be flushed first.
    Flush,
    End,
}

impl Body {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::new(Content::Whole(bytes.into()))
    }

    /// So many bytes, made up as they are sent.
    pub(super) fn filler(length: u64) -> Self {
        Self::new(Content::Filler(length))
    }

    /// Sends this much, whatever length the head announces.
    pub(super) fn cut(start: Bytes) -> Self {
        Self::new(Content::Cut(Cut::Start(start)))
    }

    pub(super) fn keep_in_service(&mut self, request: InService) {
        self.in_service = Some(request);
    }

    fn new(content: Content) -> Self {
        Self { content, in_service: None }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut self.content {
            Content::Whole(bytes) => std::mem::take(bytes),
            Content::Filler(left) => {
                let length = (*left).min(FILLER.len() as u64);
                *left -= length;
                Bytes::from_static(&FILLER[..length as usize])
            }
            Content::Cut(cut) => match std::mem::replace(cut, Cut::End) {
                Cut::Start(bytes) => {
                    *cut = Cut::Flush;
                    bytes
                }
                Cut::Flush => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Cut::End => Bytes::new(),
            },
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Filler(left) => *left == 0,
            Content::Cut(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Filler(left) => SizeHint::with_exact(*left),
            Content::Cut(_) => SizeHint::new(),
        }
    }
}
