//! A provider that writes down each call, answers as it is told, and has a strict limit.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// A call that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// Last part of its path.
    pub(crate) row: String,
    /// Its `Idempotency-Key`.
    pub(crate) key: Option<String>,
    /// What it was answered.
    pub(crate) status: u16,
}

/// Tells the status by the row and how often it was answered before.
type Answers = dyn Fn(&str, usize) -> u16 + Send + Sync;

/// In a thread of the test; it ends with the test's process.
pub(crate) struct Recorder {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    calls: Mutex<Vec<Call>>,
    accepted: Mutex<VecDeque<Instant>>,
    limit: (usize, Duration),
    service: Duration,
    answers: Box<Answers>,
}

/// Answers 0 by closing the connection.
pub(crate) const CLOSED: u16 = 0;

impl Recorder {
    /// At most `amount` calls in any window of so many milliseconds; each takes a while to answer.
    pub(crate) fn start(
        (amount, ms): (usize, u64),
        service_ms: u64,
        answers: impl Fn(&str, usize) -> u16 + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            calls: Mutex::default(),
            accepted: Mutex::default(),
            limit: (amount, Duration::from_millis(ms)),
            service: Duration::from_millis(service_ms),
            answers: Box::new(answers),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(&stream.unwrap()));
            }
        });
        Self { url, shared }
    }

    /// All calls so far, in the order in which they arrived.
    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// Calls of a row.
    pub(crate) fn calls_of(&self, row: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.row == row).collect()
    }

    /// How often each row was answered 200, beyond the first time.
    pub(crate) fn served_again(&self) -> u64 {
        let served: Vec<Call> = self.calls().into_iter().filter(|call| call.status == 200).collect();
        let mut rows: Vec<&str> = served.iter().map(|call| call.row.as_str()).collect();
        rows.sort_unstable();
        rows.dedup();
        (served.len() - rows.len()) as u64
    }

    pub(crate) fn rejected(&self) -> usize {
        self.calls().iter().filter(|call| call.status == 429).count()
    }
}

impl Shared {
    /// One connection, to its end.
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut lines = BufReader::new(stream);
        loop {
            let (row, key) = read(&mut lines)?;
            let status = self.judge(row, key);
            thread_sleep(self.service);
            if status == CLOSED {
                return None;
            }
            let body = r#"{"good":true}"#;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            (&mut &*stream).write_all(answer.as_bytes()).ok()?;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the provider's own clock")]
    fn judge(&self, row: String, key: Option<String>) -> u16 {
        let mut calls = lock(&self.calls);
        let (amount, window) = self.limit;
        let mut accepted = lock(&self.accepted);
        let now = Instant::now();
        accepted.retain(|at| now.duration_since(*at) < window);
        let status = if accepted.len() >= amount {
            429
        } else {
            accepted.push_back(now);
            let before = calls.iter().filter(|call| call.row == row && call.status != 429).count();
            (self.answers)(&row, before)
        };
        calls.push(Call { row, key, status });
        status
    }
}

/// Reads a request: the row and the key.
fn read(lines: &mut BufReader<&TcpStream>) -> Option<(String, Option<String>)> {
    let mut line = || {
        let mut line = String::new();
        let read = lines.read_line(&mut line).ok()?;
        (read > 0 && line.ends_with('\n')).then(|| line.trim_end().to_owned())
    };
    let target = line()?.split(' ').nth(1)?.to_owned();
    let (mut key, mut length) = (None, 0);
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some((target.rsplit('/').next()?.to_owned(), key))
}

#[expect(clippy::disallowed_methods, reason = "the provider takes its time")]
fn thread_sleep(time: Duration) {
    thread::sleep(time);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
