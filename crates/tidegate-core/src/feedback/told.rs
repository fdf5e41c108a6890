//! What the fields of one resource tell, together.

use std::time::Duration;

use super::dialect::{Resource, Role};
use super::ietf::{self, Policy, State};
use super::read::Arrival;
use super::value::{self, Moment};
use super::{Feedback, Reading};
use crate::limit::Unit;

/// Bytes of a resource's name.
const MAX_NAME: usize = 64;

#[derive(Default)]
pub(super) struct Told<'f> {
    name: Option<&'f str>,
    limit: Option<u64>,
    remaining: Option<u64>,
    used: Option<u64>,
    window: Option<Duration>,
    resets_in: Option<Duration>,
    policies: Vec<Policy>,
    states: Vec<State>,
}

impl<'f> Told<'f> {
    /// Notes what a field tells.
    pub(super) fn take(
        &mut self,
        role: Role,
        text: &'f str,
        arrival: Arrival<'_>,
    ) -> Result<(), &'static str> {
        match role {
            Role::Limit if text.contains([',', ';']) => {
                let (limit, policies) = ietf::limit_and_policies(text)?;
                self.limit.get_or_insert(limit);
                if self.policies.is_empty() {
                    self.policies = policies;
                }
            }
            Role::Limit => {
                let (limit, _) = value::count(text)?;
                self.limit.get_or_insert(limit);
            }
            Role::Remaining => {
                let (remaining, _) = value::count(text)?;
                self.remaining.get_or_insert(remaining);
            }
            Role::Used => self.used = Some(rounded_up(text)?),
            Role::Reset(form) if self.resets_in.is_none() => {
                self.resets_in = Some(arrival.until(value::moment(text, form)?)?);
            }
            Role::Reset(_) => {}
            Role::Window(form) => match value::moment(text, form)? {
                Moment::In(window) if !window.is_zero() => self.window = Some(window),
                _ => return Err("not a length of time"),
            },
            Role::Resource => self.name = Some(name(text)?),
            Role::UsedOf(key) => self.used_of(key, text)?,
            Role::Parts => self.parts(text)?,
            Role::Policy => self.policies = ietf::policies(text)?,
            Role::State => self.states = ietf::states(text)?,
        }
        Ok(())
    }

    /// `32/40`, or `api-usage=18/5000; per-app-api-usage=17/250(appName=x)`.
    fn used_of(&mut self, key: &str, text: &str) -> Result<(), &'static str> {
        const BAD: &str = "not of the form used/limit";
        let mut parts = text.split([';', ',']).map(str::trim);
        let pair = if key.is_empty() {
            parts.next()
        } else {
            parts.find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
        };
        let (used, limit) = pair.and_then(|pair| pair.split_once('/')).ok_or(BAD)?;
        (self.used, self.limit) = (Some(rounded_up(used)?), Some(value::count(limit)?.0));
        Ok(())
    }

    /// `total=100; remaining=99; resets=41`.
    fn parts(&mut self, text: &str) -> Result<(), &'static str> {
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or("not of the form total=…; remaining=…")?;
            match key.trim() {
                "total" => self.limit = Some(value::count(value)?.0),
                "remaining" => self.remaining = Some(value::count(value)?.0),
                "resets" => self.resets_in = Some(value::seconds(value)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// A reading for each resource that the fields tell of.
    pub(super) fn into_readings(mut self, resource: &Resource, feedback: &mut Feedback) {
        self.named(resource, feedback);
        self.unnamed_policies(resource, feedback);
        if let Some(used) = self.used {
            self.limit = self.limit.or(self.remaining.map(|remaining| remaining.saturating_add(used)));
            self.remaining = self.remaining.or(self.limit.map(|limit| limit.saturating_sub(used)));
        }
        if self.limit.is_none() && self.remaining.is_none() {
            return;
        }
        let implied = self.name.and_then(|name| resource.windows.iter().find(|(of, _)| *of == name));
        let implied = implied.map(|(_, seconds)| Duration::from_secs(*seconds));
        let reading = Reading {
            resource: self.name.unwrap_or(&resource.name).into(),
            unit: resource.unit.clone(),
            limit: self.limit,
            remaining: self.remaining,
            window: self.window.or(implied).or(resource.window),
            resets_in: self.resets_in,
            reset: resource.reset,
        };
        push(feedback, reading);
    }

    /// Policies and states that have a name.
    fn named(&mut self, resource: &Resource, feedback: &mut Feedback) {
        for policy in self.policies.extract_if(.., |policy| policy.name.is_some()) {
            let state = self.states.iter().position(|state| state.name == policy.name);
            let state = state.map(|at| self.states.swap_remove(at));
            let reading = Reading {
                resource: policy.name.unwrap_or_default(),
                unit: policy.unit,
                limit: Some(policy.limit),
                remaining: state.as_ref().map(|state| state.remaining),
                window: policy.window,
                resets_in: state.and_then(|state| state.resets_in),
                reset: resource.reset,
            };
            push(feedback, reading);
        }
        for State { name, limit, remaining, resets_in } in self.states.drain(..) {
            let Some(name) = name else {
                self.limit = self.limit.or(limit);
                self.remaining = self.remaining.or(Some(remaining));
                self.resets_in = self.resets_in.or(resets_in);
                continue;
            };
            let (unit, remaining) = (Unit::Requests, Some(remaining));
            let reset = resource.reset;
            push(
                feedback,
                Reading { resource: name, unit, limit, remaining, window: None, resets_in, reset },
            );
        }
    }

    /// One of the policies without a name is the limit that the other fields are about.
    fn unnamed_policies(&mut self, resource: &Resource, feedback: &mut Feedback) {
        if let ([only], None) = (&self.policies[..], self.limit) {
            self.limit = Some(only.limit);
        }
        for Policy { limit, window, unit, .. } in self.policies.drain(..) {
            let Some(window) = window else { continue };
            if self.limit == Some(limit) && self.window.is_none() {
                self.window = Some(window);
                continue;
            }
            let reading = Reading {
                resource: format!("{limit}-in-{}s", window.as_secs()).into(),
                unit,
                limit: Some(limit),
                remaining: None,
                window: Some(window),
                resets_in: None,
                reset: resource.reset,
            };
            push(feedback, reading);
        }
    }
}

/// The first word on a resource counts: dialects stand in the order of their claims.
fn push(feedback: &mut Feedback, reading: Reading) {
    if feedback.readings.iter().any(|other| other.resource == reading.resource) {
        return;
    }
    if reading.limit == Some(0) {
        // Okta says so of a limit of another kind; taken at its word nothing could ever be sent.
        return feedback.ignore(&reading.resource, "a limit of 0");
    }
    feedback.readings.push(reading);
}

fn rounded_up(text: &str) -> Result<u64, &'static str> {
    value::count(text).map(|(whole, and_more)| whole + u64::from(and_more))
}

fn name(text: &str) -> Result<&str, &'static str> {
    let usual = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b);
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(usual) {
        return Err("not a name");
    }
    Ok(text)
}
