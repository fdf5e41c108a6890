//! Runs as files, for those who judge them by what was sent and answered alone. A test of `verify` reads them.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_core::{Contract, Limit, Mode, Rule};

use crate::client::{Cost, Run};
use crate::network::{Fate, Trip};

/// Where they go, if anywhere.
static FOLDER: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| env::var_os("TIDEGATE_TRACES").map(PathBuf::from));
/// Longer ones are written only if something was rejected.
const LONG: usize = 20_000;

/// Calls of a run, in the order of their sends, in nanoseconds of the provider's clock.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    calls: Vec<(u64, u64, u64, Fate, Cost)>,
}

impl Trace {
    pub(crate) fn call(&mut self, provider_time: impl Fn(u64) -> u64, sent: u64, trip: &Trip, cost: Cost) {
        if FOLDER.is_some() {
            let [sent, head, end] = [sent, trip.head, trip.end].map(provider_time);
            self.calls.push((sent, head, end, trip.fate, cost));
        }
    }

    /// The connection of that call, the first of which is 0, was closed.
    pub(crate) fn closed(&mut self, call: usize, provider_time: u64) {
        if let Some((_, head, end, ..)) = self.calls.get_mut(call) {
            (*head, *end) = ((*head).min(provider_time), (*end).min(provider_time));
        }
    }

    pub(crate) fn write(&self, contract: &Contract, unix_ns: i64, run: &Run) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(folder) = &*FOLDER else { return };
        let is_rejected = run.rejected > 0;
        let is_calendar = |limit: &&Limit| matches!(limit.rule(), Rule::Calendar(_));
        let limits: Vec<&Limit> = contract.limits().map(|(limit, _)| limit).collect();
        // When it was is not told of every run.
        let when_was_it = unix_ns == 0 && limits.iter().any(is_calendar);
        // A debt may exceed any limit, and a log cannot tell of what takes less than a microsecond.
        let is_special = |(sent, head, _, _, cost): &(u64, u64, u64, Fate, Cost)| {
            cost.actual > cost.reserved || head - sent < 2_000
        };
        if !is_rejected && (self.calls.len() > LONG || self.calls.iter().any(is_special)) || when_was_it {
            return;
        }
        let mut text = format!("{is_rejected} {unix_ns}");
        if let Mode::Estimated { counted_within } = contract.terms().mode {
            write!(text, " {}", counted_within.as_nanos()).unwrap();
        }
        text.push('\n');
        for limit in &limits {
            let linger = if let Rule::Concurrency { linger } = limit.rule() { linger.as_nanos() } else { 0 };
            writeln!(text, "{linger} {limit}").unwrap();
        }
        text.push('\n');
        // What comes after the first that was rejected is more of the same.
        let last = run.first_rejection.map_or(u64::MAX, |(.., at)| at.as_nanos() as u64);
        for (sent, head, end, fate, cost) in self.calls.iter().take_while(|call| call.0 <= last) {
            write!(text, "{sent} {head} {end} {}", u8::from(*fate != Fate::NotSent)).unwrap();
            for limit in &limits {
                let reserved = limit.cost().unwrap_or(cost.reserved);
                let actual = if limit.refunds() { cost.actual } else { cost.actual.max(reserved) };
                let actual =
                    if limit.cost().is_none() && *fate == Fate::Answered { actual } else { reserved };
                write!(text, " {reserved} {actual}").unwrap();
            }
            text.push('\n');
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        fs::write(folder.join(format!("{number}.trace")), text).unwrap();
    }
}
