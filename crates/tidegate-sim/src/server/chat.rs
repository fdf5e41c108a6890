//! Chat completions in the shape that most LLM providers share.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use fastrand::Rng;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::respond;

/// What completions are made of; each word passes for one token.
const WORDS: [&str; 8] = ["tide", "gate", "ebb", "flow", "lock", "basin", "quay", "moon"];

/// Where completions are asked for.
pub(super) const PATH: &str = "/v1/chat/completions";

/// Most words of an answer; what a prompt that sets no limit has to reckon with.
const MAX_WORDS: u64 = 256;

/// What a completion really cost; rides on its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct TotalTokens(pub(super) u64);

/// A request for a completion.
#[derive(Deserialize)]
pub(super) struct Prompt {
    model: Option<String>,
    messages: Vec<Message>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
}

#[derive(Deserialize, Default)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize, Hash)]
struct Message {
    #[serde(default)]
    content: Value,
}

impl Prompt {
    pub(super) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// An upper bound of what it costs, as providers reserve it: the prompt and the longest answer that it allows.
    pub(super) fn most_tokens(&self) -> u64 {
        self.tokens().saturating_add(self.max_completion_tokens.or(self.max_tokens).unwrap_or(MAX_WORDS))
    }

    fn tokens(&self) -> u64 {
        self.messages.iter().map(Message::characters).sum::<u64>().div_ceil(4)
    }
}

/// Answers a prompt: `prompt_tokens` is a quarter of its characters, rounded up; `completion_tokens` is between
/// 16 and 256 by seed and content, or what the prompt allows if that is less.
pub(super) fn complete(prompt: &serde_json::Result<Prompt>, seed: u64) -> Response<Body> {
    let prompt = match prompt {
        Ok(prompt) => prompt,
        Err(error) => return refuse(&error.to_string()),
    };
    let mut hasher = DefaultHasher::new();
    (seed, &prompt.messages).hash(&mut hasher);
    let hash = hasher.finish();

    let mut rng = Rng::with_seed(hash);
    let wanted = rng.u64(16..=MAX_WORDS);
    let allowed = prompt.max_completion_tokens.or(prompt.max_tokens).unwrap_or(u64::MAX);
    let completion_tokens = wanted.min(allowed);
    let words: Vec<_> = (0..completion_tokens).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
    let prompt_tokens = prompt.tokens();

    let around = json!({
        "id": format!("chatcmpl-{hash:016x}"),
        // The answer to a prompt is always the same, its date too.
        "created": 1_700_000_000,
        "model": prompt.model.as_deref().unwrap_or("sim"),
    });
    let reason = if completion_tokens < wanted { "length" } else { "stop" };
    let usage = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    });
    let mut response = if prompt.stream {
        let usage = prompt.stream_options.include_usage.then_some(usage);
        respond::events(stream(&around, &words, reason, usage))
    } else {
        let mut whole = around;
        whole["object"] = json!("chat.completion");
        whole["choices"] = json!([{
            "index": 0,
            "message": { "role": "assistant", "content": words.join(" ") },
            "finish_reason": reason,
        }]);
        whole["usage"] = usage;
        respond::json(&whole)
    };
    response.extensions_mut().insert(TotalTokens(prompt_tokens + completion_tokens));
    response
}

/// The same as chunks: a word each, why it ended, and the usage if it is asked for.
fn stream(around: &Value, words: &[&str], reason: &str, usage: Option<Value>) -> String {
    let chunk = |choices: Value| {
        let mut chunk = around.clone();
        chunk["object"] = json!("chat.completion.chunk");
        chunk["choices"] = choices;
        chunk
    };
    let delta = |delta: Value, reason: Option<&str>| {
        chunk(json!([{ "index": 0, "delta": delta, "finish_reason": reason }]))
    };
    let mut chunks = vec![delta(json!({ "role": "assistant", "content": "" }), None)];
    for (i, word) in words.iter().enumerate() {
        let space = if i == 0 { "" } else { " " };
        chunks.push(delta(json!({ "content": format!("{space}{word}") }), None));
    }
    chunks.push(delta(json!({}), Some(reason)));
    chunks.extend(usage.map(|usage| {
        let mut last = chunk(json!([]));
        last["usage"] = usage;
        last
    }));
    let mut text = String::new();
    for chunk in chunks {
        let _ = write!(text, "data: {chunk}\n\n"); // a String takes everything
    }
    text + "data: [DONE]\n\n"
}

impl Message {
    /// Characters of a plain text, or of all text parts.
    fn characters(&self) -> u64 {
        let texts = match &self.content {
            Value::String(text) => return text.chars().count() as u64,
            Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()),
            _ => return 0,
        };
        texts.map(|text| text.chars().count() as u64).sum()
    }
}

fn refuse(message: &str) -> Response<Body> {
    respond::error(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}
