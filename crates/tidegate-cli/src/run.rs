//! `tidegate run`: parse → plan → run → report.

use std::path::Path;
use std::thread;
use std::time::Duration;

use tidegate::job::{
    FlagOrWord, Held, HeldFor, Job, JobError, JobFile, Plan, QuotaSection, ReserveSection, StatusOrWord,
};
use tidegate::report::Before;
use tidegate::retry::Human;
use tidegate::sink::Target;
use tidegate::source::{InputSpec, Source};
use tidegate::template::parse_header;
use tidegate::{Ended, Report, Row, Run};
use tidegate_core::{Contract, Limit, Mode, Rule};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::{Flags, RunArgs};
use crate::done::{self, of_unknown_outcome};
use crate::exit::Exit;
use crate::explain::{LEARNT, Line, provable, provider_in_words, summary, time_for, time_of};
use crate::fleet::together::{self, Together};
use crate::llm;
use crate::printer::{Printer, count};
use crate::progress::{Progress, REDRAW, Told};

/// Requests that a dry run shows.
const PREVIEWS: usize = 3;
/// After this time people want to know how much there is to do.
const COUNT_AFTER: Duration = Duration::from_millis(500);

pub(crate) fn command(printer: Printer, mut args: RunArgs) -> anyhow::Result<Exit> {
    if let Some(fleet) = args.together.fleet.take().filter(|_| !args.dry_run) {
        let (queue, shard) = (args.together.queue.clone(), args.together.shard.clone());
        let quiet = args.flags.quiet;
        return together::command(printer, &Together { fleet, queue, shard, quiet }, job_file(args)?);
    }
    let (dry_run, head) = (args.dry_run, args.head);
    let (quiet, assume_idle) = (args.flags.quiet, args.flags.assume_idle);
    let mut job = Job::from_file(job_file(args)?)?;
    job.head = head;
    job.assume_idle = assume_idle;
    let plan = Plan::new(job, |name| std::env::var(name).ok())?;
    if dry_run { preview(printer, plan) } else { drive(printer, plan, quiet) }
}

/// The job that flags, and perhaps a job file below them, describe.
fn job_file(args: RunArgs) -> anyhow::Result<JobFile> {
    let is_job = args.input.extension().is_some_and(|ext| ext == "toml");
    let mut file = if is_job { JobFile::read(&args.input)? } else { JobFile::default() };
    if !is_job {
        file.input.path = Some(args.input);
    }
    set(&mut file.request.url, args.url);
    set(&mut file.request.provider, args.provider);
    set(&mut file.output.path, args.output);
    overlay(&mut file, args.flags)?;
    Ok(file)
}

/// What flags say takes the place of what the job says.
pub(crate) fn overlay(file: &mut JobFile, flags: Flags) -> anyhow::Result<()> {
    let Flags { rate, concurrency, limit, tokens, request, rows, retry, connection, .. } = flags;
    set(&mut file.request.method, request.method);
    for header in &request.header {
        file.request.headers.0.push(parse_header(header).map_err(JobError::from)?);
    }
    if let Some(data) = request.data {
        file.request.body = Some(text_or_file("--data", data)?);
        (file.request.json, file.request.form) = (None, None);
    }
    if let Some(json) = request.json {
        let json = parse_json(&text_or_file("--json", json)?)?;
        file.request.json = Some(json);
        (file.request.body, file.request.form) = (None, None);
    }
    set(&mut file.request.bearer_env, request.bearer_env);
    set(&mut file.request.batch, request.batch);
    set(&mut file.request.redirects, request.location);
    if !rate.is_empty() {
        file.quota.limits = rate;
        file.quota.limit.clear();
    }
    set(&mut file.quota.concurrency, concurrency);
    set(&mut file.quota.rpm, tokens.rpm);
    set(&mut file.quota.tpm, tokens.tpm);
    set(&mut file.quota.itpm, tokens.itpm);
    set(&mut file.quota.otpm, tokens.otpm);
    set(&mut file.quota.max_output_tokens, tokens.max_output_tokens);
    set(&mut file.quota.reserve, tokens.reserve.map(|text| ReserveSection::parse(&text)));
    set(&mut file.quota.max_cost, tokens.max_cost);
    assume(&mut file.quota, limit.counted_within);
    set(&mut file.quota.latency, limit.latency);
    set(&mut file.quota.pace, limit.pace);
    set(&mut file.quota.name, limit.quota);
    set(&mut file.quota.store, limit.store);
    set(&mut file.quota.priority, limit.priority);
    // Whoever works at a command line starts several, and starts again.
    if !file.quota.is_auto() {
        file.quota.store.get_or_insert_with(|| "sqlite".to_owned());
    }
    set(&mut file.request.idempotency_key, request.idempotency_key.map(FlagOrWord::Word));

    set(&mut file.input.key, rows.key);
    set(&mut file.input.format, rows.input_format);
    set(&mut file.output.format, rows.output_format);
    set(&mut file.output.order, rows.order);
    if !rows.select.is_empty() {
        file.output.select = rows.select;
    }
    if !rows.accept.is_empty() {
        file.output.accept = Some(rows.accept.into_iter().map(StatusOrWord::Word).collect());
    }
    set(&mut file.output.max_failed, rows.max_failed.map(StatusOrWord::Word));

    set(&mut file.retry.attempts, retry.attempts);
    set(&mut file.retry.backoff, retry.backoff);
    set(&mut file.retry.unknown, retry.unknown);
    set(&mut file.retry.max_elapsed, retry.max_elapsed);
    set(&mut file.output.success, rows.success);
    set(&mut file.output.split, rows.split);
    set(&mut file.output.split_key, rows.split_key);
    if retry.wait {
        file.retry.max_pause = None;
    }
    file.retry.wait |= retry.wait;
    if retry.max_pause.is_some() {
        file.retry.wait = false;
    }
    set(&mut file.retry.max_pause, retry.max_pause);
    set(&mut file.retry.budget, retry.retry_budget);

    set(&mut file.request.timeout, connection.timeout);
    set(&mut file.request.connect_timeout, connection.connect_timeout);
    set(&mut file.request.max_body, connection.max_body);
    set(&mut file.request.http2, connection.http2);
    set(&mut file.request.proxy, connection.proxy);
    file.request.ca.extend(connection.ca);
    set(&mut file.quota.connections, connection.connections);
    set(&mut file.output.drain, connection.drain);
    Ok(())
}

/// `--counted-within`: whoever gives it means the mode that goes with it.
pub(crate) fn assume(quota: &mut QuotaSection, counted_within: Option<String>) {
    if counted_within.is_some() {
        quota.mode = None;
    }
    set(&mut quota.counted_within, counted_within);
}

pub(crate) fn set<T>(field: &mut Option<T>, flag: Option<T>) {
    if flag.is_some() {
        *field = flag;
    }
}

pub(crate) fn text_or_file(field: &'static str, text: String) -> Result<String, JobError> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text) };
    std::fs::read_to_string(path).map_err(|error| JobError::Value {
        field,
        message: format!("cannot read {path}: {error}"),
        hint: Some("after `@` stands the name of a file with the body".to_owned()),
    })
}

fn parse_json(text: &str) -> Result<serde_json::Value, JobError> {
    serde_json::from_str(text).map_err(|error| JobError::Value {
        field: "--json",
        message: format!("expected JSON: {error}"),
        hint: Some(
            r#"for example --json '{"id": "{{ row.user_id }}"}'; other text is sent with -d"#.to_owned(),
        ),
    })
}

/// What would be sent, without sending it.
fn preview(printer: Printer, mut plan: Plan) -> anyhow::Result<Exit> {
    // Where costs differ, more rows tell more; but nobody waits for those of a stream.
    let differs = plan.contract.limits().any(|(limit, _)| limit.cost().is_none());
    let rows = if differs && plan.job.input.input.path().is_some() { llm::SAMPLE } else { PREVIEWS };
    let mut costs = llm::Average::default();
    let per_call = rows_per_call(&plan.job);
    for i in 0..rows {
        let rows = (0..per_call).map_while(|_| plan.source.next_row().transpose());
        let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
        if rows.is_empty() {
            break;
        }
        let mut faults = Vec::new();
        let call = plan.call(&rows, |row, error| faults.push((row.index, row.line, error)));
        if let Some((together, call)) = call {
            if i < PREVIEWS {
                printer.data(plan.template.preview(&call))?;
            }
            costs.add(plan.costs(&together, &call));
        }
        for (index, line, error) in faults.iter().filter(|_| i < PREVIEWS) {
            printer.data(format_args!("row {index} (line {line}) would fail: {error}\n"))?;
        }
    }
    describe_limits(printer, &plan.job, &plan.contract);
    let by_costs = costs.binds(&plan.contract);
    if let Some((_, text)) = &by_costs {
        printer.labelled("costs", text);
    }
    let rows = count_rows(&plan.job.input).map(|rows| plan.job.head.map_or(rows, |head| rows.min(head)));
    if let Some(rows) = rows {
        printer.labelled("rows", count(rows));
    }
    // With a quota for each partition, it depends on how the rows fall on them.
    let calls = rows.filter(|_| plan.job.partition.is_none()).map(|rows| rows.div_ceil(per_call));
    if let Some(calls) = calls.filter(|_| plan.job.batch.is_some()) {
        printer.labelled("calls", format_args!("{} of {} rows each", count(calls), count(per_call)));
    }
    let by_costs = calls.zip(by_costs).map(|(calls, (rate, _))| time_for(calls, rate));
    let time = calls.and_then(|calls| time_of(&plan.contract, calls));
    if let Some(time) = time.into_iter().chain(by_costs).max_by_key(|time| time.0) {
        printer.labelled("time", format_args!("about {time}"));
    }
    printer.line("Nothing was sent.");
    Ok(Exit::Success)
}

fn rows_per_call(job: &Job) -> u64 {
    job.batch.as_ref().map_or(1, |(rows, _)| *rows as u64)
}

pub(crate) fn describe_limits(printer: Printer, job: &Job, contract: &Contract) {
    if let Some(provider) = job.provider {
        printer.labelled("api", provider_in_words(provider));
    }
    if job.learns {
        printer.labelled("limit", LEARNT);
    } else if job.limits.is_empty() {
        let n = job.connections;
        printer.note(format_args!(
            "no limit was declared (--rate): up to {n} calls at a time, as fast as they are answered"
        ));
    }
    for line in summary(contract) {
        match line {
            Line::Limit(text) => printer.labelled("limit", text),
            Line::Hint(text) => printer.hint(&text),
            Line::Binds(text) => printer.labelled("binds", text),
            Line::Note(text) => printer.note(text),
        }
    }
    if job.tokens.learn {
        printer.note(
            "estimated: of the tokens is reserved what 99% of the answers so far took, so a window may hold more",
        );
    }
    if let Some(partition) = &job.partition {
        printer.labelled(
            "quotas",
            format_args!("one for each {partition}: all of the above holds for each by itself"),
        );
    }
}

/// Runs a plan to its end and reports.
pub(crate) fn drive(printer: Printer, mut plan: Plan, quiet: bool) -> anyhow::Result<Exit> {
    let job = plan.job.clone();
    let (contract, quota) = (plan.contract.clone(), plan.quota.clone());
    let warnings = if quiet { Vec::new() } else { plan.warnings() };
    let prepared = plan.prepare()?;
    if !quiet {
        describe_limits(printer, &job, &contract);
        for warning in &warnings {
            printer.note(warning);
        }
    }
    let per_call = rows_per_call(&job);
    let allowed = provable(&contract).filter(|_| job.partition.is_none());
    let Before { ok, failed, unknown } = prepared.done_before();
    let done = ok + failed + unknown;
    if done > 0 && !quiet {
        let unknown = of_unknown_outcome(unknown);
        printer.labelled(
            "resume",
            format_args!(
                "{} rows are done · {} results · {} failures{unknown}",
                count(done),
                count(ok),
                count(failed)
            ),
        );
    }
    let held = prepared.held();
    if let Some(held) = held.filter(|_| !quiet) {
        printer.note(told(held, &quota));
    }
    let runtime = runtime(&job)?;
    let (report, interrupted) = runtime.block_on(async {
        let (run, handle) = Run::new(prepared)?;
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let mut interrupted = None;
        let mut progress = Progress::new(printer, handle.clone(), (allowed, per_call), quiet);
        let mut total = if quiet { None } else { Some(count_in_background(job.input, job.head)) };
        let mut redraw = tokio::time::interval(REDRAW);
        redraw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut told_of = held.map(|held| held.why);
        let mut learning = Told::default();
        // A task of its own: waking the runtime's root future costs a system call.
        let mut run = tokio::spawn(run.drive());
        let report = loop {
            let stop = tokio::select! {
                report = &mut run => break report?,
                _ = interrupts.recv() => Exit::Interrupted,
                _ = terminations.recv() => Exit::Terminated,
                _ = redraw.tick() => {
                    if let Some(Ok(rows)) = total.as_mut().map(oneshot::Receiver::try_recv) {
                        progress.total(rows);
                    }
                    told_of = tell(&progress, handle.held(), told_of, &quota);
                    learning.tell(&progress, handle.learnt());
                    progress.show();
                    continue;
                }
            };
            if interrupted.is_none() {
                interrupted = Some(stop);
                progress.note("stopping: calls in flight may finish; interrupt again to end at once");
            }
            handle.interrupt();
        };
        progress.finish();
        learning.tell(&progress, handle.learnt());
        anyhow::Ok((report, interrupted))
    })?;
    // A feeder that sits in a read of stdin must not keep the program from ending.
    runtime.shutdown_background();
    let nothing_left = report.summary.rows == done && matches!(report.ended, Ended::Finished | Ended::Head);
    if quiet {
        // Failures are in their file, and the exit code says that there are any.
    } else if nothing_left {
        printer.line("Nothing was left to do; nothing was sent.");
    } else {
        done::print(printer, &report.summary);
    }
    Ok(conclude(printer, &report, interrupted, matches!(job.output, Target::File(_))))
}

/// One thread. At some hundred to some thousand calls a second it would wake up for nearly each of
/// them, with its caches gone, which costs more than the calls do. There it rests for a moment
/// before it waits for the network, and does together what came meanwhile. Answers are noted later
/// for that, never earlier: the limits hold as before, and a window of a second gives up 0.3%.
/// Where an estimate spares the wait for answers, that would be a tenth of what it gains, and is not done.
fn runtime(job: &Job) -> std::io::Result<Runtime> {
    const REST: Duration = Duration::from_millis(4);
    const WORTH_IT: std::ops::Range<f64> = 500.0..5_000.0;
    let mut builder = Builder::new_current_thread();
    let per_call = job.limits.iter().filter(|limit| limit.cost().is_some());
    let rate = per_call.filter_map(Limit::nominal_rate).reduce(f64::min);
    let only_windows = job.limits.iter().all(|limit| matches!(limit.rule(), Rule::Window { .. }));
    if only_windows && job.mode == Mode::Guaranteed && rate.is_some_and(|rate| WORTH_IT.contains(&rate)) {
        #[expect(clippy::disallowed_methods, reason = "it rests where it would wait anyway")]
        builder.on_thread_park(|| thread::sleep(REST));
    }
    builder.enable_all().build()
}

/// The last words, and the exit code.
fn conclude(printer: Printer, report: &Report, interrupted: Option<Exit>, resumable: bool) -> Exit {
    let (why, hint) = match &report.ended {
        Ended::Stopped(why) | Ended::LeftQuota(why) => (Some(why.clone()), None),
        Ended::Output(error) => (Some(error.to_string()), error.hint()),
        Ended::Input(error) => (Some(error.to_string()), error.hint()),
        _ => (None, None),
    };
    let carry_on = if resumable {
        "nothing is lost: the same command carries on where this one stopped"
    } else {
        "results on stdout cannot be carried on; with -o out.jsonl they can"
    };
    if let Some(why) = why {
        printer.error(&anyhow::anyhow!("stopped: {why}"));
        hint.into_iter().chain([carry_on]).for_each(|hint| printer.hint(hint));
        return Exit::Stopped;
    }
    match (&report.ended, interrupted) {
        (Ended::Interrupted, exit) => {
            printer.note("interrupted");
            printer.hint(carry_on);
            exit.unwrap_or(Exit::Interrupted)
        }
        _ if report.failures_allowed => Exit::Success,
        _ => Exit::Failures,
    }
}

/// Says what holds up a run that is under way, once; what was said so far.
fn tell(progress: &Progress, held: Option<Held>, told_of: Option<HeldFor>, quota: &str) -> Option<HeldFor> {
    let Some(held) = held else {
        // A server may lose its memory again.
        return told_of.filter(|why| !is_of_a_server(*why));
    };
    if told_of == Some(held.why) || (told_of.is_some() && !is_of_a_server(held.why)) {
        return told_of;
    }
    progress.note(&match held.why {
        HeldFor::FormerUse => format!(
            "what was sent under quota {quota} before still counts, so nothing is sent for {} (`tidegate quota show {quota}` says more)",
            Human(held.length)
        ),
        _ => told(held, quota),
    });
    Some(held.why)
}

/// Whether it may come at any time.
fn is_of_a_server(why: HeldFor) -> bool {
    matches!(why, HeldFor::ColdStart | HeldFor::Restarted | HeldFor::ClockJumped)
}

/// Why nothing is sent at first, and for how long.
pub(crate) fn told(held: Held, quota: &str) -> String {
    let time = Human(held.length);
    match held.why {
        HeldFor::ColdStart => format!(
            "nobody here knows what quota {quota} was used for lately: its store has never seen it, or has lost it (a server without its data, a container without a state folder), so nothing is sent for {time} (`tidegate quota create {quota} …` or --assume-idle vouches that it is idle)"
        ),
        HeldFor::Restarted => format!(
            "the server that keeps quota {quota} has started again, or another one has taken its place: what happened last may be missing there, so nothing is sent for {time}, until all that was sent has been counted"
        ),
        HeldFor::ClockJumped => format!(
            "the clock of the server that keeps quota {quota} was set, and its dates mean nothing any more: nothing is sent for {time}, until all that was sent has been counted"
        ),
        HeldFor::Redefined => format!(
            "quota {quota} had other limits; what was used of them may still count, so nothing is sent for {time} (`tidegate quota forget {quota}` vouches that nothing does)"
        ),
        _ => format!(
            "what an earlier run has sent may still count, so nothing is sent for {time} (--assume-idle vouches that nothing does)"
        ),
    }
}

/// Counts the rows of a file beside the run; nothing comes of stdin, which is read once.
fn count_in_background(input: InputSpec, head: Option<u64>) -> oneshot::Receiver<u64> {
    let (done, receiver) = oneshot::channel();
    let counting = thread::Builder::new().name("count".to_owned()).spawn(move || {
        thread::park_timeout(COUNT_AFTER);
        if let Some(rows) = count_rows(&input) {
            let _ = done.send(head.map_or(rows, |head| rows.min(head)));
        }
    });
    drop(counting); // without it there is no total, and nothing worse
    receiver
}

fn count_rows(input: &InputSpec) -> Option<u64> {
    if !input.input.path().is_some_and(Path::is_file) {
        return None;
    }
    let mut source = Source::open(input).ok()?;
    let mut rows = 0;
    while source.next_row().ok()?.is_some() {
        rows += 1;
    }
    Some(rows)
}
