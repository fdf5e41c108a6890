//! A provider that answers each call as a test tells it, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A call that arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) target: String,
    /// The value of `Authorization`.
    pub(crate) key: String,
    pub(crate) idempotency_key: String,
    pub(crate) body: String,
}

/// Status, headers (whole lines) and body of an answer.
pub(crate) struct Told(pub(crate) u16, pub(crate) String, pub(crate) String);

/// In place of a status: the connection is closed, and there is no answer.
pub(crate) const HANGS_UP: u16 = 0;
/// There is no answer, and the connection stays.
pub(crate) const HANGS: u16 = 1;

/// Told of all calls so far, the present one last.
type Answers = dyn FnMut(&[Asked]) -> Told + Send;

/// In a thread; it ends with the test's process.
pub(crate) struct Scripted {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    pub(crate) fn start(answers: impl FnMut(&[Asked]) -> Told + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Mutex<Box<Answers>>> = Arc::new(Mutex::new(Box::new(answers)));
        let all = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (all, answers) = (Arc::clone(&all), Arc::clone(&answers));
                thread::spawn(move || serve(&stream.unwrap(), &all, &answers));
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, all: &Mutex<Vec<Asked>>, answers: &Mutex<Box<Answers>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut lines = BufReader::new(stream);
    loop {
        let asked = read(&mut lines)?;
        let Told(status, headers, body) = {
            let mut all = all.lock().unwrap();
            all.push(asked);
            (answers.lock().unwrap())(&all)
        };
        match status {
            HANGS_UP => return None,
            // Until the caller gives up.
            HANGS => return lines.fill_buf().ok().map(drop),
            _ => {}
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        (&mut &*stream).write_all(answer.as_bytes()).ok()?;
    }
}

fn read(lines: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut line = String::new();
    lines.read_line(&mut line).ok().filter(|read| *read > 0)?;
    line.split(' ').nth(1)?.clone_into(&mut asked.target);
    let mut length = 0;
    loop {
        line.clear();
        lines.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut asked.key),
            "idempotency-key" => value.clone_into(&mut asked.idempotency_key),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}
