//! A strict rate-limited provider on loopback, to rehearse against at full scale.
//!
//! [`model`] decides, as a pure function of arrival times, which requests a provider would accept.
//! [`server`] puts that judge behind HTTP, with latency and faults, and counts what it saw.
//! The crate depends on no other tidegate crate: a limiter judged by its own code would
//! agree with its own bugs.
//!
//! Everything a person configures is parsed from text, so that command lines and tests speak alike:
//!
//! | type | examples |
//! | --- | --- |
//! | [`LimitSpec`] | `rolling 100/min`, `fixed 100/6s phase 2s`, `bucket 50/s capacity 10`, `counter 1000/s`, `concurrency 20`, `calendar 10k/day zone UTC`, `rolling 2M tokens/min` |
//! | [`Latency`] | `0`, `60ms`, `uniform 0..20ms`, `lognormal 60ms 0.5` |
//! | [`FaultSpec`] | `reset 10%`, `status 503 5%`, `unauthorized after 1000`, `pause after 1000 for 90s`, `stall after 100 for 40s` |
//! | [`WallTime`] | `2026-10-25T02:59:50+02:00` |
//! | [`RetryAfter`] | `none`, `seconds`, `decimal`, `date`, `iso`, `ms` |
//! | [`HeaderForm`] | `x`, `ietf`, `ietf-old`, `github`, `openai`, `anthropic` |

mod fault;
mod latency;
pub mod model;
pub mod server;
mod text;

pub use fault::{Fault, FaultSpec, Faults};
pub use http::HeaderName;
pub use latency::Latency;
pub use model::{Judge, LimitSpec, Rate, Rejection, Settlement, Verdict, WorstWindow};
pub use server::{
    HeaderForm, RetryAfter, Sim, SimConfig, SimError, SimHandle, Stats, WallTime, serve_blocking,
};
pub use text::SpecError;
