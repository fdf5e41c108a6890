//! Presets: what is the same in every job for a provider. Data only; whatever a job says itself goes first.

use crate::job::{JobError, JobFile};

/// A provider of LLMs.
#[derive(Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name in jobs.
    pub name: &'static str,
    /// What paths are relative to.
    pub base: &'static str,
    /// Where chats are answered, for rows that bring no path.
    pub chat: &'static str,
    /// The header that carries the key, and what stands before it.
    pub key: (&'static str, &'static str),
    /// The environment variable that holds the key.
    pub key_env: &'static str,
    /// What else it wants to be sent.
    pub headers: &'static [(&'static str, &'static str)],
    /// How its limits per minute are enforced, and so kept.
    pub enforces: &'static str,
    /// It counts what a call has taken in the end, not what it could have taken.
    pub refunds: bool,
    /// The page that says so.
    pub source: &'static str,
    /// When that was written down.
    pub noted: &'static str,
}

/// What is said of those that document no more than numbers per minute.
const PER_MINUTE: &str = "so much per minute, and not how: kept in every window of a minute, evenly paced";
/// Time for a call: answers of thousands of tokens take minutes, and both SDKs wait for ten.
const TIMEOUT: &str = "600s";
/// An answer that is bought twice costs a little money, and does no harm.
const UNKNOWN: &str = "resend";
const BEARER: (&str, &str) = ("Authorization", "Bearer ");

const PROVIDERS: [Provider; 7] = [
    Provider {
        name: "openai",
        base: "https://api.openai.com/v1",
        chat: "/chat/completions",
        key: BEARER,
        key_env: "OPENAI_API_KEY",
        headers: &[],
        enforces: "refills all the time and counts max_tokens, not what an answer took: kept in every window of a \
            minute, evenly paced",
        refunds: false,
        source: "https://platform.openai.com/docs/guides/rate-limits",
        noted: "2026-11",
    },
    Provider {
        name: "anthropic",
        base: "https://api.anthropic.com",
        chat: "/v1/messages",
        key: ("x-api-key", ""),
        key_env: "ANTHROPIC_API_KEY",
        headers: &[("anthropic-version", "2023-06-01")],
        enforces: "token buckets for requests, input and output tokens, which count what a call takes: kept in every \
            window of a minute, evenly paced",
        refunds: true,
        source: "https://docs.anthropic.com/en/api/rate-limits",
        noted: "2026-11",
    },
    Provider {
        name: "groq",
        base: "https://api.groq.com/openai/v1",
        chat: "/chat/completions",
        key: BEARER,
        key_env: "GROQ_API_KEY",
        headers: &[],
        enforces: PER_MINUTE,
        refunds: false,
        source: "https://console.groq.com/docs/rate-limits",
        noted: "2026-11",
    },
    Provider {
        name: "mistral",
        base: "https://api.mistral.ai/v1",
        chat: "/chat/completions",
        key: BEARER,
        key_env: "MISTRAL_API_KEY",
        headers: &[],
        enforces: PER_MINUTE,
        refunds: false,
        source: "https://docs.mistral.ai/api",
        noted: "2026-11",
    },
    Provider {
        name: "deepseek",
        base: "https://api.deepseek.com/v1",
        chat: "/chat/completions",
        key: BEARER,
        key_env: "DEEPSEEK_API_KEY",
        headers: &[],
        enforces: "no fixed numbers: declare what you mean to use",
        refunds: false,
        source: "https://api-docs.deepseek.com",
        noted: "2026-11",
    },
    Provider {
        name: "together",
        base: "https://api.together.xyz/v1",
        chat: "/chat/completions",
        key: BEARER,
        key_env: "TOGETHER_API_KEY",
        headers: &[],
        enforces: PER_MINUTE,
        refunds: false,
        source: "https://docs.together.ai/docs/openai-api-compatibility",
        noted: "2026-11",
    },
    Provider {
        name: "openrouter",
        base: "https://openrouter.ai/api/v1",
        chat: "/chat/completions",
        key: BEARER,
        key_env: "OPENROUTER_API_KEY",
        headers: &[],
        enforces: PER_MINUTE,
        refunds: false,
        source: "https://openrouter.ai/docs",
        noted: "2026-11",
    },
];

/// The provider with this name.
///
/// # Errors
/// If there is none.
pub fn provider(name: &str) -> Result<&'static Provider, JobError> {
    PROVIDERS.iter().find(|provider| provider.name == name).ok_or_else(|| {
        let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
        JobError::Value {
            field: "request.provider",
            message: format!("`{name}` is not known: expected one of {}", names.join(", ")),
            hint: Some(
                "others that speak one of these dialects: --url with their address, and -H with the key"
                    .to_owned(),
            ),
        }
    })
}

impl Provider {
    /// Says in a job what it does not say itself.
    pub(crate) fn complete(&self, file: &mut JobFile) {
        let request = &mut file.request;
        let brings_body = request.json.is_some() || request.body.is_some() || request.form.is_some();
        request.url.get_or_insert_with(|| {
            // Rows of a batch bring their paths.
            if brings_body { format!("{}{}", self.base, self.chat) } else { self.base.to_owned() }
        });
        let headers = &mut request.headers.0;
        let has = |headers: &[(String, String)], name: &str| {
            headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let (name, before) = self.key;
        if request.bearer_env.is_none() && !has(headers, name) {
            headers.push((name.to_owned(), format!("{before}{{{{ env.{} }}}}", self.key_env)));
        }
        for (name, value) in self.headers {
            if !has(headers, name) {
                headers.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        request.timeout.get_or_insert_with(|| TIMEOUT.to_owned());
        file.retry.unknown.get_or_insert_with(|| UNKNOWN.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_before_its_provider() {
        let mut file = JobFile::default();
        file.request.timeout = Some("5s".to_owned());
        file.request.headers.0.push(("X-Api-Key".to_owned(), "mine".to_owned()));
        provider("anthropic").unwrap().complete(&mut file);
        assert_eq!(file.request.url.as_deref(), Some("https://api.anthropic.com"));
        assert_eq!(file.request.timeout.as_deref(), Some("5s"));
        assert_eq!(file.retry.unknown.as_deref(), Some("resend"));
        let names: Vec<&str> = file.request.headers.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["X-Api-Key", "anthropic-version"]);
    }

    #[test]
    fn rows_without_a_path_are_chats() {
        let mut file = JobFile::default();
        file.request.json = Some(serde_json::json!({}));
        provider("openai").unwrap().complete(&mut file);
        assert_eq!(file.request.url.as_deref(), Some("https://api.openai.com/v1/chat/completions"));
        let key = ("Authorization".to_owned(), "Bearer {{ env.OPENAI_API_KEY }}".to_owned());
        assert_eq!(file.request.headers.0, [key]);
        assert!(provider("openaj").unwrap_err().to_string().contains("expected one of openai, anthropic"));
    }
}
