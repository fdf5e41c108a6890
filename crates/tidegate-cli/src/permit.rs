//! `tidegate permit`: a command that waits for its turn in a quota.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tidegate::job::StoreSpec;
use tidegate::retry::{Human, parse_duration};
use tidegate_core::{Contract, Costs, Limit, Outcome, Pacing, Terms, Wait, Why};
use tidegate_quota::store::{Definition, Who};
use tidegate_quota::{Membership, Partitions, Permit};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::args::PermitArgs;
use crate::exit::Exit;
use crate::printer::{Hinting, Printer};

/// A wait that is shorter is nobody's business; then it is said at this interval.
const SILENT: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(10);
/// A command that is asked to end has so long for it.
const GRACE: Duration = Duration::from_secs(5);

/// As timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// As shells have it.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
const KILLED_BY: i32 = 128;
/// `EX_TEMPFAIL` of sysexits(3): try again later.
const NO_PERMIT: u8 = 75;

pub(crate) fn command(printer: Printer, args: &PermitArgs) -> anyhow::Result<Exit> {
    let length =
        |flag: &str, text: &str| parse_duration(text).map_err(|message| anyhow::anyhow!("{flag}: {message}"));
    let patience = args.wait.as_deref().map(|text| length("--wait", text)).transpose()?;
    let most = length("--timeout", &args.timeout)?;
    let (quotas, costs) = join(args, most + GRACE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let waited = tokio::select! {
            waited = wait(printer, &quotas, costs, patience) => waited,
            exit = signals.any() => return Ok(exit),
        };
        let Some(permit) = waited else { return Ok(Exit::Code(NO_PERMIT)) };
        run(printer, permit, &args.command, most, &mut signals).await
    });
    if let Err(error) = quotas.close() {
        printer.note(format_args!("{error}; what was in use is held as if this process had been killed"));
    }
    exit
}

/// Takes part in the quota, with what a permit costs of each of its limits.
fn join(args: &PermitArgs, timeout: Duration) -> anyhow::Result<(Partitions, Costs)> {
    let quota = args.quota.clone();
    let store = StoreSpec::parse(args.store.as_deref().unwrap_or("sqlite"))?.open()?;
    let mut store = store.ok_or_else(|| Hinting {
        message: "a quota in memory ends with this command: it would hold nobody back".to_owned(),
        hint: "leave --store away, or name a folder or a server: --store sqlite:FOLDER, --store redis://HOST:PORT/DB"
            .to_owned(),
    })?;
    let limits: Vec<Limit> = args.rate.iter().map(|limit| limit.parse()).collect::<Result<_, _>>()?;
    let definition = if limits.is_empty() {
        store.store().definition(&quota)?.ok_or_else(|| Hinting {
            message: format!("there is no quota `{quota}` here yet"),
            hint: format!("say what it allows: --rate 100/min, or tidegate quota create {quota} 100/min"),
        })?
    } else {
        Definition::new(&limits, &Terms::default())
    };
    let contract = definition.contract(Pacing::Burst, Some(store.store().machine().wall()))?;
    let costs = costs(&contract, &args.cost)?;
    // A command that outlives this process goes on calling.
    let store = store.shared_with_children();
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    let who = Who::this(words.first().map_or_else(String::new, ToString::to_string));
    let membership = Membership { quota, who, timeout, assume_idle: false, priority: args.priority };
    Ok((Partitions::shared(&contract, store.into_store(), membership)?, costs))
}

/// What the permit costs: 1 request, and of other units what `--cost UNIT=N` says.
fn costs(contract: &Contract, said: &[String]) -> anyhow::Result<Costs> {
    let mut costs = *contract.costs();
    let mut unused: Vec<&str> = Vec::new();
    for text in said {
        let (unit, units) = text.split_once('=').unwrap_or(("requests", text));
        let units: u64 = units.trim().parse().map_err(|_| Hinting {
            message: format!("--cost {text}: expected a whole number"),
            hint: "for example --cost tokens=850".to_owned(),
        })?;
        let mut known = false;
        for (i, (limit, _)) in contract.limits().enumerate() {
            if limit.unit().to_string() == unit.trim() {
                costs.set(i, units);
                known = true;
            }
        }
        if !known {
            unused.push(text);
        }
    }
    if let Some(text) = unused.first() {
        let units: Vec<String> = contract.limits().map(|(limit, _)| limit.unit().to_string()).collect();
        return Err(Hinting {
            message: format!("--cost {text}: no limit of the quota counts that"),
            hint: format!("it counts {}", units.join(", ")),
        }
        .into());
    }
    for (i, (limit, _)) in contract.limits().enumerate() {
        if limit.cost().is_none() && costs.of(i) == 0 {
            let unit = limit.unit();
            return Err(Hinting {
                message: format!("the quota counts {unit}, and nothing says how many this takes"),
                hint: format!("--cost {unit}=N, the most that it can take"),
            }
            .into());
        }
    }
    contract.admit(&costs)?;
    Ok(costs)
}

/// Waits for a permit; `None` if there is none in time, or will never be one.
async fn wait(
    printer: Printer,
    quotas: &Partitions,
    costs: Costs,
    patience: Option<Duration>,
) -> Option<Permit> {
    let gate = quotas.gate("");
    let started = Instant::now();
    let give_up = patience.map(|patience| started + patience);
    let mut say_at = started + SILENT;
    let changed = quotas.changed().unwrap_or_default();
    loop {
        let wait = match gate.try_acquire_costing(&costs) {
            Ok(permit) => return Some(permit),
            Err(wait) => wait,
        };
        if let Some(why) = quotas.ended() {
            printer.note(why);
            return None;
        }
        let now = Instant::now();
        if give_up.is_some_and(|give_up| give_up <= now) {
            let waited = Human(patience.unwrap_or_default());
            printer.note(format_args!("no permit within {waited}: {}", reason(wait, quotas)));
            return None;
        }
        if say_at <= now {
            say_at = now + SAY_EVERY;
            printer.note(format_args!("waiting for {}: {}", Human(now - started), reason(wait, quotas)));
        }
        let free = wait.until.map(|until| quotas.clock().instant(until));
        let next = [Some(say_at), give_up, free].into_iter().flatten().min().unwrap_or(say_at);
        tokio::select! {
            () = changed.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}

fn reason(wait: Wait, quotas: &Partitions) -> String {
    let left = wait.until.map(|until| until.since(quotas.clock().now()));
    let in_time = left.map_or_else(String::new, |left| format!(" for {}", Human(left)));
    let limit = |i: usize| {
        quotas.contract_now().limits().nth(i).map_or_else(String::new, |(limit, _)| limit.to_string())
    };
    match wait.why {
        Why::Paused => format!("the quota is paused{in_time}"),
        Why::Lease => quotas.trouble().unwrap_or_else(|| "it has no share of the quota yet".to_owned()),
        Why::Share(i) => format!("others have {} now", limit(i)),
        Why::Limit(i) | Why::Pacing(i) | Why::Others(i) => format!("{} is used up{in_time}", limit(i)),
        _ => format!("it is not its turn{in_time}"),
    }
}

/// Runs the command under the permit.
async fn run(
    printer: Printer,
    permit: Permit,
    words: &[OsString],
    most: Duration,
    signals: &mut Signals,
) -> anyhow::Result<Exit> {
    let Some((program, args)) = words.split_first() else { return Ok(Exit::Usage) };
    let mut child = match Command::new(program).args(args).spawn() {
        Ok(child) => child,
        Err(error) => {
            permit.settle(Outcome::NotSent);
            printer.note(format_args!("{}: {error}", program.to_string_lossy()));
            let found = error.kind() != std::io::ErrorKind::NotFound;
            return Ok(Exit::Code(if found { NOT_EXECUTABLE } else { NOT_FOUND }));
        }
    };
    let give_up = Instant::now() + most;
    let ended = loop {
        tokio::select! {
            ended = timeout_at(give_up, child.wait()) => break ended,
            // It decides itself how it ends.
            signal = signals.number() => pass_on(&child, signal),
        }
    };
    if let Ok(status) = ended {
        permit.settle(Outcome::Answered);
        return Ok(code(status?));
    }
    printer.note(format_args!("{} was ended after {}", program.to_string_lossy(), Human(most)));
    pass_on(&child, Signal::TERM);
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    permit.settle(Outcome::Unknown);
    Ok(Exit::Code(TIMED_OUT))
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal); // it may have ended in this moment
    }
}

/// What the shell is told: the command's own code.
fn code(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| KILLED_BY + signal));
    Exit::Code(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Ctrl-C, and what ends a service.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn number(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
        }
    }

    async fn any(&mut self) -> Exit {
        if self.number().await == Signal::INT { Exit::Interrupted } else { Exit::Terminated }
    }
}
