//! A provider on loopback, in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Prints its URL when it listens, counts at `/_stats`, and goes with its test.
pub(crate) struct Provider {
    process: Child,
    pub(crate) url: String,
}

impl Provider {
    /// Runs `command`, whose first line is the URL.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        // A pipe that ends with this process, for those that end with their stdin.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|e| panic!("{e}: {command:?}"));
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "no URL, but {url:?}: {command:?}");
        Self { process, url: url.trim_end().to_owned() }
    }

    pub(crate) fn stats(&self) -> Value {
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        // HTTP/1.0: the body is what comes until the end, in no chunks.
        write!(stream, "GET /_stats HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
