//! `tidegate sim`: the strict provider, on its own.

use tidegate_sim::{Faults, SimConfig, serve_blocking};

use crate::args::SimArgs;
use crate::exit::Exit;
use crate::printer::Printer;

pub(crate) fn command(printer: Printer, args: SimArgs) -> anyhow::Result<Exit> {
    let limits = args.limit.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !args.listen.ip().is_loopback() {
        printer.note(format_args!("listening beyond loopback, on {}: anybody there can use it", args.listen));
    }
    let config = SimConfig {
        addr: args.listen,
        limits: args.limit,
        per: args.per,
        reject_counts: args.reject_counts,
        jitter: args.jitter,
        service: args.service,
        body: args.body,
        refund: args.refund,
        clock: args.clock,
        faults: Faults::new(args.fault)?,
        retry_after: args.retry_after,
        ratelimit_headers: args.ratelimit_headers.is_some(),
        header_form: args.ratelimit_headers.unwrap_or_default(),
        seed: args.seed,
    };
    let mut announced = Ok(());
    serve_blocking(config, |addr, _handle| {
        announced = printer.data(format_args!("http://{addr}"));
        printer.labelled("limits", if limits.is_empty() { "none" } else { &limits });
        printer.labelled("try", format_args!("curl http://{addr}/v1/users/42   and see /_stats, /_reset"));
    })?;
    announced?;
    Ok(Exit::Success)
}
