//! Calls are in the log before they are sent: after a kill it is known which may have been.

use std::collections::HashMap;
use std::sync::Mutex;

use tidegate_core::{Costs, Time};
use tokio::task::yield_now;

use super::job::Job;
use super::lock;
use crate::log::{Control, Micros, SendsEncoder};
use crate::sink::{LogFile, SinkError};

/// Partitions that have a number; with more, numbering begins anew.
const MOST_PARTITIONS: usize = 100_000;

/// The log's stream of sends.
pub(super) struct Sends {
    state: Mutex<State>,
    usual: Costs,
    limits: usize,
}

struct State {
    encoder: SendsEncoder,
    log: LogFile,
    blocks: Vec<u8>,
    /// So many sends are in the file.
    written: u64,
    /// A write failed: those that come now would have other numbers in the file than here.
    broken: bool,
    partitions: HashMap<Box<str>, u32>,
    next_partition: u32,
}

impl Sends {
    /// Sends of calls that usually cost `usual` of so many limits.
    pub(super) fn new((log, encoder): (LogFile, SendsEncoder), usual: Costs, limits: usize) -> Self {
        let state = State {
            encoder,
            log,
            blocks: Vec::new(),
            written: 0,
            broken: false,
            partitions: HashMap::new(),
            next_partition: 1,
        };
        Self { state: Mutex::new(state), usual, limits }
    }

    /// The number of a partition; 0 if it has no name.
    pub(super) fn partition(&self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let mut state = lock(&self.state);
        if let Some(number) = state.partitions.get(name) {
            return *number;
        }
        if state.partitions.len() >= MOST_PARTITIONS {
            state.partitions.clear();
        }
        let number = state.next_partition;
        state.next_partition += 1;
        state.partitions.insert(name.into(), number);
        state.encoder.control(&Control::Partition { number, name: name.to_owned() });
        number
    }

    /// Notes that the job's call is about to be sent, with a permit granted `at`. Returns the send's
    /// number in the run; the call may go once that is [`written`](Self::written).
    pub(super) fn note(&self, job: &Job, at: Time, costs: &Costs) -> u64 {
        let costs = self.unusual(costs);
        let rows = job.rows.iter().map(|carried| (carried.row.index, carried.sends.max(1)));
        lock(&self.state).encoder.send(rows, Micros::floor(at), costs.as_deref(), job.partition)
    }

    /// Waits until the send is in the log. All that the loop has to send in one turn is written at once.
    pub(super) async fn written(&self, id: u64) -> Result<(), SinkError> {
        yield_now().await;
        let mut state = lock(&self.state);
        if state.written <= id { state.write() } else { Ok(()) }
    }

    /// Whether the send is in the log. One that is not has no end either.
    pub(super) fn is_written(&self, id: u64) -> bool {
        lock(&self.state).written > id
    }

    /// The costs of all limits, where they are not what calls usually cost.
    pub(super) fn unusual(&self, costs: &Costs) -> Option<Box<[u64]>> {
        (*costs != self.usual).then(|| (0..self.limits).map(|limit| costs.of(limit)).collect())
    }
}

impl State {
    fn write(&mut self) -> Result<(), SinkError> {
        // What was to be written with the one that failed is not in the file either.
        if std::mem::replace(&mut self.broken, true) {
            return Err(SinkError::Closed);
        }
        self.blocks.clear();
        self.encoder.take(&mut self.blocks);
        self.log.append(&self.blocks)?;
        self.broken = false;
        self.written = self.encoder.count();
        Ok(())
    }
}
