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
//! Parse a [`Limit`], compile one or more into a [`Contract`], make a [`Quota`] from it, and drive it:
//!
//! * input: [`Quota::take`] asks to send now, [`Quota::answered`] reports the response head,
//!   [`Quota::settle`] reports the end of the call, [`Quota::pause`] what the provider demanded;
//! * output: a [`Decision`]: a [`Grant`], or a [`Wait`] that says until when and why.
//!
//! Every grant must come back through [`Quota::settle`] exactly once; `now` should never decrease
//! (an earlier `now` is taken as the latest one seen).
//!
//! ```
//! use tidegate_core::{Contract, Decision, Limit, Outcome, Pacing, Quota, Terms, Time};
//!
//! let limit: Limit = "2/s".parse().unwrap();
//! let contract = Contract::new(&[limit], Pacing::Burst, Terms::default()).unwrap();
//! let mut quota = Quota::new(&contract);
//! let (start, costs) = (Time::ZERO, contract.costs());
//! let Decision::Grant(first) = quota.take(costs, start) else { panic!() };
//! let Decision::Wait(wait) = quota.take(costs, start) else { panic!() };
//! assert_eq!(wait.until, None, "it depends on an answer that has not come");
//!
//! let answered = Time::from_millis(80);
//! quota.settle(first, Outcome::Answered, answered);
//! let Decision::Grant(second) = quota.take(costs, answered) else { panic!() };
//! quota.settle(second, Outcome::Answered, answered);
//! let Decision::Wait(wait) = quota.take(costs, answered) else { panic!() };
//! // One window after the answer, plus the margins: never one window after the send.
//! assert!(wait.until.unwrap() > Time::from_millis(1080));
//! ```

mod contract;
pub mod feedback;
mod limit;
mod meter;
mod pool;
mod quota;
mod time;

pub use contract::{Contract, Costs, Pacing};
pub use limit::{Limit, LimitError, Margins, Mode, Rule, Terms, Unit};
pub use meter::{Calendar, Epoch, Hold, Meter, Pace, Period, Readiness, Returns, Taken, WallClock};
pub use pool::apart;
pub use pool::{Allotment, Demand, LEASE, Member, MemberId, Part, Pool, Priority, Report, Reserve};
pub use quota::{
    Belief, Decision, Grant, Heard, Incident, Others, Outcome, Quota, Told, Wait, WaiterId, Why,
};
pub use time::Time;
