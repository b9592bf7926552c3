//! `knarr logs`: the cluster's own log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::ClusterName;

/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    cluster: ClusterName,
    /// Go on as the log grows
    #[arg(long, short)]
    follow: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let paths = options.cluster.paths()?;
    let path = paths.log();
    let mut file = File::open(&path)
        .with_context(|| format!("there is no log of cluster {:?} at {}", paths.name, path.display()))?;
    let mut out = std::io::stdout().lock();
    loop {
        let read = copy(&mut file, &mut out)?;
        if !options.follow {
            return Ok(ExitCode::SUCCESS);
        }
        if read == 0 {
            if file.metadata()?.len() < file.stream_position()? {
                file.seek(SeekFrom::Start(0))?;
            }
            std::thread::sleep(POLL);
        }
    }
}

fn copy(file: &mut File, out: &mut impl Write) -> anyhow::Result<usize> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            out.flush()?;
            return Ok(total);
        }
        out.write_all(&buffer[..read])?;
        total += read;
    }
}
