//! The most tokens that a call can take, by its body alone: no vocabulary is needed.
//!
//! *Input.* Tokens of a byte-level BPE (`OpenAI`'s tiktoken, Llama 3, `DeepSeek`, Qwen and others) are disjoint
//! pieces of the UTF-8 text, of one byte at least: a text of n bytes has n tokens at most. What
//! providers put around messages and tools is added as a constant.
//!
//! *Output.* What the body allows, for each of the answers that it asks for.

use serde_json::{Map, Value};

/// What stands around each message. `OpenAI`'s chat format has 3 or 4 tokens (their cookbook, "How to count
/// tokens with tiktoken"), Llama 3's 5; a few more do no harm.
const PER_MESSAGE: u64 = 8;
/// What begins a request and primes its answer: 3 at `OpenAI`, about 25 where a template tells the date.
const PER_REQUEST: u64 = 32;
/// What teaches a model to use tools: up to 530 tokens by Anthropic's table ("Tool use", pricing).
const TOOLS: u64 = 600;
/// Members of a body that no model reads, or that are counted otherwise.
const NOT_READ: &str = "model messages input metadata user service_tier store stream stream_options include \
    prompt_cache_key prompt_cache_retention safety_identifier truncation modalities reasoning_effort verbosity \
    encoding_format seed";
/// Members that say how long an answer may be.
const MOST: [&str; 4] = ["max_completion_tokens", "max_output_tokens", "max_tokens", "max_tokens_to_sample"];
/// Endpoints that answer without tokens.
const SILENT: [&str; 3] = ["/embeddings", "/moderations", "/rerank"];
/// How the types of parts begin that are not text.
const MEDIA: [&str; 8] =
    ["image", "input_image", "audio", "input_audio", "video", "file", "input_file", "document"];

/// Tokens of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// Which tokens a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Input and output together.
    Total,
    /// Those of the prompt.
    Input,
    /// Those of the answer.
    Output,
}

impl TokenKind {
    /// What a limit with this unit counts.
    pub fn of_unit(unit: &str) -> Option<Self> {
        match unit {
            "tokens" => Some(Self::Total),
            "input_tokens" => Some(Self::Input),
            "output_tokens" => Some(Self::Output),
            _ => None,
        }
    }

    /// The unit of such a limit.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Total => "tokens",
            Self::Input => "input_tokens",
            Self::Output => "output_tokens",
        }
    }

    pub(crate) fn of(self, tokens: Tokens) -> u64 {
        match self {
            Self::Total => tokens.input.saturating_add(tokens.output),
            Self::Input => tokens.input,
            Self::Output => tokens.output,
        }
    }
}

/// What is declared of tokens beyond what bodies say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSpec {
    /// The most that an answer takes whose call sets no limit.
    pub max_output: Option<u64>,
    /// The most that one image, audio or file takes.
    pub media: Option<u64>,
    /// What answers really take is learnt, and so much is reserved.
    pub learn: bool,
}

/// Why nobody can say how many tokens a call takes at most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("its tokens cannot be counted: the body is not a JSON object")]
    NotAnObject,
    #[error(
        "nothing bounds the tokens of its answer; hint: set max_tokens in the body, or say --max-output-tokens N \
         (which is only reckoned with, not sent)"
    )]
    Endless,
    #[error(
        "nothing bounds the tokens of its part of type `{0}`; hint: say `media_tokens` in [quota], the most that \
         one image, audio or file takes"
    )]
    Media(String),
    #[error(
        "nothing bounds its tokens: `{0}` brings text that is not in the body; hint: declare the limit by \
         [[quota.limit]] with a `cost` of your own"
    )]
    Elsewhere(String),
}

impl TokenSpec {
    /// The most tokens that a call of `path` with this body takes.
    pub(crate) fn bound(&self, path: &str, body: &[u8]) -> Result<Tokens, TokenError> {
        if body.is_empty() {
            return Ok(Tokens::default());
        }
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            return Err(TokenError::NotAnObject);
        };
        Ok(Tokens { input: self.input(&body)?, output: self.output(path, &body)? })
    }

    fn input(&self, body: &Map<String, Value>) -> Result<u64, TokenError> {
        let mut sum = PER_REQUEST;
        for name in ["previous_response_id", "conversation"] {
            if body.get(name).is_some_and(|value| !value.is_null()) {
                return Err(TokenError::Elsewhere(name.to_owned()));
            }
        }
        if body.get("prompt").is_some_and(Value::is_object) {
            return Err(TokenError::Elsewhere("prompt".to_owned())); // one that the provider keeps
        }
        for name in ["messages", "input"] {
            match body.get(name) {
                Some(Value::Array(items)) => {
                    for item in items {
                        sum = sum.saturating_add(PER_MESSAGE).saturating_add(self.text(item)?);
                    }
                }
                Some(value) => sum = sum.saturating_add(self.text(value)?),
                None => {}
            }
        }
        for (name, value) in body {
            // Numbers and flags are settings; a number in an array may be a token.
            if NOT_READ.split_ascii_whitespace().any(|known| known == name)
                || !(value.is_string() || value.is_array() || value.is_object())
            {
                continue;
            }
            sum = sum.saturating_add(self.text(value)?);
        }
        if let Some(Value::Array(tools)) = body.get("tools").or(body.get("functions"))
            && !tools.is_empty()
        {
            sum = sum.saturating_add(TOOLS);
            for tool in tools {
                let kind = tool.get("type").and_then(Value::as_str).unwrap_or("function");
                if !matches!(kind, "function" | "custom") {
                    return Err(TokenError::Elsewhere(kind.to_owned())); // the provider runs it
                }
            }
        }
        Ok(sum)
    }

    /// Bytes of what a model may read of a value, and what media in it take.
    fn text(&self, value: &Value) -> Result<u64, TokenError> {
        match value {
            Value::String(text) => Ok(text.len() as u64),
            Value::Array(items) => {
                items.iter().try_fold(0_u64, |sum, item| Ok(sum.saturating_add(self.text(item)? + 2)))
            }
            Value::Object(members) => {
                let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
                if is_media(kind, members) {
                    return self.media.ok_or_else(|| TokenError::Media(kind.to_owned()));
                }
                members.iter().try_fold(0_u64, |sum, (name, value)| {
                    // A name, its quotes, and what stands around the value: where this is shown as JSON.
                    let around = if matches!(name.as_str(), "role" | "content" | "text") {
                        0
                    } else {
                        name.len() as u64 + 6
                    };
                    Ok(sum.saturating_add(around).saturating_add(self.text(value)?))
                })
            }
            number_or_flag => Ok(number_or_flag.to_string().len() as u64),
        }
    }

    fn output(&self, path: &str, body: &Map<String, Value>) -> Result<u64, TokenError> {
        if SILENT.iter().any(|silent| path.ends_with(silent)) {
            return Ok(0);
        }
        let number = |name: &&str| body.get(*name).and_then(Value::as_u64);
        let most = MOST.iter().filter_map(number).max().or(self.max_output).ok_or(TokenError::Endless)?;
        let answers = ["n", "best_of"].iter().filter_map(number).max().unwrap_or(1).max(1);
        Ok(most.saturating_mul(answers))
    }
}

/// Whether a part is something else than text. A document may be text.
fn is_media(kind: &str, part: &Map<String, Value>) -> bool {
    let source = part.get("source").and_then(|source| source.get("type")).and_then(Value::as_str);
    MEDIA.iter().any(|media| kind.starts_with(media)) && !matches!(source, Some("text" | "content"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn bound(spec: &TokenSpec, path: &str, body: &Value) -> Result<Tokens, TokenError> {
        spec.bound(path, body.to_string().as_bytes())
    }

    fn plain(body: &Value) -> Tokens {
        bound(&TokenSpec::default(), CHAT, body).unwrap()
    }

    #[test]
    fn a_text_has_no_more_tokens_than_bytes() {
        let body = json!({
            "model": "m", "temperature": 0.5, "max_tokens": 100,
            "messages": [{ "role": "user", "content": "é\n\"" }],
        });
        let role = "user".len() as u64;
        assert_eq!(plain(&body), Tokens { input: PER_REQUEST + PER_MESSAGE + role + 4, output: 100 });
    }

    #[test]
    fn nothing_that_a_model_reads_is_left_out() {
        let base = json!({ "max_tokens": 1, "messages": [{ "role": "user", "content": "" }] });
        let least = plain(&base).input;
        let long = "x".repeat(1_000);
        for (name, value) in [
            ("system", json!(long)),
            ("system", json!([{ "type": "text", "text": long }])),
            ("instructions", json!(long)),
            ("prompt", json!(long)),
            ("input", json!(long)),
            ("input", json!([{ "role": "user", "content": [{ "type": "input_text", "text": long }] }])),
            ("stop", json!([long])),
            ("tools", json!([{ "type": "function", "function": { "name": long } }])),
            ("functions", json!([{ "name": long }])),
            (
                "response_format",
                json!({ "type": "json_schema", "json_schema": { "schema": { long.clone(): 1 } } }),
            ),
            ("something_new", json!({ "deep": [{ "deeper": long }] })),
            (
                "messages",
                json!([{ "role": "assistant", "tool_calls": [{ "function": { "arguments": long } }] }]),
            ),
            (
                "messages",
                json!([{ "role": "user", "content": [{ "type": "tool_result", "content": long }] }]),
            ),
            ("messages", json!([{ "role": "user", "content": [{ "type": "text", "text": long }] }])),
        ] {
            let mut body = base.clone();
            body[name] = value;
            assert!(plain(&body).input >= least.min(40) + 1_000, "{name}");
        }
    }

    #[test]
    fn answers_are_bounded_by_what_the_body_allows() {
        let mut body = json!({ "messages": [], "max_completion_tokens": 50, "max_tokens": 20, "n": 3 });
        assert_eq!(plain(&body).output, 150);
        body = json!({ "messages": [] });
        assert_eq!(bound(&TokenSpec::default(), CHAT, &body), Err(TokenError::Endless));
        let spec = TokenSpec { max_output: Some(7), ..TokenSpec::default() };
        assert_eq!(bound(&spec, CHAT, &body).unwrap().output, 7);
        let embed = json!({ "input": ["ab", "cde"] });
        let tokens = bound(&TokenSpec::default(), "/v1/embeddings", &embed).unwrap();
        assert_eq!(tokens.output, 0);
        assert!(tokens.input >= 5);
        // Texts that are tokens already.
        let ids = json!({ "input": [1, 2, 3] });
        assert!(bound(&TokenSpec::default(), "/v1/embeddings", &ids).unwrap().input >= 3);
    }

    #[test]
    fn what_has_no_bound_is_said() {
        let image = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:x" } }] }]);
        let body = json!({ "max_tokens": 1, "messages": image });
        assert_eq!(bound(&TokenSpec::default(), CHAT, &body), Err(TokenError::Media("image_url".into())));
        let spec = TokenSpec { media: Some(5_000), ..TokenSpec::default() };
        assert!((5_000..5_100).contains(&bound(&spec, CHAT, &body).unwrap().input));
        for elsewhere in [
            json!({ "max_output_tokens": 1, "input": "a", "previous_response_id": "resp_1" }),
            json!({ "max_output_tokens": 1, "prompt": { "id": "pmpt_1" } }),
            json!({ "max_output_tokens": 1, "input": "a", "tools": [{ "type": "web_search" }] }),
        ] {
            let error = bound(&TokenSpec::default(), "/v1/responses", &elsewhere);
            assert!(matches!(error, Err(TokenError::Elsewhere(_))), "{elsewhere}");
        }
        assert_eq!(TokenSpec::default().bound(CHAT, b"[]"), Err(TokenError::NotAnObject));
        assert_eq!(TokenSpec::default().bound("/v1/models", b""), Ok(Tokens::default()));
    }
}
