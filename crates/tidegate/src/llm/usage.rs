//! What an answer says that it took.

use serde::Deserialize;

use super::{TokenKind, Tokens};

/// Tokens of an answered call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// All of the prompt: those from a cache and those written to one as well.
    pub(crate) input: u64,
    /// Of these, read from a cache.
    pub(crate) cached: u64,
    /// Of these, written to a cache.
    pub(crate) written: u64,
    pub(crate) output: u64,
    /// As the answer has it, or input and output together.
    pub(crate) total: u64,
}

/// `usage`, by the names of all providers.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Said {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    /// Anthropic: besides `input_tokens`.
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    /// `DeepSeek`: part of `prompt_tokens`.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Usage {
    /// Reads the `usage` of an answer; `None` if there is none.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Answer {
            usage: Option<Said>,
        }
        let said = serde_json::from_slice::<Answer>(body).ok()?.usage?;
        let plain = said.prompt_tokens.or(said.input_tokens)?;
        let beside = said.cache_read_input_tokens.unwrap_or(0);
        let written = said.cache_creation_input_tokens.unwrap_or(0);
        let details = said.prompt_tokens_details.or(said.input_tokens_details);
        let within = details.and_then(|details| details.cached_tokens).or(said.prompt_cache_hit_tokens);
        let input = plain.saturating_add(beside).saturating_add(written);
        let output = said.completion_tokens.or(said.output_tokens).unwrap_or(0);
        let sum = input.saturating_add(output);
        Some(Self {
            input,
            cached: beside.saturating_add(within.unwrap_or(0)).min(input),
            written,
            output,
            // Some count there what stands nowhere else, such as thoughts.
            total: said.total_tokens.unwrap_or(0).max(sum),
        })
    }

    /// What a limit on these tokens counts.
    pub(crate) fn of(&self, kind: TokenKind) -> u64 {
        match kind {
            TokenKind::Total => self.total,
            kind => kind.of(Tokens { input: self.input, output: self.output }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(usage: &str) -> Option<Usage> {
        Usage::read(format!(r#"{{"id":"x","usage":{usage},"choices":[]}}"#).as_bytes())
    }

    #[test]
    fn usage_of_each_provider() {
        let usage = |input, cached, written, output, total| Usage { input, cached, written, output, total };
        for (said, is) in [
            (r#"{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}"#, usage(9, 0, 0, 3, 12)),
            (
                r#"{"prompt_tokens":9,"completion_tokens":3,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}"#,
                usage(9, 4, 0, 3, 15),
            ),
            (r#"{"prompt_tokens":5,"total_tokens":5}"#, usage(5, 0, 0, 0, 5)),
            (
                r#"{"input_tokens":7,"output_tokens":2,"input_tokens_details":{"cached_tokens":6},"total_tokens":9}"#,
                usage(7, 6, 0, 2, 9),
            ),
            (
                r#"{"input_tokens":7,"cache_creation_input_tokens":10,"cache_read_input_tokens":20,"output_tokens":2}"#,
                usage(37, 20, 10, 2, 39),
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":8,"prompt_tokens_details":null}"#,
                usage(9, 8, 0, 1, 10),
            ),
        ] {
            assert_eq!(read(said), Some(is), "{said}");
        }
    }

    #[test]
    fn without_usage_nothing_is_known() {
        for said in ["null", "{}", r#"{"prompt_tokens":-1}"#, "[]"] {
            assert_eq!(read(said), None, "{said}");
        }
        assert_eq!(Usage::read(b"<html>"), None);
    }
}
