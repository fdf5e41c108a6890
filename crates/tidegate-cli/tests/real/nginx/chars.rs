//! The rows: Unicode's code points as Debian ships them, and the small server that knows them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

const FILE: &str = "/usr/share/unicode/UnicodeData.txt";

/// A line of the file: `0041;LATIN CAPITAL LETTER A;…`.
pub(crate) struct Char {
    pub(crate) code: String,
    pub(crate) name: String,
}

pub(crate) fn all() -> Vec<Char> {
    let text = std::fs::read_to_string(FILE)
        .unwrap_or_else(|e| panic!("{FILE}: {e}\nhint: ./test installs it (Debian: unicode-data)"));
    let chars = text.lines().map(|line| {
        let mut fields = line.split(';').map(str::to_owned);
        Char { code: fields.next().expect("a code"), name: fields.next().expect("a name") }
    });
    chars.collect()
}

pub(crate) fn csv(chars: &[Char]) -> String {
    // Names hold commas (`<CJK Ideograph, First>`), but neither quotes nor line ends.
    let rows = chars.iter().map(|char| format!("{},\"{}\"\n", char.code, char.name));
    std::iter::once("code,name\n".to_owned()).chain(rows).collect()
}

/// Answers `GET /char/0041` with the code and its name, for as long as the test runs.
pub(crate) fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let names: Arc<HashMap<_, _>> = Arc::new(all().into_iter().map(|c| (c.code, c.name)).collect());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let names = Arc::clone(&names);
            // nginx closes a connection when it likes; that is not the test's business.
            std::thread::spawn(move || answer_all(&stream, &names).ok());
        }
    });
    address
}

fn answer_all(mut stream: &TcpStream, names: &HashMap<String, String>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next() {
        let request = request?;
        let code = request.split(['/', ' ']).nth(3).unwrap_or_default();
        // The head ends with an empty line; a GET has no body.
        lines.by_ref().map_while(Result::ok).find(String::is_empty);
        let body = serde_json::json!({ "code": code, "name": names.get(code) }).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
