//! What it costs to read an answer's headers. It is done for every answer.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_core::feedback::Dialects;

/// What comes with every answer.
const USUAL: [(&str, &str); 10] = [
    ("content-type", "application/json; charset=utf-8"),
    ("content-length", "1042"),
    ("connection", "keep-alive"),
    ("date", "Sun, 01 Mar 2026 00:00:00 GMT"),
    ("server", "nginx"),
    ("vary", "Accept-Encoding"),
    ("x-request-id", "5f0e9c1e-5f0c-4e5e-9b1a-1d2f3a4b5c6d"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("cache-control", "private, max-age=0"),
    ("etag", "W/\"0b3f-1c\""),
];

fn read(c: &mut Criterion) {
    let dialects = Dialects::builtin();
    let mut group = c.benchmark_group("read");
    let told: [(&str, &[(&str, &str)]); 6] = [
        ("nothing", &[]),
        ("Retry-After", &[("retry-after", "30")]),
        (
            "three fields",
            &[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "99"), ("x-ratelimit-reset", "60")],
        ),
        (
            "GitHub",
            &[
                ("x-ratelimit-limit", "5000"),
                ("x-ratelimit-remaining", "4987"),
                ("x-ratelimit-reset", "1772325120"),
                ("x-ratelimit-used", "13"),
                ("x-ratelimit-resource", "core"),
            ],
        ),
        (
            "OpenAI",
            &[
                ("x-ratelimit-limit-requests", "10000"),
                ("x-ratelimit-limit-tokens", "200000"),
                ("x-ratelimit-remaining-requests", "9999"),
                ("x-ratelimit-remaining-tokens", "199943"),
                ("x-ratelimit-reset-requests", "8.64s"),
                ("x-ratelimit-reset-tokens", "17ms"),
            ],
        ),
        (
            "IETF",
            &[
                ("ratelimit-policy", "\"burst\";q=100;w=60, \"daily\";q=1000;w=86400"),
                ("ratelimit", "\"burst\";r=50;t=30"),
            ],
        ),
    ];
    for (name, told) in told {
        let fields: Vec<_> = USUAL.iter().chain(told).copied().collect();
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| dialects.read(black_box(&fields[..]), None));
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
