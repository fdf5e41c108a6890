//! What people write when they know another tool: the right word for it.

use std::error::Error;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use tidegate_sim::SpecError;

use crate::exit::Exit;
use crate::printer::Printer;

/// Flags of other tools and what they are called here.
const WORDS: &[(&[&str], &str)] = &[
    (&["--max-retries", "--retries", "--retry", "--tries"], "--attempts N counts the first attempt as well"),
    (
        &["--parallel", "--workers", "--threads", "--jobs", "-j", "-c", "-P"],
        "--concurrency N if the provider allows so many calls at a time; else leave it away, as many \
         connections are made as the rate needs (--connections N caps them)",
    ),
    (&["--resume", "--continue", "--restart"], "run the same command again: it carries on where it stopped"),
    // Where `--rate` is not known.
    (&["--rate", "--limit"], "limits stand by themselves: tidegate explain 1000/s '50/s bucket 10'"),
    (&["--rps", "--qps", "--requests-per-second"], "--rate N/s"),
    (&["--mode", "--estimated"], "--counted-within 30ms: the time from a send in which they count it"),
    (&["--tz", "--timezone", "--zone"], "--rate '10k/day Europe/Berlin'"),
    (&["--gcra", "--leaky-bucket", "--token-bucket", "--bucket", "--capacity"], "--rate '50/s bucket 10'"),
    (
        &["--sliding", "--sliding-window", "--counter"],
        "--rate 100/min holds for windows that slide; --rate '100/min counter' for counters",
    ),
    (&["--rpm", "--requests-per-minute"], "--rate N/min"),
    (&["--delay", "--sleep", "--interval"], "--rate 1/2s sends one call in two seconds"),
    (&["--burst"], "--pace burst, or --rate '50/s bucket 10' for a token bucket"),
    (&["--method"], "-X METHOD"),
    (&["--headers"], "-H 'Name: value', once for each"),
    (&["--body"], "-d BODY, or --json JSON"),
    (&["--out", "--output-file"], "-o OUT"),
    (&["--input", "-i", "--file", "-f"], "the input stands by itself: tidegate run users.csv …"),
    (&["--token", "--bearer", "--api-key"], "--bearer-env NAME, so that the secret stays in the environment"),
    (&["--insecure", "-k"], "--ca FILE trusts a certificate of your own"),
    (&["--follow", "--follow-redirects", "--max-redirs"], "--location=N"),
    (&["--dryrun", "--check"], "--dry-run"),
    (&["--sample", "--first", "-n"], "--head N sends the first N rows"),
];

/// Reports a command line that clap refused, with the right word if we know it.
pub(crate) fn usage(printer: Printer, error: &clap::Error) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return Exit::Success;
    }
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => Some(flag.as_str()),
        _ => None,
    };
    let known = flag.and_then(|flag| {
        let name = flag.split_once('=').map_or(flag, |(name, _)| name);
        WORDS.iter().find(|(others, _)| others.contains(&name)).map(|(_, hint)| (name, *hint))
    });
    match known {
        Some((name, hint)) if error.kind() == ErrorKind::UnknownArgument => {
            printer.error(&anyhow::anyhow!("there is no {name}"));
            printer.hint(hint);
        }
        _ => match error.source().and_then(|cause| cause.downcast_ref::<SpecError>()) {
            // clap would leave the hint out.
            Some(spec) => printer.error(&spec.clone().into()),
            None => {
                let _ = error.print();
            }
        },
    }
    Exit::Usage
}
