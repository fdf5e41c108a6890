//! The live line while a job runs.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidegate::Handle;
use tidegate::report::{LearntLimit, LearntUse, Snapshot};

use crate::explain::time_for;
use crate::printer::{Printer, count, rate};

/// How often a terminal's line is redrawn.
pub(crate) const REDRAW: Duration = Duration::from_millis(250);
/// Never a silent crawl.
pub(crate) const UNTOLD: &str = "no rate-limit headers seen: still at 1/s; declare the limit with --rate";
/// How often a plain line is written where nobody can redraw.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// What has been said of limits that are learnt.
#[derive(Default)]
pub(crate) struct Told {
    /// What is believed of each resource.
    beliefs: HashMap<String, String>,
    changes: usize,
    is_untold: bool,
}

/// A provider that says something else each time is not quoted for ever.
const MOST_CHANGES: usize = 20;

impl Told {
    /// Says what is new.
    pub(crate) fn tell(&mut self, progress: &Progress, learnt: Option<LearntUse>) {
        let Some(learnt) = learnt else { return };
        if learnt.is_untold && !learnt.is_told && !self.is_untold {
            self.is_untold = true;
            progress.note(UNTOLD);
        }
        for LearntLimit { resource, limit, window_told } in learnt.limits {
            if self.beliefs.get(&resource) == Some(&limit) || self.changes >= MOST_CHANGES {
                continue;
            }
            let why = if window_told {
                "its headers say so"
            } else {
                "its window is the longest time to a reset so far, and may be longer"
            };
            progress.note(&format!("believes {limit} for \"{resource}\" ({why})"));
            self.changes += 1;
            self.beliefs.insert(resource, limit);
        }
    }
}

/// Shows how far a run is.
pub(crate) struct Progress {
    printer: Printer,
    handle: Handle,
    /// What the limits allow, for comparison.
    allowed: Option<f64>,
    rows_per_call: u64,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    quiet: bool,
    plain_at: Duration,
}

impl Progress {
    pub(crate) fn new(
        printer: Printer,
        handle: Handle,
        (allowed, rows_per_call): (Option<f64>, u64),
        quiet: bool,
    ) -> Self {
        let bar = (printer.is_terminal() && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        let plain_at = if quiet { Duration::MAX } else { PLAIN_EVERY };
        Self { printer, handle, allowed, rows_per_call, total: None, bar, quiet, plain_at }
    }

    /// How many rows there are, once that is known.
    pub(crate) fn total(&mut self, rows: u64) {
        self.total = Some(rows);
    }

    /// Shows the state of now.
    pub(crate) fn show(&mut self) {
        let snapshot = self.handle.snapshot();
        if let Some(bar) = &self.bar {
            bar.set_message(self.text(&snapshot));
            bar.tick();
        } else if snapshot.elapsed >= self.plain_at {
            self.plain_at = snapshot.elapsed + PLAIN_EVERY;
            self.printer.line(self.text(&snapshot));
        }
    }

    /// Says something above the line.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.note(text)),
            None if self.quiet => {}
            None => self.printer.note(text),
        }
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn text(&self, now: &Snapshot) -> String {
        let done = count(now.done);
        let mut parts = vec![match self.total {
            Some(total) => {
                let percent = (now.done * 100).checked_div(total).unwrap_or(100);
                format!("{done}/{} ({percent}%)", count(total))
            }
            None => done,
        }];
        parts.push(match self.allowed {
            Some(allowed) => format!("{} of {}", rate(now.rate), rate(allowed)),
            None => rate(now.rate),
        });
        parts.push(format!("ok {}", count(now.ok)));
        parts.push(format!("failed {}", count(now.failed)));
        if now.unknown > 0 {
            parts.push(format!("unknown {}", count(now.unknown)));
        }
        parts.push(format!("429s {}", count(now.throttled)));
        parts.push(format!("{} in flight", count(now.in_flight)));
        if let (input, output) = now.tokens
            && input + output > 0
        {
            parts.push(format!("tokens {} in, {} out", count(input), count(output)));
        }
        if let Some(cost) = now.cost {
            parts.push(format!("cost {cost}"));
        }
        if let Some(waiting) = self.handle.waiting() {
            parts.push(waiting);
        } else if let Some(left) = self.total.map(|total| total.saturating_sub(now.done))
            && now.rate > 0.0
        {
            parts.push(format!("{} left", time_for(left.div_ceil(self.rows_per_call), now.rate)));
        }
        parts.join(" · ")
    }
}
