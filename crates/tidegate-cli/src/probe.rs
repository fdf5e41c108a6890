//! `tidegate probe`: one call, and what its answer says of the provider's limits.

use std::num::NonZeroU64;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::feedback::{AnswerHeaders, throttle_status};
use tidegate::http::{Head, OnceError, once};
use tidegate::job::{Job, JobError, JobFile};
use tidegate::retry::Human;
use tidegate::template::{Input, InputKind, Template, parse_header};
use tidegate::{Record, Row};
use tidegate_core::feedback::{Feedback, Reading, Reset};
use tidegate_core::{Limit, Rule, Unit};
use tokio::runtime::Builder;

use crate::args::ProbeArgs;
use crate::exit::Exit;
use crate::printer::{Printer, count};
use crate::run::{set, text_or_file};

/// What was answered.
struct Probed {
    status: String,
    code: u16,
    feedback: Feedback,
    /// Of each reading the dialect that it was told in.
    dialects: Vec<String>,
    job: Job,
}

pub(crate) fn command(printer: Printer, args: ProbeArgs) -> anyhow::Result<Exit> {
    let as_json = args.json;
    let job = Job::from_file(job_file(args)?)?;
    let input = Input { kind: InputKind::Lines, columns: None };
    let env = |name: &str| std::env::var(name).ok();
    let template = Template::compile(&job.request, input, env).map_err(JobError::from)?;
    let row = Row { index: 0, line: 1, record: Ok(Record::Line(String::new())) };
    let call = template.render(&row)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (head, body) = match runtime.block_on(once(job.http.clone(), &call)) {
        Ok(answer) => answer,
        Err(OnceError::Setup(error)) => return Err(JobError::from(error).into()),
        Err(error) => {
            printer.error(&anyhow::anyhow!("no answer: {error}"));
            return Ok(Exit::Failures);
        }
    };
    let probed = Probed::of(job, &head, &body);
    if as_json {
        printer.data(serde_json::to_string_pretty(&probed.json())?)?;
    } else {
        probed.lines().into_iter().try_for_each(|line| printer.data(line))?;
    }
    Ok(Exit::Success)
}

/// The job of one call.
fn job_file(args: ProbeArgs) -> anyhow::Result<JobFile> {
    let mut file = match &args.job {
        Some(path) => JobFile::read(path)?,
        None => JobFile::default(),
    };
    file.input.path = Some("-".into());
    set(&mut file.request.url, Some(args.url));
    set(&mut file.request.method, args.method);
    for header in &args.header {
        file.request.headers.0.push(parse_header(header).map_err(JobError::from)?);
    }
    set(&mut file.request.bearer_env, args.bearer_env);
    set(&mut file.request.timeout, args.timeout);
    file.request.ca.extend(args.ca);
    (file.request.body, file.request.json, file.request.form) = (None, None, None);
    if let Some(data) = args.data {
        file.request.body = Some(text_or_file("--data", data)?);
    }
    Ok(file)
}

impl Probed {
    fn of(job: Job, head: &Head, body: &[u8]) -> Self {
        let (mut feedback, dialects) = job.dialects.read_named(&AnswerHeaders(&head.headers), None);
        let mut dialects: Vec<String> = dialects.into_iter().map(str::to_owned).collect();
        if let Some(reading) = std::str::from_utf8(body).ok().and_then(throttle_status) {
            feedback.readings.push(reading);
            dialects.push("shopify".to_owned());
        }
        let (status, code) = (head.status.to_string(), head.status.as_u16());
        Self { status, code, feedback, dialects, job }
    }

    fn readings(&self) -> impl Iterator<Item = (&Reading, &str)> {
        self.feedback.readings.iter().zip(self.dialects.iter().map(String::as_str))
    }

    /// Where the facts of a dialect are from.
    fn source(&self, dialect: &str) -> &str {
        let found = self.job.dialects.iter().find(|known| known.name() == dialect);
        found.map_or("", |known| known.source())
    }

    /// What people read.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.status.clone(), String::new()];
        if self.feedback.readings.is_empty() {
            lines.push("Nothing is said of limits, at least not in a way that is known.".to_owned());
        } else {
            lines.extend(self.table());
        }
        if let Some(silence) = self.feedback.retry_after {
            lines.push(format!("silence is asked for: {}", Human(silence)));
        }
        let ignored = self.feedback.ignored.iter();
        lines.extend(ignored.map(|ignored| format!("ignored: {}: {}", ignored.field, ignored.why)));
        lines.push(String::new());
        lines.extend(self.to_paste());
        lines.push(String::new());
        let mut dialects: Vec<&str> = self.dialects.iter().map(String::as_str).collect();
        dialects.dedup();
        lines.extend(dialects.iter().map(|name| format!("source: {name}: {}", self.source(name))));
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn table(&self) -> Vec<String> {
        let head = ["limit", "remaining", "of", "in", "reset", "dialect"].map(str::to_owned);
        let number = |n: Option<u64>| n.map_or("?".to_owned(), count);
        let rows = self.readings().map(|(reading, dialect)| {
            let name = match &reading.unit {
                Unit::Named(unit) if **unit != *reading.resource => format!("{} ({unit})", reading.resource),
                _ => reading.resource.to_string(),
            };
            let window = reading.window.map_or("?".to_owned(), round);
            [
                name,
                number(reading.remaining),
                number(reading.limit),
                window,
                reset(reading),
                dialect.to_owned(),
            ]
        });
        let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        let line = |row: &[String; 6]| {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                1..=3 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }

    /// What of a job can be known from the answer.
    fn to_paste(&self) -> Vec<String> {
        let rates: Vec<(&Reading, String)> =
            self.feedback.readings.iter().filter_map(|r| Some((r, rate(r)?))).collect();
        let (requests, costly): (Vec<_>, Vec<_>) =
            rates.into_iter().partition(|(reading, _)| reading.unit == Unit::Requests);
        let mut lines = Vec::new();
        if !requests.is_empty() {
            let flags: Vec<String> = requests.iter().map(|(_, rate)| format!("--rate '{rate}'")).collect();
            let list: Vec<String> = requests.iter().map(|(_, rate)| format!("\"{rate}\"")).collect();
            lines.push(flags.join(" "));
            lines.push(String::new());
            lines.push("[quota]".to_owned());
            lines.push(format!("limits = [{}]", list.join(", ")));
        }
        for (reading, rate) in costly {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push("[[quota.limit]]".to_owned());
            lines.push(format!("rate = \"{rate}\""));
            lines.push(format!("cost = …    # the most {} that one call takes", reading.unit));
        }
        for reading in self.feedback.readings.iter().filter(|reading| rate(reading).is_none()) {
            lines.extend(missing(reading));
        }
        lines
    }

    fn json(&self) -> Value {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let limits = self.readings().map(|(reading, dialect)| {
            json!({
                "resource": reading.resource,
                "unit": reading.unit.to_string(),
                "limit": reading.limit,
                "remaining": reading.remaining,
                "window_s": seconds(reading.window),
                "resets_in_s": seconds(reading.resets_in),
                "reset": word(reading.reset),
                "rate": rate(reading),
                "dialect": dialect,
                "source": self.source(dialect),
            })
        });
        let ignored = self.feedback.ignored.iter();
        let ignored = ignored.map(|ignored| json!({ "field": ignored.field, "why": ignored.why }));
        json!({
            "status": self.code,
            "retry_after_s": seconds(self.feedback.retry_after),
            "limits": limits.collect::<Vec<_>>(),
            "ignored": ignored.collect::<Vec<_>>(),
        })
    }
}

/// A length of time that is mostly a round one.
fn round(time: Duration) -> String {
    let text = Human(time).to_string();
    text.trim_end_matches(" 0m").trim_end_matches(" 0h").to_owned()
}

/// When there is more, and how much.
fn reset(reading: &Reading) -> String {
    let Some(time) = reading.resets_in else { return "?".to_owned() };
    if time.is_zero() { "now".to_owned() } else { format!("{} in {}", word(reading.reset), Human(time)) }
}

fn word(reset: Reset) -> &'static str {
    match reset {
        Reset::Some => "some",
        Reset::All => "all",
        Reset::Full => "full",
    }
}

/// The limit in its text form, if the answer says enough. How a bucket is made no header tells.
fn rate(reading: &Reading) -> Option<String> {
    let (amount, per) = (NonZeroU64::new(reading.limit?)?, reading.window?);
    let rule = match reading.reset {
        Reset::Full => Rule::Unknown { per },
        _ => Rule::Window { per },
    };
    Some(Limit::new(amount, rule).counting(reading.unit.clone()).to_string())
}

/// What the answer does not say, and how to find out.
fn missing(reading: &Reading) -> Vec<String> {
    let name = &reading.resource;
    match reading.limit {
        None => vec![format!("{name}: how much is allowed is not said; their documentation says it, or nobody does")],
        Some(limit) => vec![
            format!("{name}: {} are allowed, in which time is not said", count(limit)),
            "hint: ask again right after a reset; the time to the next is the window. Or see their documentation"
                .to_owned(),
        ],
    }
}
