use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use super::*;

/// A log in memory: what two streams write, in the order of the calls.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    /// Where each block ends.
    ends: Vec<usize>,
    sends: SendsEncoder,
    over: EndsEncoder,
}

impl Written {
    fn new() -> Self {
        let mut this = Self { bytes: MAGIC.to_vec(), ..Self::default() };
        this.run();
        this
    }

    fn run(&mut self) {
        self.sends = SendsEncoder::default();
        self.over = EndsEncoder::default();
        self.sends.control(&Control::Run(Box::default()));
        self.flush();
    }

    fn flush(&mut self) {
        self.sends.take(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn send(&mut self, row: u64, at: u64) -> u64 {
        self.send_all(vec![(row, 1)], at)
    }

    fn send_all(&mut self, rows: Vec<(u64, u32)>, at: u64) -> u64 {
        let id = self.sends.send(rows, Micros(at), None, 0);
        self.flush();
        id
    }

    fn end(&mut self, id: u64, at: u64, commit: Option<Commit>) {
        self.end_with(id, at, Outcome::Answered(200), commit.as_slice());
    }

    fn end_with(&mut self, id: u64, at: u64, outcome: Outcome, commits: &[Commit]) {
        let end = End { id, answered: Micros(at), ended: Micros(at + 5), outcome, costs: None };
        let mut records = Vec::new();
        self.over.put(Some(&end), commits.first(), &mut records);
        for commit in commits.iter().skip(1) {
            self.over.put(None, Some(commit), &mut records);
        }
        EndsEncoder::block(&records, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }
}

fn result(row: u64, length: u64) -> Commit {
    Commit { row, file: OutputFile::Results, length, kind: None, status: 0 }
}

fn events(bytes: &[u8]) -> Result<Vec<Event>, LogError> {
    let Some(mut reader) = Reader::new(Cursor::new(bytes), Path::new("log"))? else { return Ok(Vec::new()) };
    let mut events = Vec::new();
    while let Some(event) = reader.next_event()? {
        events.push(event);
    }
    Ok(events)
}

fn mates(random: &mut fastrand::Rng) -> Box<[(u64, u32)]> {
    let first = random.u64(..1000);
    let numbers = [1, 1 + random.u32(..3)][random.usize(..2)];
    (0..random.u64(..4)).map(|i| (first + i * random.u64(1..3), 1 + random.u32(..numbers))).collect()
}

#[test]
fn what_was_written_is_read() {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut sends, mut over) = (SendsEncoder::default(), EndsEncoder::default());
    let mut bytes = MAGIC.to_vec();
    let mut expected = Vec::new();
    sends.control(&Control::Run(Box::default()));
    expected.push(Event::Control(Control::Run(Box::default())));
    let mut open: Vec<Send> = Vec::new();
    for _ in 0..5_000 {
        let mut records = Vec::new();
        if open.len() < 40 && random.bool() {
            let costs = random.bool().then(|| (0..random.usize(0..4)).map(|_| random.u64(..)).collect());
            let send = Send {
                id: sends.count(),
                row: if random.bool() { random.u64(..) } else { random.u64(..1000) },
                number: random.u32(1..4),
                mates: mates(&mut random),
                at: Micros(random.u64(..1 << 50)),
                costs,
                partition: random.u32(..3),
            };
            sends.send(send.rows(), send.at, send.costs.as_deref(), send.partition);
            expected.push(Event::Send(send.clone()));
            open.push(send);
        } else if !open.is_empty() {
            sends.take(&mut bytes);
            let send = open.swap_remove(random.usize(..open.len()));
            let answered = random.u64(..1 << 50);
            let end = End {
                id: send.id,
                answered: Micros(answered),
                ended: Micros(answered + random.u64(..1 << 40)),
                outcome: [
                    Outcome::Answered(200),
                    Outcome::Answered(random.u16(100..1000)),
                    Outcome::NotSent,
                    Outcome::Unknown,
                    Outcome::TimedOut,
                ][random.usize(..5)],
                costs: random.bool().then(|| [random.u64(..)].into()),
            };
            let kind = random.bool().then(|| FailureKind::from_code(random.u8(..9)).unwrap());
            let status = if kind.is_some() { random.u16(..600) } else { 0 };
            let file = OutputFile::of(kind);
            let commit = Commit { row: send.row, file, length: random.u64(..), kind, status };
            let commit = random.bool().then_some(commit);
            over.put(Some(&end), commit.as_ref(), &mut records);
            expected.push(Event::End(send, end));
            expected.extend(commit.map(Event::Commit));
        } else {
            let commit = result(random.u64(..), random.u64(..));
            over.put(None, Some(&commit), &mut records);
            sends.take(&mut bytes);
            expected.push(Event::Commit(commit));
        }
        EndsEncoder::block(&records, &mut bytes);
    }
    sends.take(&mut bytes);
    open.sort_by_key(|send| send.id);
    expected.extend(open.into_iter().map(Event::Lost));
    assert_eq!(events(&bytes).unwrap(), expected);
}

#[test]
fn a_torn_end_is_where_the_log_ends() {
    let mut log = Written::new();
    for row in 0..20 {
        let id = log.send(row, row * 1_000);
        log.end(id, row * 1_000 + 60_000, Some(result(row, 300)));
    }
    for cut in MAGIC.len()..=log.bytes.len() {
        let whole = log.ends.iter().filter(|end| **end <= cut).count();
        let mut reader = Reader::new(Cursor::new(&log.bytes[..cut]), Path::new("log")).unwrap().unwrap();
        while reader.next_event().unwrap().is_some() {}
        let end = log.ends[..whole].last().copied().unwrap_or(MAGIC.len());
        assert_eq!(reader.length(), end as u64, "cut at {cut}");
    }
    for cut in 0..MAGIC.len() {
        assert_eq!(events(&log.bytes[..cut]).unwrap(), []);
    }
}

#[test]
fn a_broken_block_with_others_behind_it_is_damage() {
    let mut log = Written::new();
    for row in 0..20 {
        log.send(row, row);
    }
    for (i, at) in log.ends.iter().enumerate().take(18) {
        let mut bytes = log.bytes.clone();
        bytes[at + 1] ^= 0x10; // in the checksum of the block that follows
        let error = events(&bytes).unwrap_err();
        assert!(matches!(error, LogError::Damaged { .. }), "block {i}: {error}");
    }
    assert!(matches!(events(b"something else than a log"), Err(LogError::NotALog { .. })));
}

#[test]
fn the_end_of_a_call_that_was_not_sent_is_damage() {
    let mut log = Written::new();
    let id = log.send(0, 0);
    log.end(id, 10, None);
    log.end(id, 20, None);
    assert!(matches!(events(&log.bytes), Err(LogError::Damaged { .. })));
}

#[test]
fn a_replay_knows_what_was_left_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = Written::new();
    let ids: Vec<u64> = (0..4).map(|row| log.send(row, 100 + row)).collect();
    log.end(ids[0], 200, Some(result(0, 70)));
    log.end(ids[1], 201, None); // to be sent again
    std::fs::write(&path, &log.bytes).unwrap();
    let replay = Replay::read(&path).unwrap().unwrap();
    assert_eq!(replay.done.succeeded.iter().collect::<Vec<_>>(), [0]);
    assert_eq!(replay.dangling.unknown.iter().collect::<Vec<_>>(), [2, 3]);
    assert_eq!([0, 1, 2, 3, 4].map(|row| replay.dangling.sends(row)), [0, 1, 1, 1, 0]);
    assert_eq!((replay.ends, replay.latest), ([70, 0, 0], Micros(206)));
    assert!(replay.in_flight && !replay.stopped);
    log.run();
    let id = log.send(2, 1_000);
    log.end(id, 1_100, Some(result(2, 70)));
    std::fs::write(&path, &log.bytes).unwrap();
    let replay = Replay::read(&path).unwrap().unwrap();
    assert_eq!(replay.dangling.unknown.iter().collect::<Vec<_>>(), [3]);
    assert!(!replay.in_flight && replay.length == log.bytes.len() as u64);
}

#[test]
fn an_attempt_takes_few_bytes() {
    for (between, most) in [(600_000, 24.0), (1_000, 20.0)] {
        let mut log = Written::new();
        let start = log.bytes.len();
        for row in 0..10_000u64 {
            let at = 1_000_000_000_000 + row * between;
            let id = log.send(row, at);
            log.end(id, at + 61_234 + row % 977, Some(result(row, 250)));
        }
        let each = (log.bytes.len() - start) as f64 / 10_000.0;
        assert!(each < most, "{each} bytes an attempt, one each {between} µs");
    }
}

/// A bit that tipped over anywhere but in the last block, in a length as well: nothing is taken for the
/// torn end while whole blocks follow.
#[test]
fn no_damage_passes_for_a_torn_end() {
    let mut written = Written::new();
    for row in 0..40 {
        let id = written.send(row, 100 * row);
        written.end(id, 100 * row + 50, Some(result(row, 200)));
    }
    let last = written.ends[written.ends.len() - 2];
    for at in MAGIC.len()..last {
        for bit in 0..8 {
            let mut bytes = written.bytes.clone();
            bytes[at] ^= 1 << bit;
            let read = events(&bytes);
            assert!(matches!(read, Err(LogError::Damaged { .. })), "bit {bit} of byte {at}: {read:?}");
        }
    }
    // A sector that a power cut has not written is where the log ends.
    let mut bytes = written.bytes.clone();
    bytes.splice(last..last, [0; 600]);
    let whole = events(&bytes).unwrap().into_iter().filter(|event| matches!(event, Event::Commit(_)));
    assert_eq!(whole.count(), 39);
}

#[test]
fn calls_that_hang_while_thousands_end() {
    let mut log = Written::new();
    let hang = [log.send(7, 1), log.send(8, 2)];
    for row in 100..30_000 {
        let id = log.send(row, row);
        log.end(id, row + 1, Some(result(row, row)));
    }
    log.end(hang[1], 40_000, None);
    log.end(log.sends.count() - 1, 40_000, None);
    // That one had ended before.
    assert!(matches!(events(&log.bytes), Err(LogError::Damaged { .. })));
    log.bytes.truncate(log.ends[log.ends.len() - 2]);
    let told = events(&log.bytes).unwrap();
    assert!(told.iter().any(|event| matches!(event, Event::End(send, _) if send.row == 8)));
    assert!(matches!(&told[..], [.., Event::Lost(send)] if (send.row, send.id) == (7, hang[0])));
    assert_eq!(told.iter().filter(|event| matches!(event, Event::Commit(_))).count(), 29_900);
}

#[test]
fn rows_of_a_call_are_lost_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let read = |log: &Written| {
        std::fs::write(&path, &log.bytes).unwrap();
        let dangling = Replay::read(&path).unwrap().unwrap().dangling;
        let calls: BTreeMap<u64, u64> = dangling.calls().iter().map(|(row, first)| (*row, *first)).collect();
        let sends: Vec<u32> = (0..9).map(|row| dangling.sends(row)).collect();
        (dangling.unknown.iter().collect::<Vec<_>>(), calls, sends)
    };
    let mut log = Written::new();
    let all_of = |rows: &[u64], number: u32| rows.iter().map(|row| (*row, number)).collect::<Vec<_>>();
    let done = log.send_all(all_of(&[0, 1, 2], 1), 10);
    log.end_with(done, 20, Outcome::Answered(200), &[result(0, 30), result(1, 31), result(2, 32)]);
    let refused = log.send_all(all_of(&[3, 4], 1), 21);
    log.end_with(refused, 22, Outcome::Answered(422), &[]);
    log.send_all(all_of(&[5, 6, 8], 1), 23);
    let together = BTreeMap::from([(5, 5), (6, 5), (8, 5)]);
    assert_eq!(read(&log), (vec![5, 6, 8], together, vec![0, 0, 0, 1, 1, 1, 1, 0, 1]));

    // Halves, one of them done; and the lost call again, which nobody has answered.
    log.run();
    let half = log.send_all(all_of(&[3], 2), 31);
    log.end_with(half, 32, Outcome::Answered(200), &[result(3, 30)]);
    let again = log.send_all(all_of(&[5, 6, 8], 2), 33);
    log.end_with(again, 34, Outcome::Unknown, &[]);
    let together = BTreeMap::from([(5, 5), (6, 5), (8, 5)]);
    assert_eq!(read(&log), (vec![5, 6, 8], together, vec![0, 0, 0, 0, 1, 2, 2, 0, 2]));

    // And once more, refused: they are bound to each other no more.
    let again = log.send_all(all_of(&[5, 6, 8], 3), 35);
    log.end_with(again, 36, Outcome::Answered(500), &[]);
    log.run();
    let half = log.send_all(all_of(&[5, 6], 4), 41);
    log.end_with(half, 42, Outcome::TimedOut, &[]);
    let (unknown, together, _) = read(&log);
    assert_eq!(unknown, [5, 6, 8], "of the third nobody knows since the second call");
    assert_eq!(together, BTreeMap::from([(5, 5), (6, 5)]));
}
