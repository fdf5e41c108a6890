//! The key that calls carry, while it is good: one refresh for all, whoever finds that it is not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use tidegate_core::Time;

use super::{Ended, Engine, lock};
use crate::auth::{AuthSpec, Token};
use crate::template::Secrets;

/// Attempts to get a key, one after the other, before the job stops.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// Of two keys in a row no call was let through: a third would do no better.
const REFUSED: u32 = 2;
/// A row that is refused with so many keys, where other rows are not, stops the job.
pub(super) const ROW_REFUSED: u8 = 3;

pub(super) struct Credentials {
    spec: AuthSpec,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// Rises with each key.
    generation: u64,
    /// A call was let through with it.
    works: bool,
    is_refused: bool,
    /// A new one is wanted from then on, and this one is no good after that.
    refresh_at: Option<Time>,
    expires_at: Option<Time>,
    fetching: bool,
    /// Keys in a row with which no call was let through.
    refused: u32,
    /// What earlier answers may still echo.
    before: Secrets,
}

/// What becomes of a call that was answered 401.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It goes again with another key.
    Resend,
    Stop,
}

impl Credentials {
    pub(super) fn new(spec: AuthSpec) -> Self {
        Self { spec, state: Mutex::default() }
    }

    /// Whether calls can be sent, and whether a new key is to be fetched for that or ahead of its end.
    pub(super) fn look(&self, now: Time) -> (bool, bool) {
        let state = lock(&self.state);
        let over = state.is_refused || state.expires_at.is_some_and(|at| at <= now);
        let good = state.token.is_some() && !over;
        let wanted = !good || state.refresh_at.is_some_and(|at| at <= now);
        (good, wanted && !state.fetching)
    }

    /// Puts the key into the headers of a call; returns which one it is.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) -> u64 {
        let state = lock(&self.state);
        if let Some(token) = &state.token {
            headers.insert(self.spec.header.clone(), token.value.clone());
        }
        state.generation
    }

    /// A call with this key was let through.
    pub(super) fn accepted(&self, generation: u64) {
        let mut state = lock(&self.state);
        if generation == state.generation && !state.works {
            (state.works, state.refused) = (true, 0);
        }
    }

    /// A call with this key was answered 401.
    pub(super) fn refused(&self, generation: u64) -> Refusal {
        let mut state = lock(&self.state);
        if generation == state.generation && !state.is_refused {
            state.is_refused = true;
            if !state.works {
                state.refused += 1;
            }
        }
        if state.refused >= REFUSED { Refusal::Stop } else { Refusal::Resend }
    }

    /// The keys that must not be shown.
    pub(super) fn secrets(&self) -> [Secrets; 2] {
        let state = lock(&self.state);
        [state.before.clone(), state.token.as_ref().map(|token| token.secrets.clone()).unwrap_or_default()]
    }

    fn fetched(&self, token: Token, now: Time) {
        let mut state = lock(&self.state);
        state.fetching = false;
        state.before = state.token.take().map(|old| old.secrets).unwrap_or_default();
        state.generation += 1;
        (state.works, state.is_refused) = (false, false);
        state.expires_at = token.expires_in.map(|good_for| now + good_for);
        // A tenth of its time ahead, a minute at most.
        state.refresh_at = token
            .expires_in
            .map(|good_for| now + good_for.saturating_sub((good_for / 10).min(Duration::from_secs(60))));
        state.token = Some(token);
    }
}

impl Engine {
    /// Whether calls have a key, if they need one.
    pub(super) fn has_token(&self) -> bool {
        self.credentials.as_ref().is_none_or(|tokens| tokens.look(self.clock.now()).0)
    }

    /// Begins to fetch a key if one is wanted.
    pub(super) fn look_after_token(self: &Arc<Self>) -> Option<impl Future<Output = ()> + use<>> {
        let tokens = self.credentials.as_ref()?;
        if !tokens.look(self.clock.now()).1 || self.is_stopping() {
            return None;
        }
        lock(&tokens.state).fetching = true;
        let engine = Arc::clone(self);
        Some(async move { engine.fetch_token().await })
    }

    async fn fetch_token(&self) {
        let Some(tokens) = &self.credentials else { return };
        for attempt in 1..=TRIES {
            let asked = self.clock.now();
            match tokens.spec.fetch().await {
                Ok(token) => {
                    // Its time runs from before it was asked for.
                    tokens.fetched(token, asked);
                    lock(&self.stats).refreshed();
                    break;
                }
                Err(why) if attempt == TRIES => {
                    self.stop(Ended::Stopped(format!("{why}, {TRIES} times in a row")));
                }
                Err(_) => tokio::time::sleep(BETWEEN_TRIES).await,
            }
        }
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::auth::TokenSource;

    fn token(seconds: u64) -> Token {
        Token {
            value: HeaderValue::from_static("Bearer abc"),
            secrets: Secrets::default(),
            expires_in: Some(Duration::from_secs(seconds)),
        }
    }

    fn s(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_key_is_refreshed_ahead_and_once() {
        let tokens = Credentials::new(AuthSpec::bearer(TokenSource::Command(String::new())));
        assert_eq!(tokens.look(s(0)), (false, true));
        tokens.fetched(token(100), s(0));
        assert_eq!(tokens.look(s(89)), (true, false));
        assert_eq!(tokens.look(s(90)), (true, true));
        assert_eq!(tokens.look(s(100)), (false, true));
        lock(&tokens.state).fetching = true;
        assert_eq!(tokens.look(s(100)), (false, false));
    }

    #[test]
    fn calls_with_a_key_that_has_expired_go_again() {
        let tokens = Credentials::new(AuthSpec::bearer(TokenSource::Command(String::new())));
        tokens.fetched(token(100), s(0));
        let first = tokens.stamp(&mut HeaderMap::new());
        tokens.accepted(first);
        for _ in 0..50 {
            assert_eq!(tokens.refused(first), Refusal::Resend);
        }
        assert_eq!(tokens.look(s(1)), (false, true));
        tokens.fetched(token(100), s(1));
        // Late ones of before say nothing of the new one.
        assert_eq!(tokens.refused(first), Refusal::Resend);
        assert_eq!(tokens.look(s(2)), (true, false));
    }

    #[test]
    fn two_keys_that_no_call_is_let_through_with_are_enough() {
        let tokens = Credentials::new(AuthSpec::bearer(TokenSource::Command(String::new())));
        tokens.fetched(token(100), s(0));
        let generation = tokens.stamp(&mut HeaderMap::new());
        assert_eq!(tokens.refused(generation), Refusal::Resend);
        tokens.fetched(token(100), s(1));
        let generation = tokens.stamp(&mut HeaderMap::new());
        assert_eq!(tokens.refused(generation), Refusal::Stop);
    }
}
