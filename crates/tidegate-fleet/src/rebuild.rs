//! The server's data made again from the folder of a job's parts, which are the truth.

use std::path::Path;

use tidegate::sink::Part;

use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::job::FleetJob;
use crate::parts::{Kept, Parts};
use crate::submit::write_down;

/// What was found.
#[derive(Debug)]
pub struct Rebuilt {
    /// The job.
    pub job: FleetJob,
    /// Shards that are done.
    pub done: u64,
}

/// Makes the data of the job with this output again: shards with a complete part are done, by the lowest epoch that has one;
/// all others are to be had, under epochs above all that were used.
///
/// # Errors
/// If the server has the job, or its folder cannot be read.
pub fn rebuild(fleet: &mut Fleet, output: &Path) -> Result<Rebuilt, FleetError> {
    let parts = Parts::of(output);
    let Kept { job, shards } = parts.kept()?;
    let mut found = parts.epochs()?;
    let mut sums = [0; 4];
    let mut done = 0;
    let mut written = Vec::new();
    for shard in shards {
        let epochs = found.remove(&shard.number).unwrap_or_default();
        if let Some(epoch) = epochs.complete {
            let folder = parts.complete(shard.number, epoch);
            let counts = Part::open(&parts.output_in(&folder))?.counts();
            let of = [counts.ok, counts.failed, counts.unknown, Parts::rebought(&folder).in_flight];
            if of[..3].iter().sum::<u64>() != shard.cut.rows {
                return Err(FleetError::BrokenPart { shard: shard.number, path: folder });
            }
            sums.iter_mut().zip(of).for_each(|(sum, n)| *sum += n);
            done += 1;
        }
        // One more than was seen: whoever was given the next one before all was lost has no folder yet.
        written.push((shard, epochs.greatest + 1, epochs.complete));
    }
    write_down(fleet, &job, &written, sums)?;
    Ok(Rebuilt { job, done })
}
