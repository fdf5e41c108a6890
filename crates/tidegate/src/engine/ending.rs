//! What a run says of itself: why it waits, and how it ended.

use std::time::Duration;

use tidegate_core::Why;

use super::{Ended, Engine, Report, lock};
use crate::log::Control;
use crate::retry::Human;

impl Engine {
    pub(super) async fn report(&self) -> Report {
        let stopped = self.pool().stopping.take();
        self.feeder.close();
        self.release_held();
        let stopped_words = stopped.as_ref().map_or("finished", Ended::word);
        let closing = {
            let mut writer = lock(&self.writer);
            if let Some(mark) = self.feeder.take_mark() {
                writer.control(&Control::Input(mark));
            }
            writer.control(&Control::Stop { ended: stopped_words.to_owned() });
            writer.close()
        };
        let is_whole = stopped.is_none() && !self.feeder.was_cut();
        closing.finish(self.in_order && is_whole).await;
        let write_error = lock(&self.writer).take_error();
        let ended = match (write_error, stopped) {
            (Some(error), _) => {
                self.quotas.abandon();
                Ended::Output(error)
            }
            (None, Some(ended)) => ended,
            (None, None) if self.feeder.was_cut() => Ended::Head,
            (None, None) => Ended::Finished,
        };
        let words = match &ended {
            Ended::Finished => "finished".to_owned(),
            Ended::Head => "head".to_owned(),
            Ended::Interrupted => "interrupted".to_owned(),
            Ended::Stopped(why) | Ended::LeftQuota(why) => format!("stopped: {why}"),
            Ended::Output(error) => format!("stopped: {error}"),
            Ended::Input(error) => format!("stopped: {error}"),
        };
        let mut summary = lock(&self.stats).summary(self.clock.now(), &words);
        summary.cost = self.cost();
        summary.resumed_after_kill = self.state.as_ref().is_some_and(|state| state.resumed_after_kill);
        let ended = match self.state.as_ref().map(|state| state.end(&summary)) {
            Some(Err(error)) if !matches!(ended, Ended::Output(_)) => Ended::Output(error),
            _ => ended,
        };
        let quotas = self.quotas.clone();
        // What goes wrong there costs others a while of waiting, and this run nothing.
        let _ = tokio::task::spawn_blocking(move || quotas.close()).await;
        let failures_allowed = self.stop.allows(summary.failed + summary.unknown, summary.rows);
        Report { ended, summary, failures_allowed }
    }

    /// A limit in words; behind those that were declared come those that were learnt.
    fn limit_name(&self, index: usize) -> String {
        self.limits.get(index).cloned().unwrap_or_else(|| lock(&self.stats).limit_name(index))
    }

    pub(super) fn waiting(&self) -> Option<String> {
        let now = self.clock.now();
        let pool = self.pool();
        if let Some(ended) = &pool.stopping {
            let why = match ended {
                Ended::Stopped(why) | Ended::LeftQuota(why) => why.as_str(),
                _ => "stopping",
            };
            return Some(format!("{why}: letting calls in flight finish"));
        }
        if let Some(error) = pool.last_error.as_ref().filter(|_| pool.connected == 0) {
            return Some(format!("{error}; next try in {}", Human(pool.retry_at.since(now))));
        }
        let wait = pool.wait.clone();
        drop(pool);
        if let Some(outage) = self.outage() {
            return Some(outage);
        }
        let (wait, partition) = wait?;
        let of = if partition.is_empty() { String::new() } else { format!("{partition}: ") };
        let until = wait.until.map(|until| until.since(now));
        let long = until.is_none_or(|until| until >= Duration::from_secs(1));
        match (wait.why, until) {
            (Why::Paused, Some(until)) => {
                Some(format!("{of}the provider asked for silence, {} to go", Human(until)))
            }
            (Why::Limit(i), Some(until)) if long => {
                Some(format!("{of}limit {} is used up, {} to go", self.limit_name(i), Human(until)))
            }
            (Why::Pacing(i), Some(until)) if long => {
                let until = Human(until);
                Some(format!("{of}calls are spread evenly over {}, the next in {until}", self.limit_name(i)))
            }
            (Why::Limit(i), None) => Some(format!("{of}limit {} waits for answers", self.limit_name(i))),
            (Why::Lease, _) => Some(format!(
                "{of}{}",
                self.quotas.trouble().unwrap_or_else(|| "waits for its share of the quota".to_owned())
            )),
            (Why::Share(i), _) => {
                Some(format!("{of}waits for its share of {}, which others use as well", self.limit_name(i)))
            }
            (Why::Others(i), Some(until)) => Some(format!(
                "{of}little is left of {}, which others use as well; the next call in {}",
                self.limit_name(i),
                Human(until)
            )),
            (Why::Told, Some(until)) if long => {
                Some(format!("{of}by what the provider says is left, the next call goes in {}", Human(until)))
            }
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
