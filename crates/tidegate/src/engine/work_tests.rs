use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use tidegate_core::{Contract, Limit, Outcome, Pacing, Terms};
use tidegate_quota::{Clock, Partitions, Permit};

use super::*;
use crate::engine::job::Carried;
use crate::row::Record;
use crate::template::Call;

const SECOND: Duration = Duration::from_secs(1);

/// Lanes, and the quotas behind them.
struct Lanes {
    work: Work,
    quotas: Partitions,
    rows: u64,
}

impl Lanes {
    fn new(limit: &str) -> Self {
        let limits = [limit.parse::<Limit>().unwrap()];
        let contract = Contract::new(&limits, Pacing::Burst, Terms::default()).unwrap();
        Self {
            work: Work::new(false, 20, Gatherer::default()),
            quotas: Partitions::new(contract, Clock::simulated()),
            rows: 0,
        }
    }

    /// A fresh row of this lane is taken, and stands in it.
    fn row(&mut self, lane: &str) -> LaneId {
        let record = Ok(Record::Line(lane.to_owned()));
        let row = Row { index: self.rows, line: self.rows + 1, record };
        self.rows += 1;
        let call = Call {
            method: Method::GET,
            uri: Uri::from_static("http://provider.test/"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let lane = self.work.lane(lane, || self.quotas.gate(lane));
        let id = lane.0;
        self.work.active += 1;
        self.work.put_back(Box::new(Job::new(
            vec![Carried { row, key: None, sends: 0 }],
            call,
            lane,
            *self.quotas.contract().costs(),
        )));
        id
    }

    /// The job whose turn it is.
    fn take(&mut self, now: Time) -> Option<Box<Job>> {
        self.work.look_at_clock(now);
        let job = self.work.pop()?;
        self.work.active += 1;
        Some(job)
    }

    fn take_all(&mut self, now: Time) -> Vec<u64> {
        std::iter::from_fn(|| self.take(now).map(|job| job.rows[0].row.index)).collect()
    }

    /// As the pump does it: takes the next job that has a permit, and shuts lanes that have none.
    fn next(&mut self) -> Option<(Box<Job>, Permit)> {
        let now = self.quotas.clock().now();
        while let Some(job) = self.take(now) {
            match job.gate.try_acquire_costing(&job.costs) {
                Ok(permit) => return Some((job, permit)),
                Err(wait) => {
                    let lane = job.lane;
                    self.work.put_back(job);
                    self.work.shut(lane, wait);
                }
            }
        }
        None
    }
}

fn until(time: Time) -> Wait {
    Wait { until: Some(time), why: Why::Pacing(0) }
}

const ON_ANSWER: Wait = Wait { until: None, why: Why::Limit(0) };

#[tokio::test(start_paused = true)]
async fn lanes_have_their_turns_one_row_each() {
    let mut lanes = Lanes::new("1/s");
    for lane in ["a", "a", "a", "b", "c", "c"] {
        lanes.row(lane);
    }
    // The row that was put back last stands first in its lane.
    assert_eq!(lanes.take_all(Time::ZERO), [2, 3, 5, 1, 4, 0]);
    assert_eq!(lanes.work.standing, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shut_lane_keeps_back_its_rows_only_and_opens_in_time() {
    let mut lanes = Lanes::new("1/s");
    let (a, b) = (lanes.row("a"), lanes.row("b"));
    lanes.work.shut(a, until(Time::from_millis(50)));
    lanes.work.shut(b, until(Time::from_millis(20)));
    assert_eq!(lanes.work.opens_first().unwrap().1, "b");
    assert!(lanes.take(Time::from_millis(19)).is_none());
    assert_eq!(lanes.work.due(), Some(Time::from_millis(20)));
    assert_eq!(lanes.take_all(Time::from_millis(20)), [1]);
    assert_eq!(lanes.work.opens_first().unwrap().1, "a");
    assert_eq!(lanes.take_all(Time::from_millis(50)), [0]);
    assert!(lanes.work.opens_first().is_none() && lanes.work.due().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_was_shut_again_for_longer_stays_shut() {
    let mut lanes = Lanes::new("1/s");
    let a = lanes.row("a");
    lanes.work.shut(a, until(Time::from_millis(10)));
    assert!(lanes.work.reopen(a));
    lanes.work.shut(a, until(Time::from_millis(30)));
    assert!(lanes.take(Time::from_millis(10)).is_none());
    assert_eq!(lanes.work.due(), Some(Time::from_millis(30)));
    assert_eq!(lanes.take_all(Time::from_millis(30)), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_shut_in_its_turn_loses_no_row_and_has_no_second_turn() {
    let mut lanes = Lanes::new("1/s");
    let a = lanes.row("a");
    lanes.row("a");
    lanes.row("b");
    lanes.work.shut(a, ON_ANSWER); // it stands in line to have its turn
    assert_eq!(lanes.take_all(Time::ZERO), [2]);
    assert!(lanes.work.answered(a));
    assert!(!lanes.work.answered(a));
    lanes.work.reopen(a);
    assert_eq!(lanes.work.open, [a]);
    assert_eq!(lanes.take_all(Time::ZERO), [1, 0]);
    assert!(lanes.work.open.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lane_is_forgotten_with_its_last_row_and_its_place_used_again() {
    let mut lanes = Lanes::new("1/s");
    let a = lanes.row("a");
    lanes.work.shut(a, until(Time::from_millis(10)));
    lanes.work.reopen(a);
    assert_eq!(lanes.take_all(Time::ZERO), [0]);
    lanes.work.ended(a);
    assert!(lanes.work.lanes.is_empty() && lanes.work.by_name.is_empty());

    // What is noted of the old lane means nothing to the new one in its place.
    let b = lanes.row("b");
    assert_eq!(a, b);
    lanes.work.shut(b, until(Time::from_millis(20)));
    assert!(lanes.take(Time::from_millis(10)).is_none());
    assert_eq!(lanes.work.opens_first().unwrap().1, "b");
    assert_eq!(lanes.take_all(Time::from_millis(20)), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_opens_when_it_is_gone_is_no_lane() {
    let mut lanes = Lanes::new("1/s");
    let a = lanes.row("a");
    let job = lanes.take(Time::ZERO).unwrap();
    lanes.work.shut(a, until(Time::from_millis(10)));
    lanes.work.ended(job.lane);
    assert!(lanes.take(Time::from_millis(10)).is_none());
    assert_eq!((lanes.work.active, lanes.work.is_pending()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_waits_for_its_retry_keeps_its_lane() {
    let mut lanes = Lanes::new("1/s");
    let a = lanes.row("a");
    let job = lanes.take(Time::ZERO).unwrap();
    lanes.work.wait(job, Time::from_millis(100));
    assert!(lanes.work.lanes.contains(a) && lanes.work.active == 0);
    assert!(!lanes.work.has_ready(Time::from_millis(99)) && lanes.work.has_ready(Time::from_millis(100)));
    let again = lanes.row("a");
    assert_eq!(a, again);
    lanes.work.shut(a, until(Time::from_millis(200)));
    // Due, but in a lane that is shut.
    assert!(lanes.take(Time::from_millis(100)).is_none());
    assert_eq!(lanes.take_all(Time::from_millis(200)), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_opens_a_lane_that_waits_for_a_later_time_only_if_that_helps() {
    let mut lanes = Lanes::new("10/s");
    for _ in 0..12 {
        lanes.row("a");
    }
    let mut sent: Vec<_> = std::iter::from_fn(|| lanes.next()).collect();
    let (job, permit) = sent.pop().unwrap();
    let a = job.lane;
    permit.settle(Outcome::Answered);
    assert!(lanes.work.answered(a), "it waited for an answer, whenever that comes");
    while let Some(more) = lanes.next() {
        sent.push(more);
    }
    let waits = lanes.work.lanes[a].shut.unwrap();
    assert!(waits.until.is_some_and(|until| until > Time::ZERO + SECOND));
    // Units that come back later still change nothing; a call that was never sent does.
    sent.pop().unwrap().1.settle(Outcome::Answered);
    assert!(!lanes.work.answered(a));
    sent.pop().unwrap().1.settle(Outcome::NotSent);
    assert!(lanes.work.answered(a));
    assert!(lanes.next().is_some());
}

#[tokio::test(start_paused = true)]
async fn times_at_which_lanes_open_do_not_pile_up() {
    let mut lanes = Lanes::new("1/s");
    let a = lanes.row("a");
    for _ in 0..1_000 {
        lanes.work.shut(a, until(Time::from_millis(3_600_000)));
        lanes.work.reopen(a);
    }
    assert!(lanes.work.opening.len() < 10, "{}", lanes.work.opening.len());
    lanes.work.shut(a, until(Time::from_millis(3_600_000)));
    assert_eq!(lanes.take_all(Time::from_millis(3_600_000)), [0]);
}

#[tokio::test(start_paused = true)]
async fn only_time_is_waited_for_when_nothing_is_under_way_and_no_row_is_to_come() {
    let mut lanes = Lanes::new("1/s");
    lanes.row("a");
    lanes.row("a");
    assert!(!lanes.work.waits_for_time_only(), "there may be rows of other lanes");
    lanes.work.input_ended = true;
    let job = lanes.take(Time::ZERO).unwrap();
    assert!(!lanes.work.waits_for_time_only(), "its answer may bring something");
    lanes.work.ended(job.lane);
    assert!(lanes.work.waits_for_time_only());
}
