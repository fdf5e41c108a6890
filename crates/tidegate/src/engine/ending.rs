//! What a run says of itself: why it waits, and how it ended.

use std::time::Duration;

use tidegate_core::Why;

use super::{Ended, Engine, Report, lock};
use crate::retry::Human;

impl Engine {
    pub(super) async fn report(&self) -> Report {
        let stopped = self.pool().stopping.take();
        self.feeder.close();
        self.release_held();
        let closing = lock(&self.writer).close();
        closing.finish().await;
        let write_error = lock(&self.writer).take_error();
        let ended = match (write_error, stopped) {
            (Some(error), _) => Ended::Output(error),
            (None, Some(ended)) => ended,
            (None, None) if self.feeder.was_cut() => Ended::Head,
            (None, None) => Ended::Finished,
        };
        let words = match &ended {
            Ended::Finished => "finished".to_owned(),
            Ended::Head => "head".to_owned(),
            Ended::Interrupted => "interrupted".to_owned(),
            Ended::Stopped(why) => format!("stopped: {why}"),
            Ended::Output(error) => format!("stopped: {error}"),
            Ended::Input(error) => format!("stopped: {error}"),
        };
        let mut summary = lock(&self.stats).summary(self.clock.now(), &words);
        summary.resumed_after_kill = self.state.as_ref().is_some_and(|state| state.resumed_after_kill);
        let ended = match self.state.as_ref().map(|state| state.end(&summary, &self.quotas)) {
            Some(Err(error)) if !matches!(ended, Ended::Output(_)) => Ended::Output(error),
            _ => ended,
        };
        let failures_allowed = self.stop.allows(summary.failed, summary.rows);
        Report { ended, summary, failures_allowed }
    }

    pub(super) fn waiting(&self) -> Option<String> {
        let now = self.clock.now();
        let pool = self.pool();
        if let Some(ended) = &pool.stopping {
            let why = match ended {
                Ended::Stopped(why) => why.as_str(),
                _ => "stopping",
            };
            return Some(format!("{why}: letting calls in flight finish"));
        }
        if let Some(error) = pool.last_error.as_ref().filter(|_| pool.connected == 0) {
            return Some(format!("{error}; next try in {}", Human(pool.retry_at.since(now))));
        }
        let (wait, partition) = pool.wait.clone()?;
        drop(pool);
        let of = if partition.is_empty() { String::new() } else { format!("{partition}: ") };
        let until = wait.until.map(|until| until.since(now));
        let long = until.is_none_or(|until| until >= Duration::from_secs(1));
        match (wait.why, until) {
            (Why::Paused, Some(until)) => {
                Some(format!("{of}the provider asked for silence, {} to go", Human(until)))
            }
            (Why::Limit(i), Some(until)) if long => {
                Some(format!("{of}limit {} is used up, {} to go", self.limits[i], Human(until)))
            }
            (Why::Pacing(i), Some(until)) if long => {
                let until = Human(until);
                Some(format!("{of}calls are spread evenly over {}, the next in {until}", self.limits[i]))
            }
            (Why::Limit(i), None) => Some(format!("{of}limit {} waits for answers", self.limits[i])),
            (Why::Stalled, Some(until)) => Some(format!(
                "{of}the provider does not answer any more; the next call to see whether it does goes in {}",
                Human(until)
            )),
            (Why::Stalled, None) => Some(format!(
                "{of}the provider does not answer any more; one call waits to see whether it does"
            )),
            _ => None,
        }
    }
}
