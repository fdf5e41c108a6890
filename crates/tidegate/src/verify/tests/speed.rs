//! Ten million attempts.

#![expect(clippy::print_stderr, reason = "figures are what it is for")]

use std::fs::File;
use std::io::{BufWriter, Write};

use tempfile::TempDir;

use super::script::{MS, any, limit, run};
use crate::log::{Control, End, EndsEncoder, MAGIC, Micros, Outcome, SendsEncoder, Window};
use crate::verify::verify;

/// Writes a log of so many attempts: 10,000 a second, answered after 40 to 120 ms.
fn write(path: &std::path::Path, attempts: u64) {
    let limits = [
        any(12_000, 1_000 * MS),
        limit(100, Window::Bucket { per_us: 10 * MS, capacity: 2_000, step_us: 0 }),
        limit(12_000, Window::Counter { per_us: 1_000 * MS }),
        limit(2_000, Window::Concurrency { linger_us: 5 * MS }),
    ];
    let mut out = BufWriter::new(File::create(path).unwrap());
    let (mut sends, mut ends) = (SendsEncoder::default(), EndsEncoder::default());
    let mut rng = fastrand::Rng::with_seed(0);
    let mut bytes = MAGIC.to_vec();
    sends.control(&Control::Run(Box::new(run(0, &limits))));
    let mut under_way: std::collections::BinaryHeap<std::cmp::Reverse<(u64, u64)>> =
        std::collections::BinaryHeap::default();
    let mut records = Vec::new();
    for row in 0..attempts {
        let at = row * 100;
        let id = sends.send([(row, 1)], Micros(at), None, 0);
        under_way.push(std::cmp::Reverse((at + rng.u64(40..120) * MS, id)));
        if row % 100 == 99 || row + 1 == attempts {
            sends.take(&mut bytes);
            let now = if row + 1 == attempts { u64::MAX } else { at };
            while let Some(std::cmp::Reverse((over, id))) = under_way.peek().copied()
                && over < now
            {
                under_way.pop();
                let (answered, outcome) = (Micros(over), Outcome::Answered(200));
                let end = End { id, answered, ended: Micros(over + 50), outcome, costs: None };
                ends.put(Some(&end), None, &mut records);
            }
            EndsEncoder::block(&records, &mut bytes);
            records.clear();
            out.write_all(&bytes).unwrap();
            bytes.clear();
        }
    }
    out.flush().unwrap();
}

/// Kilobytes of `field` in this process's status, where the system has that.
fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|line| line.starts_with(field))?.split_whitespace().nth(1)?.parse().ok()
}

fn check(attempts: u64) -> Option<u64> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log");
    write(&path, attempts);
    let size = std::fs::metadata(&path).unwrap().len();
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is asked")]
    let started = std::time::Instant::now();
    let found = verify(&[path]).unwrap();
    let peak = memory("VmHWM:");
    let worst: Vec<_> = found.checks.iter().map(|check| (check.worst, check.allows)).collect();
    eprintln!("{attempts} attempts, {size} bytes: {:?}, peak {peak:?} KiB, {worst:?}", started.elapsed());
    assert!(found.ok, "{found:#?}");
    assert_eq!(found.logs[0].attempts, attempts);
    peak
}

#[test]
fn a_log_is_read_as_a_stream() {
    check(200_000);
}

#[test]
#[ignore = "ten million attempts take a while to write"]
fn ten_million_attempts_in_bounded_memory() {
    let peak = check(10_000_000);
    assert!(peak.is_none_or(|peak| peak < 256 << 10), "{peak:?} KiB");
}
