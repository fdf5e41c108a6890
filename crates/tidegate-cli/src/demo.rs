//! `tidegate demo`: the main job against a strict provider, all on this machine.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use tidegate::job::{InputSection, Job, JobFile, OutputSection, Plan, QuotaSection, RequestSection};
use tidegate_sim::{SimConfig, SimHandle, serve_blocking};

use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::printer::{Printer, count};
use crate::run;

pub(crate) fn command(printer: Printer, args: &DemoArgs) -> anyhow::Result<Exit> {
    let (addr, sim) = start_provider(args.per_second)?;
    let folder = Folder::create()?;
    let input = folder.0.join("users.csv");
    write_rows(&input, args.rows)?;
    let (rows, limit) = (count(args.rows), args.per_second);
    printer.line(format_args!(
        "A strict provider listens on {addr}: no more than {limit} requests in any second, or 429.\n\
         Answers take about 60 ms, the network up to 20 ms. {rows} rows wait in a CSV file. By hand:\n\n  \
         tidegate run users.csv --rate {limit}/s --key user_id -o out.jsonl --url 'http://{addr}/v1/users/{{user_id}}'\n"
    ));
    let file = JobFile {
        input: InputSection { path: Some(input), key: Some("user_id".into()), ..InputSection::default() },
        request: RequestSection {
            url: Some(format!("http://{addr}/v1/users/{{user_id}}")),
            ..RequestSection::default()
        },
        quota: QuotaSection { limits: vec![format!("{limit}/s")], ..QuotaSection::default() },
        output: OutputSection { path: Some(folder.0.join("out.jsonl")), ..OutputSection::default() },
        ..JobFile::default()
    };
    let plan = Plan::new(Job::from_file(file)?, |_| None)?;
    let exit = run::drive(printer, plan, false)?;

    let stats = sim.stats();
    let worst = stats.worst_window.as_ref().map_or(0, |worst| worst.accepted);
    printer.line(format_args!(
        "\nThe provider's own count: {} accepted, {} rejected, at most {} in any second (allowed: {}), {} answered twice.",
        count(stats.accepted),
        count(stats.rejected),
        count(worst),
        count(limit),
        count(stats.served_twice),
    ));
    sim.shutdown();
    Ok(exit)
}

fn start_provider(per_second: u64) -> anyhow::Result<(std::net::SocketAddr, SimHandle)> {
    let config = SimConfig {
        limits: vec![format!("rolling {per_second}/s").parse()?],
        service: "lognormal 60ms 0.5".parse()?,
        jitter: "uniform 0..20ms".parse()?,
        ..SimConfig::default()
    };
    let (ready, started) = mpsc::channel();
    let failed = ready.clone();
    thread::Builder::new().name("provider".to_owned()).spawn(move || {
        let end = serve_blocking(config, |addr, handle| {
            let _ = ready.send(Ok((addr, handle)));
        });
        if let Err(error) = end {
            let _ = failed.send(Err(error));
        }
    })?;
    Ok(started.recv()??)
}

fn write_rows(path: &Path, rows: u64) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    writeln!(file, "user_id,plan")?;
    for i in 0..rows {
        writeln!(file, "u{i:06},{}", if i % 7 == 0 { "pro" } else { "free" })?;
    }
    file.flush()?;
    Ok(())
}

/// A folder that goes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn create() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
