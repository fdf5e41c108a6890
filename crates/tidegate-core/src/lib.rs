//! Limits, meters and quotas: the arithmetic of tidegate, and nothing else.
//!
//! This crate is pure. It names no clock, socket, file or async runtime: whoever drives it says
//! what time it is. That is what lets the tests run years of traffic in milliseconds.
//!
//! # The idea
//!
//! A client cannot see when the server counts a request. It knows the time `s` at which it was
//! allowed to send and the time `r` at which the answer arrived; the count `c` lies somewhere in
//! `[s, r]`. Every proof here holds for *any* `c` in that interval, so it holds whatever the
//! network does.
//!
//! # Use
//!
//! Parse a [`Limit`], put one or more into a [`Quota`], and drive it:
//!
//! * input: [`Quota::take`] asks to send now, [`Quota::answered`] reports the response head,
//!   [`Quota::settle`] reports the end of the call, [`Quota::pause`] what the provider demanded;
//! * output: a [`Decision`]: a [`Grant`], or a [`Wait`] that says until when and why.
//!
//! Every grant must come back through [`Quota::settle`] exactly once; `now` should never decrease
//! (an earlier `now` is taken as the latest one seen).
//!
//! ```
//! use tidegate_core::{Decision, Limit, Outcome, Pacing, Quota, Time};
//!
//! let limit: Limit = "2/s".parse().unwrap();
//! let mut quota = Quota::new(&[limit], Pacing::Burst).unwrap();
//! let start = Time::ZERO;
//! let Decision::Grant(first) = quota.take(start) else { panic!() };
//! let Decision::Grant(_second) = quota.take(start) else { panic!() };
//! let Decision::Wait(wait) = quota.take(start) else { panic!() };
//! assert_eq!(wait.until, None, "it depends on an answer that has not come");
//!
//! let answered = Time::from_millis(80);
//! quota.settle(first, Outcome::Answered, answered);
//! let Decision::Wait(wait) = quota.take(answered) else { panic!() };
//! // One window after the answer, plus the margins: never one window after the send.
//! assert!(wait.until.unwrap() > Time::from_millis(1080));
//! ```

mod limit;
mod meter;
mod quota;
mod time;

pub use limit::{Limit, LimitError, Margins, Rule, Unit};
pub use meter::{Hold, Meter, Pace, Readiness};
pub use quota::{Decision, Grant, Outcome, Pacing, Quota, Wait, WaiterId, Why};
pub use time::Time;
