//! Which calls were answered well, and which of them more than once.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use http::request::Parts;

/// Calls told apart at most: 300 MB of hashes.
const MAX_CALLS: usize = 20_000_000;

/// Remembers a 64-bit hash per call: among 20 million, two are confused with a chance of one in
/// 100,000.
#[derive(Debug)]
pub(super) struct Served {
    calls: HashSet<u64, Hashed>,
    repeated: HashSet<u64, Hashed>,
    complete: bool,
    capacity: usize,
}

type Hashed = BuildHasherDefault<Identity>;

/// The keys are hashes already.
#[derive(Debug, Default)]
pub(super) struct Identity(u64);

/// What makes two requests the same call: method, target and body.
pub(super) fn call(head: &Parts, body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    head.method.as_str().hash(&mut hasher);
    head.uri.path().hash(&mut hasher);
    head.uri.query().hash(&mut hasher);
    body.hash(&mut hasher);
    hasher.finish()
}

impl Served {
    pub(super) fn new() -> Self {
        Self::with_capacity(MAX_CALLS)
    }

    pub(super) fn record(&mut self, call: u64) {
        if self.calls.len() == self.capacity && !self.calls.contains(&call) {
            self.complete = false;
        } else if !self.calls.insert(call) {
            self.repeated.insert(call);
        }
    }

    /// Number of calls recorded more than once.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated.len() as u64
    }

    /// Whether all calls were remembered.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    fn with_capacity(capacity: usize) -> Self {
        Self { calls: HashSet::default(), repeated: HashSet::default(), complete: true, capacity }
    }
}

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` keys are ever hashed, by `write_u64`; this keeps the trait's contract all the same.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(served: &mut Served, calls: &[u64]) {
        for call in calls {
            served.record(*call);
        }
    }

    #[test]
    fn counts_each_repeated_call_once() {
        let mut served = Served::new();
        record(&mut served, &[1, 2, 3, 2, 2, 3]);
        assert_eq!((served.repeated(), served.is_complete()), (2, true));
    }

    #[test]
    fn says_when_it_is_full() {
        let mut served = Served::with_capacity(2);
        record(&mut served, &[1, 2, 1]);
        assert!(served.is_complete());
        record(&mut served, &[3, 3, 2]);
        assert_eq!((served.repeated(), served.is_complete()), (2, false));
    }

    #[test]
    fn method_target_and_body_make_a_call() {
        let head = |method: &str, uri: &str| {
            http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0
        };
        let get = call(&head("GET", "/v1/users/1"), b"");
        assert_eq!(get, call(&head("GET", "http://example.com/v1/users/1"), b""));
        for (method, uri, body) in [
            ("POST", "/v1/users/1", ""),
            ("GET", "/v1/users/2", ""),
            ("GET", "/v1/users/1?", ""),
            ("GET", "/v1/users/1", "x"),
        ] {
            assert_ne!(get, call(&head(method, uri), body.as_bytes()), "{method} {uri} {body}");
        }
    }
}
