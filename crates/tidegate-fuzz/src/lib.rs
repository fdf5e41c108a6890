//! What must hold for any input: one function per door through which text comes in.
//!
//! Each target takes bytes and panics if a promise is broken. `tests/smoke.rs` runs all of them
//! over the corpus and over mutations of it, on any tool chain; the package in `fuzz/` hands
//! the same functions to cargo-fuzz.

mod feedback;
mod job;
mod mutate;
mod rows;
mod spec;
mod template;

pub use self::feedback::{headers, retry_after};
pub use self::job::job_file;
pub use self::mutate::Mutator;
pub use self::rows::rows;
pub use self::spec::{limit, sim_spec};
pub use self::template::template;

/// A target: its promises hold for these bytes, or it panics.
pub type Check = fn(&[u8]);

/// All targets by name, each with words that mean something to it.
pub const TARGETS: [(&str, Check, &[&str]); 7] = [
    ("headers", headers, feedback::HEADER_WORDS),
    ("job_file", job_file, job::WORDS),
    ("limit", limit, spec::LIMIT_WORDS),
    ("retry_after", retry_after, feedback::RETRY_AFTER_WORDS),
    ("rows", rows, rows::WORDS),
    ("sim_spec", sim_spec, spec::SIM_WORDS),
    ("template", template, template::WORDS),
];

/// Messages repeat what they were given a few times at most: quoted, and escaped once.
fn assert_bounded(message: &str, given: usize) {
    let limit = 4_096 + 16 * given;
    assert!(message.len() <= limit, "a message of {} bytes about {given} bytes", message.len());
}
