//! The dialects that are known, each with the page that its facts are from.
//!
//! A provider whose names others use as well has marks: fields that only it sends. The first
//! dialect that knows a field has it; what is left is read by the general ones at the end.

use std::time::Duration;

use super::Reset;
use super::dialect::Role::{
    self, Limit, Parts, Policy, Remaining, Reset as ResetAt, Resource, State, Used, UsedOf, Window,
};
use super::value::Form::{self, Auto, Delta, DeltaMs, Epoch, Go, Iso};

/// One provider.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// A page, and when it was read.
    pub(super) source: &'static str,
    pub(super) marks: &'static [&'static str],
    pub(super) resources: &'static [Of],
    pub(super) retry_after: &'static [(&'static str, Form)],
}

/// One resource of it.
pub(super) struct Of {
    pub(super) resource: &'static str,
    pub(super) unit: &'static str,
    pub(super) window: Option<Duration>,
    pub(super) windows: &'static [(&'static str, u64)],
    pub(super) reset: Reset,
    pub(super) fields: &'static [(&'static str, Role)],
}

const NONE: Row = Row { name: "", source: "", marks: &[], resources: &[], retry_after: &[] };
const REQUESTS: Of =
    Of { resource: "requests", unit: "requests", window: None, windows: &[], reset: Reset::All, fields: &[] };
const SECOND: Option<Duration> = Some(Duration::from_secs(1));
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));
const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));
const DAY: Option<Duration> = Some(Duration::from_secs(86_400));

/// `Retry-After` in its forms, the finest first. All of them are looked for, whoever sends them.
pub(super) const RETRY_AFTER: Row = Row {
    name: "retry-after",
    source: "RFC 9110, section 10.2.3; SDKs of OpenAI (retry-after-ms) and Azure (x-ms-retry-after-ms), 2025",
    retry_after: &[("retry-after-ms", DeltaMs), ("x-ms-retry-after-ms", DeltaMs), ("retry-after", Auto)],
    ..NONE
};

/// In the order of their claims.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "github",
        source: "GitHub Docs: Rate limits for the REST API, 2026",
        marks: &["x-ratelimit-resource", "x-github-request-id"],
        resources: &[Of {
            resource: "core",
            windows: &[
                ("core", 3_600),
                ("graphql", 3_600),
                ("search", 60),
                ("code_search", 60),
                ("dependency_snapshots", 60),
            ],
            fields: &[
                ("x-ratelimit-resource", Resource),
                ("x-ratelimit-limit", Limit),
                ("x-ratelimit-remaining", Remaining),
                ("x-ratelimit-used", Used),
                ("x-ratelimit-reset", ResetAt(Epoch)),
            ],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "discord",
        source: "Discord Developer Documentation: Rate Limits, 2026",
        marks: &["x-ratelimit-bucket", "x-ratelimit-scope", "x-ratelimit-global"],
        resources: &[Of {
            fields: &[
                ("x-ratelimit-bucket", Resource),
                ("x-ratelimit-limit", Limit),
                ("x-ratelimit-remaining", Remaining),
                ("x-ratelimit-reset-after", ResetAt(Delta)),
                ("x-ratelimit-reset", ResetAt(Epoch)),
            ],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "atlassian",
        source: "Atlassian Developer: Jira Cloud platform, Rate limiting, February 2026",
        marks: &["x-ratelimit-nearlimit", "beta-ratelimit", "beta-ratelimit-policy"],
        resources: &[
            Of {
                fields: &[
                    ("x-ratelimit-limit", Limit),
                    ("x-ratelimit-remaining", Remaining),
                    ("x-ratelimit-reset", ResetAt(Iso)),
                ],
                ..REQUESTS
            },
            Of {
                reset: Reset::Some,
                fields: &[("beta-ratelimit-policy", Policy), ("beta-ratelimit", State)],
                ..REQUESTS
            },
        ],
        ..NONE
    },
    Row {
        name: "reddit",
        source: "Reddit: Data API Wiki, 2025",
        marks: &["x-ratelimit-used"],
        resources: &[Of {
            fields: &[
                ("x-ratelimit-limit", Limit),
                ("x-ratelimit-used", Used),
                ("x-ratelimit-remaining", Remaining),
                ("x-ratelimit-reset", ResetAt(Auto)),
            ],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "zendesk",
        source: "Zendesk Developer Docs: Rate limits, 2026",
        marks: &["x-rate-limit", "zendesk-ratelimit-tickets-index"],
        resources: &[
            Of {
                window: MINUTE,
                fields: &[
                    ("x-rate-limit", Limit),
                    ("x-rate-limit-remaining", Remaining),
                    ("ratelimit-limit", Limit),
                    ("ratelimit-remaining", Remaining),
                    ("ratelimit-reset", ResetAt(Delta)),
                ],
                ..REQUESTS
            },
            Of {
                resource: "tickets-index",
                window: MINUTE,
                fields: &[("zendesk-ratelimit-tickets-index", Parts)],
                ..REQUESTS
            },
        ],
        ..NONE
    },
    Row {
        name: "okta",
        source: "Okta Developer: Rate limit best practices, 2026",
        marks: &["x-okta-request-id"],
        resources: &[Of {
            window: MINUTE,
            fields: &[
                ("x-rate-limit-limit", Limit),
                ("x-rate-limit-remaining", Remaining),
                ("x-rate-limit-reset", ResetAt(Epoch)),
            ],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "openai",
        source: "OpenAI API docs: Rate limits, Rate limits in headers, 2026",
        resources: &[
            Of {
                reset: Reset::Full,
                fields: &[
                    ("x-ratelimit-limit-requests", Limit),
                    ("x-ratelimit-remaining-requests", Remaining),
                    ("x-ratelimit-reset-requests", ResetAt(Auto)),
                ],
                ..REQUESTS
            },
            Of {
                resource: "tokens",
                unit: "tokens",
                reset: Reset::Full,
                fields: &[
                    ("x-ratelimit-limit-tokens", Limit),
                    ("x-ratelimit-remaining-tokens", Remaining),
                    ("x-ratelimit-reset-tokens", ResetAt(Go)),
                ],
                ..REQUESTS
            },
        ],
        ..NONE
    },
    Row {
        name: "anthropic",
        source: "Claude Docs: Rate limits, Response headers, 2026",
        resources: &[
            Of {
                window: MINUTE,
                reset: Reset::Full,
                fields: &[
                    ("anthropic-ratelimit-requests-limit", Limit),
                    ("anthropic-ratelimit-requests-remaining", Remaining),
                    ("anthropic-ratelimit-requests-reset", ResetAt(Iso)),
                ],
                ..REQUESTS
            },
            Of {
                resource: "tokens",
                unit: "tokens",
                window: MINUTE,
                reset: Reset::Full,
                fields: &[
                    ("anthropic-ratelimit-tokens-limit", Limit),
                    ("anthropic-ratelimit-tokens-remaining", Remaining),
                    ("anthropic-ratelimit-tokens-reset", ResetAt(Iso)),
                ],
                ..REQUESTS
            },
            Of {
                resource: "input-tokens",
                unit: "input-tokens",
                window: MINUTE,
                reset: Reset::Full,
                fields: &[
                    ("anthropic-ratelimit-input-tokens-limit", Limit),
                    ("anthropic-ratelimit-input-tokens-remaining", Remaining),
                    ("anthropic-ratelimit-input-tokens-reset", ResetAt(Iso)),
                ],
                ..REQUESTS
            },
            Of {
                resource: "output-tokens",
                unit: "output-tokens",
                window: MINUTE,
                reset: Reset::Full,
                fields: &[
                    ("anthropic-ratelimit-output-tokens-limit", Limit),
                    ("anthropic-ratelimit-output-tokens-remaining", Remaining),
                    ("anthropic-ratelimit-output-tokens-reset", ResetAt(Iso)),
                ],
                ..REQUESTS
            },
        ],
        ..NONE
    },
    Row {
        name: "shopify",
        source: "Shopify.dev: API limits, REST Admin API, 2026",
        resources: &[Of {
            reset: Reset::Full,
            fields: &[("x-shopify-shop-api-call-limit", UsedOf(""))],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "hubspot",
        source: "HubSpot Developers: API usage guidelines and limits, 2026",
        resources: &[
            Of {
                fields: &[
                    ("x-hubspot-ratelimit-max", Limit),
                    ("x-hubspot-ratelimit-remaining", Remaining),
                    ("x-hubspot-ratelimit-interval-milliseconds", Window(DeltaMs)),
                ],
                ..REQUESTS
            },
            Of {
                resource: "daily",
                window: DAY,
                fields: &[
                    ("x-hubspot-ratelimit-daily", Limit),
                    ("x-hubspot-ratelimit-daily-remaining", Remaining),
                ],
                ..REQUESTS
            },
        ],
        ..NONE
    },
    Row {
        name: "salesforce",
        source: "Salesforce: REST API Developer Guide, Limit Info Header, 2025",
        resources: &[Of {
            resource: "api-usage",
            window: DAY,
            reset: Reset::Some,
            fields: &[("sforce-limit-info", UsedOf("api-usage"))],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "kong",
        source: "Kong Docs: Rate Limiting plugin, Headers sent to the client, 2025",
        resources: &[
            Of {
                resource: "second",
                window: SECOND,
                fields: &[("x-ratelimit-limit-second", Limit), ("x-ratelimit-remaining-second", Remaining)],
                ..REQUESTS
            },
            Of {
                resource: "minute",
                window: MINUTE,
                fields: &[("x-ratelimit-limit-minute", Limit), ("x-ratelimit-remaining-minute", Remaining)],
                ..REQUESTS
            },
            Of {
                resource: "hour",
                window: HOUR,
                fields: &[("x-ratelimit-limit-hour", Limit), ("x-ratelimit-remaining-hour", Remaining)],
                ..REQUESTS
            },
            Of {
                resource: "day",
                window: DAY,
                fields: &[("x-ratelimit-limit-day", Limit), ("x-ratelimit-remaining-day", Remaining)],
                ..REQUESTS
            },
        ],
        ..NONE
    },
    Row { name: "slack", source: "Slack API: Rate limits, 2026 (Retry-After is all that it sends)", ..NONE },
    Row {
        name: "ietf",
        source: "draft-ietf-httpapi-ratelimit-headers, -00 (2021) to -11",
        resources: &[Of {
            reset: Reset::Some,
            fields: &[
                ("ratelimit-policy", Policy),
                ("ratelimit", State),
                ("ratelimit-limit", Limit),
                ("ratelimit-remaining", Remaining),
                ("ratelimit-reset", ResetAt(Auto)),
            ],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "x",
        source: "X Developer Platform: Rate limits, 2026; others use the same names",
        resources: &[Of {
            fields: &[
                ("x-rate-limit-limit", Limit),
                ("x-rate-limit-remaining", Remaining),
                ("x-rate-limit-reset", ResetAt(Auto)),
            ],
            ..REQUESTS
        }],
        ..NONE
    },
    Row {
        name: "x-ratelimit",
        source: "no page: the names that most others use, each in its own way",
        resources: &[Of {
            reset: Reset::Some,
            fields: &[
                ("x-ratelimit-limit", Limit),
                ("x-ratelimit-remaining", Remaining),
                ("x-ratelimit-used", Used),
                ("x-ratelimit-reset-after", ResetAt(Delta)),
                ("x-ratelimit-reset", ResetAt(Auto)),
            ],
            ..REQUESTS
        }],
        ..NONE
    },
];
