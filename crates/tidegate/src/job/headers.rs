//! `[[quota.headers]]`: the fields of a provider that nobody here knows.

use http::header::HeaderName;
use tidegate_core::Unit;
use tidegate_core::feedback::{Dialect, Dialects, Form, Role};

use super::values::duration;
use super::{HeadersSection, JobError};

/// More tables than any provider has limits.
const MAX_TABLES: usize = 32;

/// The dialects that are known, and before them those of the job.
pub(super) fn dialects(tables: &[HeadersSection]) -> Result<Dialects, JobError> {
    if tables.len() > MAX_TABLES {
        let message = format!("{} tables are more than {MAX_TABLES}", tables.len());
        return Err(JobError::value("quota.headers", message));
    }
    // The first of the job's is to come first.
    let declared = tables.iter().rev().map(dialect);
    declared.into_iter().try_fold(Dialects::builtin(), |all, dialect| Ok(all.with(dialect?)))
}

fn dialect(table: &HeadersSection) -> Result<Dialect, JobError> {
    let form = form(table)?;
    let mut fields: Vec<(String, Role)> = Vec::new();
    for (key, name, role) in [
        ("quota.headers.limit", &table.limit, Role::Limit),
        ("quota.headers.remaining", &table.remaining, Role::Remaining),
        ("quota.headers.used", &table.used, Role::Used),
        ("quota.headers.reset", &table.reset, Role::Reset(form)),
    ] {
        let Some(name) = header(key, name.as_deref())? else { continue };
        if fields.iter().any(|(other, _)| *other == name) {
            return Err(JobError::value(key, format!("`{name}` cannot say two things"))
                .hinting("each key names a header of its own; leave away what they do not send"));
        }
        fields.push((name, role));
    }
    let counts = |role: &Role| matches!(role, Role::Limit | Role::Remaining);
    let told = fields.iter().any(|(_, role)| counts(role));
    if !told && (!fields.is_empty() || table.retry_after.is_none()) {
        return Err(JobError::value("quota.headers", "what is the limit, or what is left of it?")
            .hinting("name a header in `limit` or `remaining`, such as remaining = \"X-Calls-Left\""));
    }
    let unit = unit(table.unit.as_deref())?;
    let window = match table.window.as_deref() {
        None => None,
        text => Some(duration("quota.headers.window", text, std::time::Duration::ZERO)?),
    };
    if window.is_some_and(|window| window.is_zero()) {
        return Err(JobError::value("quota.headers.window", "0 is no length of time")
            .hinting("over which time does their limit count? such as \"60s\""));
    }
    let resource = table.resource.clone().unwrap_or_else(|| unit.to_string());
    let dialect = Dialect::declared(resource, unit, window, fields);
    let retry_after = header("quota.headers.retry_after", table.retry_after.as_deref())?;
    Ok(match retry_after {
        // `format` is about the reset where there is one.
        Some(name) if table.reset.is_some() => dialect.with_retry_after(name, Form::Auto),
        Some(name) => dialect.with_retry_after(name, form),
        None => dialect,
    })
}

fn form(table: &HeadersSection) -> Result<Form, JobError> {
    let Some(text) = table.format.as_deref() else { return Ok(Form::Auto) };
    if table.reset.is_none() && table.retry_after.is_none() {
        return Err(JobError::value("quota.headers.format", "there is no time that it could be the form of")
            .hinting("name the header in `reset`, or leave `format` away"));
    }
    text.parse().map_err(|message: String| {
        JobError::value("quota.headers.format", message).hinting(
            "delta: seconds from now; delta_ms: milliseconds; epoch, epoch_ms: since 1970; iso: \
             2026-03-26T16:00:00Z; go: 6m0s",
        )
    })
}

/// The name of a header, in lower case.
fn header(key: &'static str, name: Option<&str>) -> Result<Option<String>, JobError> {
    let Some(name) = name else { return Ok(None) };
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) if matches!(name.as_str(), "date" | "age") => Err(JobError::value(
            key,
            format!("`{name}` says when the answer was made, and nothing of a limit"),
        )),
        Ok(name) => Ok(Some(name.as_str().to_owned())),
        Err(_) => Err(JobError::value(key, format!("`{name}` is not the name of a header"))
            .hinting("a name only, such as \"X-Calls-Left\"")),
    }
}

fn unit(name: Option<&str>) -> Result<Unit, JobError> {
    match name {
        None | Some("requests") => Ok(Unit::Requests),
        Some(name)
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) =>
        {
            Ok(Unit::Named(name.to_owned()))
        }
        Some(name) => Err(JobError::value("quota.headers.unit", format!("`{name}` is not one word"))
            .hinting("what is counted, as in `[[quota.limit]]`: \"requests\", \"tokens\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_core::feedback::Feedback;

    use super::*;
    use crate::job::JobFile;

    fn read(tables: &str) -> Result<Dialects, JobError> {
        let job: JobFile = toml::from_str(tables)
            .map_err(|error| JobError::File { path: "job.toml".into(), message: error.to_string() })?;
        dialects(&job.quota.headers)
    }

    fn said(tables: &str, fields: &[(&str, &str)]) -> Feedback {
        read(tables).unwrap().read(fields, None)
    }

    #[track_caller]
    fn refused(table: &str) -> String {
        let error = read(&format!("[[quota.headers]]\n{table}")).expect_err(table);
        format!("{error}\n{}", error.hint().unwrap_or_default())
    }

    #[test]
    fn fields_are_read_as_they_are_declared() {
        let table = "[[quota.headers]]\nresource = \"calls\"\nlimit = \"X-Calls\"\nremaining = \"X-Calls-Left\"\n\
                     reset = \"X-Calls-Reset\"\nformat = \"delta_ms\"\nwindow = \"60s\"\nretry_after = \"X-Wait\"\n";
        let fields = [("x-calls", "60"), ("x-calls-left", "7"), ("x-calls-reset", "1500"), ("x-wait", "2")];
        let feedback = said(table, &fields);
        let reading = &feedback.readings[0];
        assert_eq!((&*reading.resource, reading.limit, reading.remaining), ("calls", Some(60), Some(7)));
        assert_eq!(reading.window, Some(Duration::from_secs(60)));
        assert_eq!(reading.resets_in, Some(Duration::from_millis(1_500)));
        assert_eq!(feedback.retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_declared_wins_and_the_rest_is_read_as_before() {
        let table = "[[quota.headers]]\nunit = \"points\"\nremaining = \"X-RateLimit-Remaining\"\n\
                     reset = \"X-RateLimit-Reset\"\nformat = \"delta_ms\"\n";
        let fields = [
            ("x-ratelimit-remaining", "5"),
            ("x-ratelimit-reset", "250"),
            ("anthropic-ratelimit-requests-remaining", "1"),
        ];
        let feedback = said(table, &fields);
        let seen: Vec<_> = feedback.readings.iter().map(|r| (&*r.resource, r.resets_in)).collect();
        assert_eq!(seen, [("points", Some(Duration::from_millis(250))), ("requests", None)]);
    }

    #[test]
    fn silence_alone_may_be_declared() {
        let feedback = said(
            "[[quota.headers]]\nretry_after = \"X-Wait\"\nformat = \"delta_ms\"\n",
            &[("x-wait", "250"), ("retry-after", "9")],
        );
        assert_eq!(feedback.retry_after, Some(Duration::from_millis(250)));
    }

    #[test]
    fn the_first_table_comes_first() {
        let table = |name| format!("[[quota.headers]]\nresource = \"{name}\"\nremaining = \"x-left\"\n");
        let feedback = said(&(table("one") + &table("two")), &[("x-left", "5")]);
        assert_eq!(feedback.readings.len(), 1);
        assert_eq!(&*feedback.readings[0].resource, "one");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        for (table, says) in [
            ("", "what is the limit"),
            ("used = \"X-Used\"", "what is the limit"),
            ("reset = \"X-Reset\"\nretry_after = \"X-Wait\"", "what is the limit"),
            ("limit = \"X-A\"\nremaining = \"x-a\"", "cannot say two things"),
            ("limit = \"X-A: 1\"", "not the name of a header"),
            ("limit = \"Date\"", "nothing of a limit"),
            ("limit = \"X-A\"\nformat = \"iso\"", "no time that it could be"),
            ("limit = \"X-A\"\nreset = \"X-R\"\nformat = \"unix\"", "epoch, epoch_ms: since 1970"),
            ("limit = \"X-A\"\nwindow = \"0\"", "no length of time"),
            ("limit = \"X-A\"\nwindow = \"soon\"", "is not a duration"),
            ("limit = \"X-A\"\nunit = \"two words\"", "not one word"),
            ("limit = \"X-A\"\nname = \"calls\"", "unknown field `name`"),
        ] {
            let text = refused(table);
            assert!(text.contains(says), "{table}: {text}");
        }
        assert!(refused(&"limit = \"X-A\"\n[[quota.headers]]\n".repeat(40)).contains("more than 32"));
    }
}
