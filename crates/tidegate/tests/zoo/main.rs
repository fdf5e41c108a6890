//! The real engine against strict providers of all kinds, in virtual time: hundreds of thousands of
//! calls in seconds, and the same seed gives the same run.

#![expect(clippy::unwrap_used, reason = "a test may panic, outside of its functions too")]

mod calendar;
mod down;
mod enforced;
mod engine;
mod incidents;
mod provider;
mod resume;
mod service;
mod shops;
mod stalls;
mod tokens;
mod world;
