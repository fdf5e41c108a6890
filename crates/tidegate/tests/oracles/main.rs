//! The oracle zoo: the real core, driven in virtual time against every way that providers enforce.
//!
//! A client sends whenever its quota grants, and waits exactly as told. Networks and providers are as bad
//! as the contract allows: they count a call at any moment between grant and answer, on clocks that
//! differ. Strict judges that share no code with the limiter see every count. Nothing may be
//! rejected, and the quota has to be used: a run that never meets its limit proves nothing.
//!
//! What is where: `network.rs` says when a call is counted and answered, `client.rs` is the loop of
//! events of one client, `fleet.rs` that of several that share a quota (`machines.rs`: a thousand, with clocks of their own), `case.rs` a contract with its providers, and the rest are
//! cases.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "tells how much was simulated and, of the long run, its seed")]

mod auto;
mod calendars;
mod case;
mod client;
mod fleet;
mod headers;
mod job;
mod machines;
mod network;
mod shared;
mod stalls;
mod trace;
mod trouble;
mod windows;
mod zoo;
