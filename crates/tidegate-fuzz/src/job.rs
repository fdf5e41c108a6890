//! Job files: a job, or a message that repeats no secret.

use std::fmt::Debug;

use tidegate::job::{Job, JobFile};
use tidegate::template::{Input, InputKind, Template};
use tidegate_core::Terms;

use crate::assert_bounded;
use crate::template::env;

pub(crate) const WORDS: &[&str] = &[
    "[input]\n",
    "[request]\n",
    "[quota]\n",
    "[[quota.limit]]\n",
    "[[quota.headers]]\n",
    "remaining = \"x-left\"\n",
    "[retry]\n",
    "[output]\n",
    "path = ",
    "format = ",
    "url = ",
    "headers = { A = \"secret-value\" }\n",
    "json = ",
    "body = ",
    "form = ",
    "query = ",
    "timeout = ",
    "limits = [",
    "\"1000/s\"",
    "rate = ",
    "amount = ",
    "per = ",
    "capacity = ",
    "cost = ",
    "enforced = ",
    "concurrency = ",
    "backoff = \"1s..60s\"\n",
    "attempts = ",
    "on = [503, \"network\"]\n",
    "accept = [\"2xx\"]\n",
    "max_failed = \"2%\"\n",
    "select = [\"a=/b/0\"]\n",
    "proxy = \"http://me:secret-value@p:1\"\n",
    "1979-05-27",
    "inf",
    "nan",
    "-1",
    "0",
    "9223372036854775807",
    "\"\"\"",
    "'''",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "1e400",
    "true",
];

/// Shorter header values occur in any message.
const MIN_SECRET: usize = 8;

/// A job file: what is accepted is usable, and no message shows a header's value or a password.
pub fn job_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file: JobFile = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => return assert_bounded(&error.to_string(), text.len()),
    };
    let secrets = secrets(&file, text);
    hides(&file, &secrets);
    let job = match Job::from_file(file) {
        Ok(job) => job,
        Err(error) => {
            hides(&error, &secrets);
            hides_in(&error.to_string(), &secrets);
            assert_bounded(&error.to_string(), text.len());
            return assert_bounded(&error.hint().unwrap_or_default(), text.len());
        }
    };
    hides(&job, &secrets);
    check(&job);
    let input = Input { kind: InputKind::Json, columns: None };
    match Template::compile(&job.request, input, env) {
        Ok(template) => {
            hides(&template, &secrets);
            assert!(
                !template.identity().contains("$__"),
                "private names of a parser: {}",
                template.identity()
            );
        }
        Err(error) => {
            hides_in(&error.to_string(), &secrets);
            assert_bounded(&error.to_string(), text.len());
        }
    }
}

/// What [`Job::from_file`] promises by saying nothing.
fn check(job: &Job) {
    assert!(job.connections > 0);
    assert!(job.retry.attempts > 0);
    assert!(!job.retry.backoff.least.is_zero() && job.retry.backoff.least <= job.retry.backoff.most);
    assert!(!job.http.call_timeout.is_zero() && !job.http.connect_timeout.is_zero());
    for limit in &job.limits {
        let _ = limit.compile(&Terms::default());
    }
    let mut dice = fastrand::Rng::with_seed(1);
    for attempts in [0, 1, 40, u32::MAX] {
        assert!(job.retry.backoff.wait(attempts, &mut dice) <= job.retry.backoff.most);
    }
}

/// Header values and the proxy's password, where they stand nowhere else in the file.
fn secrets(file: &JobFile, text: &str) -> Vec<String> {
    let headers = file.request.headers.0.iter().map(|(_, value)| value.as_str());
    let password = file.request.proxy.as_deref().and_then(|proxy| proxy.rsplit_once('@')?.0.rsplit_once(':'));
    let values = headers.chain(password.map(|(_, password)| password));
    let lone = |value: &&str| value.len() >= MIN_SECRET && text.matches(value).count() == 1;
    values.filter(lone).map(str::to_owned).collect()
}

fn hides(shown: &impl Debug, secrets: &[String]) {
    if !secrets.is_empty() {
        hides_in(&format!("{shown:?}"), secrets);
    }
}

fn hides_in(shown: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!shown.contains(secret.as_str()), "{secret:?} is shown: {shown}");
    }
}
