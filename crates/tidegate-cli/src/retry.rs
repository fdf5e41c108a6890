//! `tidegate retry`: failures are sent again and move over to where they belong then.

use tidegate::job::{Job, KeptJob, Plan};
use tidegate::log::FailureFilter;
use tidegate::sink::OutputPaths;

use crate::args::RetryCommand;
use crate::exit::Exit;
use crate::fleet::not_collected;
use crate::printer::{Hinting, Printer};
use crate::run;

pub(crate) fn command(printer: Printer, args: RetryCommand) -> anyhow::Result<Exit> {
    let RetryCommand { output, only, flags } = args;
    let (quiet, assume_idle) = (flags.quiet, flags.assume_idle);
    let filters: Vec<FailureFilter> = only
        .iter()
        .map(|word| word.parse().map_err(|message| anyhow::anyhow!("--only: {message}")))
        .collect::<Result<_, _>>()?;
    let paths = OutputPaths::around(&output).ok_or_else(|| Hinting {
        message: format!("{} is not the output of a job", output.display()),
        hint: not_collected(&output)
            .unwrap_or_else(|| "name what stood after -o when the job was run".to_owned()),
    })?;
    let KeptJob { mut file, withheld, .. } = KeptJob::read(&paths.state)?;
    file.output.path = Some(paths.results);
    run::overlay(&mut file, flags)?;
    let is_given =
        |name: &&String| file.request.headers.0.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if let Some(missing) = withheld.iter().find(|name| !is_given(name)) {
        let hint = format!(
            "give it again: -H '{missing}: …'; a value from the environment ({{{{ env.NAME }}}}, or --bearer-env) is remembered by its name"
        );
        let message = format!("the job has a header {missing}, whose value was not kept: it may be a secret");
        return Err(Hinting { message, hint }.into());
    }
    let mut job = Job::from_file(file)?;
    job.assume_idle = assume_idle;
    job.again = Some(filters);
    run::drive(printer, Plan::new(job, |name| std::env::var(name).ok())?, quiet)
}
