//! What providers hide in bodies: whether an answer asks to wait, says that the quota of a day is gone,
//! or that nothing more will be had.
//!
//! Decided before any retry. A row of the table says where a word stands in a JSON body and what it means;
//! a job adds rows of its own with `[[retry.sign]]`, which come first.

use std::collections::BTreeSet;

use http::StatusCode;
use memchr::memmem::Finder;

use crate::json;

/// What an answer that is no result asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Too many calls for now: the whole quota waits, and the row is sent again.
    Wait,
    /// The quota of a day or a month is used up: nothing goes until it is back.
    Cap,
    /// Not paid, or the key is no longer good: waiting does not help.
    Stop,
    /// The row alone has failed, whatever its status.
    Fail,
    /// Trouble at the provider: the row is tried again.
    Retry,
}

/// Of which answers a class is told, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Statuses; any if there is none.
    statuses: Vec<StatusCode>,
    /// JSON Pointer into the body, as tokens; none: the status says it.
    at: Option<Vec<String>>,
    /// What stands there, whatever its case; anything that holds one of them, for long texts.
    is: Vec<String>,
    class: Class,
}

/// One row of what is known: statuses (none: any), a pointer, words, and their meaning.
type Known = (&'static [u16], &'static str, &'static [&'static str], Class);

/// After each provider's own documentation of its errors, read in November 2026.
const KNOWN: [Known; 20] = [
    // OpenAI, "Error codes": both come with 429, and only one of them ends by waiting.
    (
        &[],
        "/error/code",
        &["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"],
        Class::Stop,
    ),
    (&[], "/error/type", &["insufficient_quota"], Class::Stop),
    (&[], "/error/code", &["account_deactivated", "invalid_api_key"], Class::Stop),
    (&[], "/error/code", &["rate_limit_exceeded"], Class::Wait),
    // Anthropic, "Errors".
    (&[], "/error/type", &["billing_error", "authentication_error"], Class::Stop),
    (&[400], "/error/message", &["credit balance is too low"], Class::Stop),
    (&[], "/error/type", &["rate_limit_error"], Class::Wait),
    (&[529], "/error/type", &["overloaded_error"], Class::Retry),
    // Shopify, "GraphQL Admin API": with status 200.
    (&[], "/errors/0/extensions/code", &["THROTTLED"], Class::Wait),
    (&[402], "", &[], Class::Stop),
    // HubSpot, "API usage guidelines".
    (&[429], "/policyName", &["DAILY"], Class::Cap),
    // Google, "Resolve errors" of its APIs.
    (&[403, 429], "/error/errors/0/reason", &["rateLimitExceeded", "userRateLimitExceeded"], Class::Wait),
    (&[403, 429], "/error/errors/0/reason", &["dailyLimitExceeded", "quotaExceeded"], Class::Cap),
    // Salesforce, "API Request Limits and Allocations".
    (&[403], "/0/errorCode", &["REQUEST_LIMIT_EXCEEDED"], Class::Cap),
    // GitHub, "Rate limits for the REST API".
    (&[403, 429], "/message", &["rate limit"], Class::Wait),
    // Slack, "Rate limits".
    (&[], "/error", &["ratelimited", "rate_limited"], Class::Wait),
    (&[], "/error", &["account_inactive", "token_revoked", "token_expired", "invalid_auth"], Class::Stop),
    // AWS, "Common errors" of its JSON protocols.
    (
        &[400, 429, 503],
        "/__type",
        &["ThrottlingException", "TooManyRequestsException", "LimitExceededException"],
        Class::Wait,
    ),
    // Meta, "Rate limits" of the Graph API.
    (&[400, 403], "/error/code", &["4", "17", "32", "613"], Class::Wait),
    (&[400, 401], "/error/code", &["190"], Class::Stop),
];

/// All signs that are looked for, the job's own first.
#[derive(Debug, Clone)]
pub struct Signs {
    all: Vec<Sign>,
    /// Members of which an answer with a status of success must have one to be looked at.
    members: Vec<Finder<'static>>,
    /// Unless a status of success is a sign by itself.
    by_status: bool,
}

/// Bodies beyond this say what they say elsewhere.
const MOST: usize = 64 << 10;

impl Sign {
    /// A sign of its own kind.
    ///
    /// # Errors
    /// If it could be a sign of nothing, or `at` is no JSON Pointer.
    pub fn new(
        statuses: Vec<StatusCode>,
        at: Option<&str>,
        is: Vec<String>,
        class: Class,
    ) -> Result<Self, String> {
        let at = match at {
            None | Some("") => None,
            Some(pointer) => Some(json::pointer_tokens(pointer).ok_or_else(|| {
                format!("`{pointer}` is not a JSON pointer: expected one such as /error/code")
            })?),
        };
        match (&at, is.is_empty()) {
            (Some(_), true) => Err("`at` needs `is`: the words that stand there".to_owned()),
            (None, false) => Err("`is` needs `at`: where in the body these words stand".to_owned()),
            (None, true) if statuses.is_empty() => {
                Err("a sign needs a `status`, or `at` and `is`".to_owned())
            }
            _ => Ok(Self { statuses, at, is, class }),
        }
    }

    fn matches(&self, status: StatusCode, body: &str) -> bool {
        if !self.statuses.is_empty() && !self.statuses.contains(&status) {
            return false;
        }
        let Some(at) = &self.at else { return true };
        let Some(value) = json::pointer(body, at) else { return false };
        let text = json::string(value).unwrap_or_else(|| value.to_owned());
        self.is.iter().any(|word| is_or_holds(&text, word))
    }
}

impl Signs {
    /// Those that are known, behind the job's own.
    pub fn new(mut signs: Vec<Sign>) -> Self {
        signs.extend(KNOWN.iter().map(|(statuses, at, is, class)| Sign {
            statuses: statuses.iter().filter_map(|code| StatusCode::from_u16(*code).ok()).collect(),
            at: json::pointer_tokens(at),
            is: is.iter().map(|word| (*word).to_owned()).collect(),
            class: *class,
        }));
        let hidden = signs.iter().filter(|sign| may_be_success(&sign.statuses));
        let members: BTreeSet<&str> =
            hidden.filter_map(|sign| Some(sign.at.as_ref()?.first()?.as_str())).collect();
        let is_needed =
            |member: &&str| !members.iter().any(|other| other != member && member.contains(other));
        let members = members.iter().copied().filter(is_needed);
        let members = members.map(|member| Finder::new(member).into_owned()).collect();
        let by_status = signs.iter().any(|sign| sign.at.is_none() && may_be_success(&sign.statuses));
        Self { all: signs, members, by_status }
    }

    /// What the answer is about, if it shows a sign. `accepted`: its status is that of a result.
    pub fn class(&self, status: StatusCode, body: &[u8], accepted: bool) -> Option<Class> {
        if body.len() > MOST {
            return None;
        }
        // Nearly all are results, and have no such member; or it is null.
        if accepted && !self.by_status && !self.members.iter().any(|member| member.find(body).is_some()) {
            return None;
        }
        let body = std::str::from_utf8(body).unwrap_or_default();
        let holds_a_word = |sign: &&Sign| {
            !accepted || sign.at.is_none() || sign.is.iter().any(|word| body.contains(word.as_str()))
        };
        let mut signs = self.all.iter().filter(holds_a_word);
        signs.find(|sign| sign.matches(status, body)).map(|sign| sign.class)
    }
}

impl Default for Signs {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

fn may_be_success(statuses: &[StatusCode]) -> bool {
    statuses.is_empty() || statuses.iter().any(StatusCode::is_success)
}

/// A word is the whole value; words with a space stand in a sentence.
fn is_or_holds(text: &str, word: &str) -> bool {
    if word.contains(' ') {
        return text.to_ascii_lowercase().contains(&word.to_ascii_lowercase());
    }
    // AWS puts a name space before its types.
    text.eq_ignore_ascii_case(word)
        || text.rsplit_once('#').is_some_and(|(_, name)| name.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> Option<Class> {
        let status = StatusCode::from_u16(status).unwrap();
        Signs::default().class(status, body.as_bytes(), status.is_success())
    }

    #[test]
    fn what_providers_say_in_bodies() {
        let openai = |code: &str| format!(r#"{{"error":{{"message":"…","type":"x","code":"{code}"}}}}"#);
        assert_eq!(class(429, &openai("insufficient_quota")), Some(Class::Stop));
        assert_eq!(class(429, &openai("rate_limit_exceeded")), Some(Class::Wait));
        assert_eq!(class(500, &openai("server_error")), None);
        assert_eq!(class(529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#), Some(Class::Retry));
        let throttled = r#"{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}"#;
        assert_eq!(class(200, throttled), Some(Class::Wait));
        assert_eq!(class(200, r#"{"data":{"note":"THROTTLED"}}"#), None);
        assert_eq!(class(429, r#"{"status":"error","policyName":"DAILY"}"#), Some(Class::Cap));
        assert_eq!(class(429, r#"{"status":"error","policyName":"SECONDLY"}"#), None);
        assert_eq!(class(403, r#"[{"errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#), Some(Class::Cap));
        let secondary = r#"{"message":"You have exceeded a secondary rate limit. Please wait"}"#;
        assert_eq!(class(403, secondary), Some(Class::Wait));
        assert_eq!(class(403, r#"{"message":"Must have admin rights"}"#), None);
        assert_eq!(class(402, "payment, please"), Some(Class::Stop));
        assert_eq!(class(400, r#"{"__type":"com.amazon#ThrottlingException"}"#), Some(Class::Wait));
        assert_eq!(class(400, r#"{"error":{"code":613}}"#), Some(Class::Wait));
        assert_eq!(class(200, r#"{"ok":false,"error":"ratelimited"}"#), Some(Class::Wait));
        assert_eq!(class(403, "not json"), None);
    }

    #[test]
    fn a_jobs_own_signs_come_first() {
        let sign =
            Sign::new(vec![], Some("/error/code"), vec!["insufficient_quota".into()], Class::Wait).unwrap();
        let signs = Signs::new(vec![sign]);
        let body = br#"{"error":{"code":"insufficient_quota"}}"#;
        assert_eq!(signs.class(StatusCode::TOO_MANY_REQUESTS, body, false), Some(Class::Wait));
        for (at, is) in
            [(Some("error"), vec!["x".to_owned()]), (Some("/a"), vec![]), (None, vec!["x".into()])]
        {
            assert!(Sign::new(vec![], at, is, Class::Stop).is_err());
        }
        assert!(Sign::new(vec![], None, vec![], Class::Stop).is_err());
    }
}
