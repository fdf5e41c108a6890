//! A client without any cleverness: blocking sockets, one request after the other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tidegate_sim::{Faults, SimConfig, SimError, SimHandle, serve_blocking};

/// Ends a test that would otherwise hang; nothing waits this long when all is well.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running provider; stops when dropped.
pub(crate) struct Provider {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: SimHandle,
    thread: Option<JoinHandle<Result<(), SimError>>>,
}

/// A connection that is kept alive.
pub(crate) struct Client(pub(crate) TcpStream);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the connection ended before the announced length had come.
    pub(crate) cut: bool,
}

pub(crate) fn config(limits: &[&str], faults: &[&str]) -> SimConfig {
    SimConfig {
        limits: limits.iter().map(|limit| limit.parse().unwrap()).collect(),
        faults: Faults::new(faults.iter().map(|fault| fault.parse().unwrap())).unwrap(),
        ..SimConfig::default()
    }
}

impl Provider {
    pub(crate) fn start(config: SimConfig) -> Self {
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            serve_blocking(config, |addr, handle| ready.send((addr, handle)).unwrap())
        });
        let (addr, handle) = started.recv_timeout(DEADLINE).unwrap();
        Self { addr, handle, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client(stream)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.connect().get(target)
    }

    /// What `/_stats` says.
    pub(crate) fn stats(&self) -> Value {
        self.get("/_stats").json()
    }

    /// Until this number in `/_stats` is that; the deadline ends it if it never is.
    pub(crate) fn wait_for(&self, pointer: &str, number: u64) {
        let mut client = self.connect();
        for _ in 0..100_000 {
            if client.get("/_stats").json().pointer(&format!("/{pointer}")) == Some(&Value::from(number)) {
                return;
            }
        }
        panic!("{pointer} is never {number}: {:?}", self.handle.stats());
    }

    pub(crate) fn stop(mut self) -> Result<(), SimError> {
        self.handle.shutdown();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Client {
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.call("GET", target, "", b"")
    }

    pub(crate) fn post(&mut self, target: &str, body: &str) -> Answer {
        self.call("POST", target, "", body.as_bytes())
    }

    pub(crate) fn call(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        self.send(method, target, headers, body);
        self.answer(method == "HEAD").unwrap()
    }

    pub(crate) fn send(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nhost: sim\r\n{headers}content-length: {length}\r\n\r\n");
        self.0.write_all(head.as_bytes()).unwrap();
        // A provider that refuses a large body may close while it is being sent.
        let _ = self.0.write_all(body);
    }

    pub(crate) fn answer(&mut self, without_body: bool) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.0.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new(), cut: false };
        if !without_body {
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            (&mut self.0).take(length).read_to_end(&mut answer.body)?;
            answer.cut = (answer.body.len() as u64) < length;
        }
        Ok(answer)
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
