//! Flags of commands about quotas.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use tidegate_core::{Priority, Reserve};

/// `tidegate quota`
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaCommand {
    /// All quotas of this machine
    List {
        #[command(flatten)]
        place: StorePlace,
    },
    /// One quota: its limits, who uses it, and what is in use
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        place: StorePlace,
    },
    /// Define a quota, and vouch that nobody has used it lately
    Create {
        /// Its name
        name: String,
        /// What the provider allows: `1000/s`, `50/s bucket 10`; repeat for more
        #[arg(required = true, value_name = "RATE")]
        limits: Vec<String>,
        /// What is kept of each limit for calls of a higher priority: `high=5%`
        #[arg(long, value_name = "PRIORITY=PART")]
        reserve: Option<Reserve>,
        #[command(flatten)]
        place: StorePlace,
    },
    /// Change the limits of a quota, or what is kept of them; running jobs follow within a second
    Set {
        /// Its name
        name: String,
        /// All its limits from now on
        #[arg(long, required_unless_present = "reserve", visible_alias = "limit", value_name = "RATE")]
        rate: Vec<String>,
        /// What is kept of each for calls of a higher priority: `high=5%`; `high=0%` for nothing
        #[arg(long, value_name = "PRIORITY=PART")]
        reserve: Option<Reserve>,
        #[command(flatten)]
        place: StorePlace,
    },
    /// Send nothing for some time; running jobs follow within a second
    Pause {
        /// Its name
        name: String,
        /// How long [default: until it is resumed]
        #[arg(long = "for", value_name = "TIME")]
        length: Option<String>,
        #[command(flatten)]
        place: StorePlace,
    },
    /// End a pause
    Resume {
        /// Its name
        name: String,
        #[command(flatten)]
        place: StorePlace,
    },
    /// Forget a quota
    Forget {
        /// Its name
        name: String,
        /// Even if processes use it: they go on under limits that nobody shares any more
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: StorePlace,
    },
}

/// Where quotas are kept.
#[derive(Debug, Args)]
pub(crate) struct StorePlace {
    /// sqlite, sqlite:FOLDER, or `redis://HOST:PORT/DB` [default: sqlite, in `$TIDEGATE_STATE_DIR` or the user's state
    /// folder]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
}

/// `tidegate permit`
#[derive(Debug, Args)]
pub(crate) struct PermitArgs {
    /// Name of the quota; a job's is its URL's host unless it says another
    #[arg(long, value_name = "NAME")]
    pub quota: String,
    /// What the provider allows, if the quota is not known yet: `100/min`; repeat for more
    #[arg(long, visible_alias = "limit", value_name = "RATE")]
    pub rate: Vec<String>,
    /// Where it is kept: sqlite, sqlite:FOLDER, or `redis://HOST:PORT/DB` [default: sqlite]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// The most that the command takes of other units: `tokens=850`; of requests it is 1
    #[arg(long, value_name = "UNIT=N")]
    pub cost: Vec<String>,
    /// high, normal or low: higher ones are served before lower ones get anything
    #[arg(long, value_name = "PRIORITY", default_value_t)]
    pub priority: Priority,
    /// Give up, with code 75, if there is no permit within this time; 0 does not wait [default: as long as it takes]
    #[arg(long, value_name = "TIME")]
    pub wait: Option<String>,
    /// End the command after this time, with code 124
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub timeout: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
