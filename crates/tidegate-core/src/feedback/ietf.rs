//! The structured fields of the IETF's drafts (RFC 9651).
//!
//! `RateLimit-Policy: "burst";q=100;w=60` and `RateLimit: "burst";r=50;t=30` since draft 08. Before
//! that `RateLimit: limit=100, remaining=50, reset=30`, policies without a name (`100;w=60`), and
//! three fields, of which that of the limit may carry policies too (`100, 100;w=60`).

use std::time::Duration;

use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parameters, Parser};

use super::value::LONGEST;
use crate::limit::Unit;

const MALFORMED: &str = "not the structured field that it has to be";
const SENSELESS: &str = "numbers that make no sense";
/// Policies of one field; more are nonsense.
const MAX_POLICIES: usize = 16;
const MAX_NAME: usize = 64;

/// A limit by its name; unnamed before draft 08.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) name: Option<Box<str>>,
    pub(super) limit: u64,
    pub(super) window: Option<Duration>,
    pub(super) unit: Unit,
}

/// What is left of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) name: Option<Box<str>>,
    pub(super) limit: Option<u64>,
    pub(super) remaining: u64,
    pub(super) resets_in: Option<Duration>,
}

/// `RateLimit-Policy`.
pub(super) fn policies(text: &str) -> Result<Vec<Policy>, &'static str> {
    let policies = items(text)?.iter().map(policy).collect::<Result<Vec<_>, _>>()?;
    let twice = |(i, policy): (usize, &Policy)| {
        policy.name.is_some() && policies[..i].iter().any(|other| other.name == policy.name)
    };
    if policies.iter().enumerate().any(twice) { Err("a name twice") } else { Ok(policies) }
}

/// `RateLimit`.
pub(super) fn states(text: &str) -> Result<Vec<State>, &'static str> {
    if let Ok(items) = items(text) {
        let states = items.iter().map(state).collect::<Result<Vec<_>, _>>()?;
        let twice = |(i, state): (usize, &State)| states[..i].iter().any(|other| other.name == state.name);
        return if states.iter().enumerate().any(twice) { Err("a name twice") } else { Ok(states) };
    }
    let old: Dictionary = Parser::new(text).parse().map_err(|_| MALFORMED)?;
    let number = |key: &str| match old.get(key) {
        None => Ok(None),
        Some(ListEntry::Item(item)) => whole(&item.bare_item).map(Some),
        Some(ListEntry::InnerList(_)) => Err(MALFORMED),
    };
    Ok(vec![State {
        name: None,
        limit: number("limit")?,
        remaining: number("remaining")?.ok_or(MALFORMED)?,
        resets_in: number("reset")?.map(span).transpose()?,
    }])
}

/// `RateLimit-Limit: 100, 100;w=60`: the limit, and its policies.
pub(super) fn limit_and_policies(text: &str) -> Result<(u64, Vec<Policy>), &'static str> {
    let mut policies = policies(text)?;
    if policies.iter().any(|policy| policy.name.is_some()) {
        return Err(MALFORMED);
    }
    let limit = policies.first().map(|first| first.limit).ok_or(MALFORMED)?;
    policies.retain(|policy| policy.window.is_some());
    Ok((limit, policies))
}

fn items(text: &str) -> Result<Vec<Item>, &'static str> {
    let list: List = Parser::new(text).parse().map_err(|_| MALFORMED)?;
    if list.is_empty() || list.len() > MAX_POLICIES {
        return Err(MALFORMED);
    }
    let item = |entry| match entry {
        ListEntry::Item(item) => Ok(item),
        ListEntry::InnerList(_) => Err(MALFORMED),
    };
    list.into_iter().map(item).collect()
}

fn policy(item: &Item) -> Result<Policy, &'static str> {
    let parameters = &item.params;
    let (name, limit) = match &item.bare_item {
        BareItem::Integer(_) => (None, whole(&item.bare_item)?),
        named => (Some(name(named)?), parameter(parameters, "q")?.ok_or(MALFORMED)?),
    };
    let unit = match parameters.get("qu") {
        None => Unit::Requests,
        Some(unit) => match &*self::name(unit)? {
            "requests" | "request" => Unit::Requests,
            other => Unit::Named(other.to_owned()),
        },
    };
    let window = parameter(parameters, "w")?.map(span).transpose()?;
    if window.is_some_and(|window| window.is_zero()) {
        return Err(SENSELESS);
    }
    Ok(Policy { name, limit, window, unit })
}

fn state(item: &Item) -> Result<State, &'static str> {
    Ok(State {
        name: Some(name(&item.bare_item)?),
        limit: None,
        remaining: parameter(&item.params, "r")?.ok_or(MALFORMED)?,
        resets_in: parameter(&item.params, "t")?.map(span).transpose()?,
    })
}

/// A string; the first of these drafts had tokens.
fn name(item: &BareItem) -> Result<Box<str>, &'static str> {
    let name = match item {
        BareItem::String(name) => name.as_str(),
        BareItem::Token(name) => name.as_str(),
        _ => return Err(MALFORMED),
    };
    if name.is_empty() || name.len() > MAX_NAME { Err(MALFORMED) } else { Ok(name.into()) }
}

fn parameter(parameters: &Parameters, key: &str) -> Result<Option<u64>, &'static str> {
    parameters.get(key).map(whole).transpose()
}

fn whole(item: &BareItem) -> Result<u64, &'static str> {
    match item {
        // Fifteen digits at most, by the RFC.
        BareItem::Integer(n) => u64::try_from(i64::from(*n)).map_err(|_| SENSELESS),
        _ => Err(MALFORMED),
    }
}

fn span(seconds: u64) -> Result<Duration, &'static str> {
    let span = Duration::from_secs(seconds);
    if span > LONGEST { Err("further away than 400 days") } else { Ok(span) }
}
