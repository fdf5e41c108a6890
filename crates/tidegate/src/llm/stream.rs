//! Answers that come as a stream of events, put together to what they would have been as a whole.
//!
//! The bytes are all there when this is done, and bounded like any body; so a small reader of the
//! event-stream format will do, and no crate that parses as bytes come in. A stream that ends before
//! it says so is no answer.

mod chat;
mod messages;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use self::chat::Chat;
use self::messages::Messages;
use crate::http::{CallError, CallFault, Sent};

/// The answer as a whole, if the call asked for a stream and that is what came; else as it is.
pub(crate) fn assembled(asked: &[u8], headers: &HeaderMap, body: Bytes) -> Result<Bytes, CallError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") || !asks_for_stream(asked) {
        return Ok(body);
    }
    match whole(&body) {
        Ok(Some(whole)) => Ok(whole.to_string().into()),
        Ok(None) => Ok(body),
        Err(fault) => Err(CallError { sent: Sent::Answered, fault }),
    }
}

fn asks_for_stream(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Asked {
        #[serde(default)]
        stream: Option<bool>,
    }
    serde_json::from_slice::<Asked>(body).is_ok_and(|asked| asked.stream == Some(true))
}

/// What the events come to; `None` if they are of no kind that is known here.
fn whole(body: &[u8]) -> Result<Option<Value>, CallFault> {
    let text = String::from_utf8_lossy(body);
    let (mut chat, mut messages) = (Chat::default(), Messages::default());
    let mut known = false;
    for data in Events::of(&text) {
        if data == "[DONE]" {
            return Ok(chat.whole());
        }
        let Ok(event) = serde_json::from_str::<Value>(&data) else { continue };
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
            return Err(CallFault::Protocol(format!("the stream ended with an error: {message}")));
        }
        let kind = event.get("type").and_then(Value::as_str).map(str::to_owned);
        match kind.as_deref() {
            // OpenAI's responses: the last event has all of it.
            Some("response.completed" | "response.incomplete" | "response.failed") => {
                return Ok(event.get("response").cloned());
            }
            Some("message_stop") => return Ok(messages.whole()),
            Some(kind) if kind.starts_with("response.") => known = true,
            Some(kind) => known |= messages.take(kind, event),
            None => known |= chat.take(event),
        }
    }
    if known { Err(CallFault::Truncated) } else { Ok(None) }
}

/// The data of the events of a stream (HTML standard, section 9.2); names and ids say nothing that the
/// data does not.
struct Events<'t> {
    lines: std::iter::Peekable<Lines<'t>>,
}

impl<'t> Events<'t> {
    fn of(text: &'t str) -> Self {
        Self { lines: Lines(text.strip_prefix('\u{feff}').unwrap_or(text)).peekable() }
    }
}

impl Iterator for Events<'_> {
    type Item = String;

    /// The next event with data. One that no blank line ends was cut short, and is none.
    fn next(&mut self) -> Option<String> {
        let mut data: Option<String> = None;
        loop {
            let line = self.lines.next()?;
            if line.is_empty() {
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            if field == "data" {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                }
                // Some end without a last blank line.
                if value == "[DONE]" && self.lines.peek().is_none() {
                    return data;
                }
            }
        }
    }
}

/// Lines that end with `\n`, `\r\n` or `\r`; what ends otherwise is the last.
struct Lines<'t>(&'t str);

impl<'t> Iterator for Lines<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        if self.0.is_empty() {
            return None;
        }
        let Some(end) = memchr::memchr2(b'\n', b'\r', self.0.as_bytes()) else {
            return Some(std::mem::take(&mut self.0));
        };
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
        Some(line)
    }
}

/// Appends a piece of text to a member that is text, or makes it one.
fn append(to: &mut Value, piece: &Value) {
    match (to, piece) {
        (Value::String(text), Value::String(piece)) => text.push_str(piece),
        (_, Value::Null) => {}
        (to, piece) => *to = piece.clone(),
    }
}

#[cfg(test)]
mod tests;
