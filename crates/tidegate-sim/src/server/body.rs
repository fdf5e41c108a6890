//! Bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::clock;
use super::wire::InService;

/// What `/big` is made of.
static FILLER: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// How many pieces a small body comes in when it takes its time.
const PIECES: u64 = 4;

/// The body of an answer; keeps its request in service until it is complete.
pub(super) struct Body {
    content: Content,
    pace: Option<Pace>,
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

/// When the bytes of a body are due.
struct Pace {
    start: Instant,
    time: Duration,
    length: u64,
    timer: Option<Pin<Box<Sleep>>>,
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

    /// Spreads the bytes over this time from now on; the last one comes at its end. A body that is cut
    /// anyway is not spread.
    pub(super) fn spread_over(&mut self, time: Duration) {
        if let Some(length) = self.content.left().filter(|length| *length > 0 && !time.is_zero()) {
            self.pace = Some(Pace { start: clock::now(), time, length, timer: None });
        }
    }

    fn new(content: Content) -> Self {
        Self { content, pace: None, in_service: None }
    }
}

impl Content {
    /// Bytes still to come.
    fn left(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Filler(left) => Some(*left),
            Self::Cut(_) => None,
        }
    }

    /// The next bytes, so many at most; none at the end.
    fn poll_next(&mut self, most: u64, cx: &mut Context<'_>) -> Poll<Bytes> {
        Poll::Ready(match self {
            Self::Whole(bytes) => {
                bytes.split_to(bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX)))
            }
            Self::Filler(left) => {
                let length = (*left).min(most).min(FILLER.len() as u64);
                *left -= length;
                Bytes::from_static(&FILLER[..length as usize])
            }
            Self::Cut(cut) => match std::mem::replace(cut, Cut::End) {
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
        })
    }
}

impl Pace {
    /// How many bytes come next, once they are due.
    fn poll_due(&mut self, left: u64, cx: &mut Context<'_>) -> Poll<u64> {
        let piece = self.length.div_ceil(PIECES).min(FILLER.len() as u64).min(left);
        let sent = self.length - left + piece;
        let due = self.time.as_nanos() * u128::from(sent) / u128::from(self.length);
        let due = self.start + Duration::from_nanos(due as u64);
        let timer = self.timer.get_or_insert_with(|| Box::pin(clock::timer(due)));
        ready!(timer.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(piece)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { content, pace, .. } = &mut *self;
        let most = match (pace, content.left()) {
            (Some(pace), Some(left)) if left > 0 => ready!(pace.poll_due(left, cx)),
            _ => u64::MAX,
        };
        let data = ready!(content.poll_next(most, cx));
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.content.left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.content.left().map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
