//! `tidegate quota`: the quotas that the processes of this machine share.

use std::fmt::Write as _;
use std::time::Duration;

use tidegate::job::StoreSpec;
use tidegate::retry::{Human, parse_duration};
use tidegate_core::{Limit, Priority, Terms};
use tidegate_quota::store::{Admin, Definition, HeldFor, LimitView, MemberView, QuotaView, Who};

use crate::args::{QuotaCommand, StorePlace};
use crate::exit::Exit;
use crate::printer::{Hinting, Printer, count};

/// A pause that somebody will end.
const VERY_LONG: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Partitions that are shown.
const MOST_PARTITIONS: usize = 20;

pub(crate) fn command(printer: Printer, command: QuotaCommand) -> anyhow::Result<Exit> {
    match command {
        QuotaCommand::List { place } => {
            let quotas = admin(&place)?.list()?;
            if quotas.is_empty() {
                printer.note("there are no quotas here yet: the first job with a limit makes one");
            }
            for quota in quotas {
                printer.data(line(&quota))?;
            }
        }
        QuotaCommand::Show { name, place } => printer.bytes(page(&admin(&place)?.show(&name)?).as_bytes())?,
        QuotaCommand::Create { name, limits, reserve, place } => {
            let terms = Terms { reserve: reserve.unwrap_or_default(), ..Terms::default() };
            let definition = Definition::new(&parse(&limits)?, &terms);
            admin(&place)?.create(&name, &definition)?;
            printer.line(format_args!("{name}: {definition}"));
        }
        QuotaCommand::Set { name, rate, reserve, place } => {
            let mut admin = admin(&place)?;
            if !rate.is_empty() {
                admin.set_limits(&name, &parse(&rate)?)?;
            }
            if let Some(reserve) = reserve {
                admin.set_reserve(&name, reserve)?;
            }
            printer.line(format_args!("{name}: {}", admin.show(&name)?.definition));
        }
        QuotaCommand::Pause { name, length, place } => {
            let length = length.as_deref().map(duration).transpose()?;
            admin(&place)?.pause(&name, length.unwrap_or(VERY_LONG))?;
            let until = length.map_or_else(
                || format!("until `tidegate quota resume {name}`"),
                |length| format!("for {}", Human(length)),
            );
            printer.line(format_args!("{name} is paused {until}"));
        }
        QuotaCommand::Resume { name, place } => {
            admin(&place)?.resume(&name)?;
            printer.line(format_args!("{name} goes on"));
        }
        QuotaCommand::Forget { name, force, place } => {
            admin(&place)?.forget(&name, force)?;
            printer.line(format_args!("{name} is forgotten"));
        }
    }
    Ok(Exit::Success)
}

fn admin(place: &StorePlace) -> anyhow::Result<Admin> {
    let store = StoreSpec::parse(place.store.as_deref().unwrap_or("sqlite"))?.open()?;
    let store = store.ok_or_else(|| Hinting {
        message: "quotas in memory end with the process that has them".to_owned(),
        hint: "leave --store away, or name a folder or a server: --store sqlite:FOLDER, --store redis://HOST:PORT/DB"
            .to_owned(),
    })?;
    // As it is kept for all to see: without the address of a server, in which there may be a password.
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_address = |word: &&String| word.contains("://");
    let said = args.iter().enumerate().filter(|(i, word)| {
        let names_one = *word == "--store" && args.get(i + 1).is_some_and(|next| is_address(&next));
        !names_one && !is_address(word)
    });
    let words: Vec<&str> = said.map(|(_, word)| word.as_str()).collect();
    Ok(store.into_admin(Who::this(words.join(" "))))
}

fn parse(limits: &[String]) -> anyhow::Result<Vec<Limit>> {
    Ok(limits.iter().map(|limit| limit.parse()).collect::<Result<_, _>>()?)
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    parse_duration(text).map_err(|message| anyhow::anyhow!("--for: {message}"))
}

/// A quota in a line: name, limits, who uses it, and whether anything holds it up.
fn line(quota: &QuotaView) -> String {
    let users = match quota.members.len() {
        0 => "nobody uses it".to_owned(),
        1 => "1 process".to_owned(),
        n => format!("{n} processes"),
    };
    let mut line = format!("{}\t{}\t{users}", quota.name, quota.definition);
    if let Some(paused) = quota.paused_for {
        let _ = write!(line, "\t{}", pause(paused)); // a String takes everything
    }
    line
}

/// A quota on a page.
fn page(quota: &QuotaView) -> String {
    let mut page = String::new();
    let mut say = |label: &str, text: &str| {
        let _ = writeln!(page, "{label:<9}{text}");
    };
    say("quota", &quota.name);
    say("limits", &quota.definition.to_string());
    say(if quota.explicit { "set" } else { "from" }, &quota.set_by.to_string());
    if let Some(paused) = quota.paused_for {
        let is_open = paused > VERY_LONG / 2;
        say(
            "paused",
            &if is_open { "until it is resumed".to_owned() } else { format!("for {}", Human(paused)) },
        );
    }
    if let Some((why, held)) = quota.held_for {
        let why = match why {
            HeldFor::ColdStart => "nobody knows what was used of it lately",
            HeldFor::Redefined => "it had other limits before",
            HeldFor::Restarted => "its server has started again, and may have forgotten what happened last",
            HeldFor::ClockJumped => "the clock of its server was set",
            _ => "what was used of it still counts",
        };
        say("held", &format!("for {}: {why}", Human(held)));
    }
    if quota.partition_count <= 1 {
        quota.limits.iter().for_each(|limit| say("use", &use_of(limit)));
    } else {
        say(
            "quotas",
            &format!("{} partitions, each with all of the limits", count(quota.partition_count as u64)),
        );
        for partition in quota.partitions.iter().take(MOST_PARTITIONS) {
            let limits: Vec<String> = partition.limits.iter().map(use_of).collect();
            let paused = partition.paused_for.map(|left| format!(" · {}", pause(left))).unwrap_or_default();
            say("", &format!("{}: {}{paused}", partition.name, limits.join(" · ")));
        }
    }
    quota.members.iter().for_each(|member| say("process", &process(member)));
    page
}

fn use_of(limit: &LimitView) -> String {
    let LimitView { limit, units, leased, coming_back, back_in } = limit;
    let mut text = format!("{limit}: of {} units {} with processes", count(*units), count(*leased));
    if *coming_back > 0 {
        let when = back_in.map(|left| format!(" within {}", Human(left))).unwrap_or_default();
        let _ = write!(text, ", {} come back{when}", count(*coming_back));
    }
    text
}

fn process(member: &MemberView) -> String {
    let Who { pid, does } = &member.who;
    let leased: Vec<String> = member.leased.iter().map(|units| count(*units)).collect();
    let late = if member.is_late {
        format!(" · silent for {}: frozen, or it cannot reach the store", Human(member.silent_for))
    } else {
        String::new()
    };
    let priority = match member.priority {
        Priority::Normal => String::new(),
        other => format!("{other} · "),
    };
    format!("{pid} ({does}) · {priority}{} units{late}", leased.join(" + "))
}

fn pause(left: Duration) -> String {
    if left > VERY_LONG / 2 { "paused".to_owned() } else { format!("paused for {}", Human(left)) }
}
