//! `serve`: the server as a process, with its runtime and signals.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::limits::WRITER_THREADS_MAX;
use crate::serve::{ServeOptions, serve};

use super::exit::{Exit, Failure};

/// How long threads that were cut off may hold up the end of the process.
const RUNTIME_STOP: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
#[command(
    long_about = "Serve a database over HTTP: JSON values under keys, in namespaces. The database \
        is created if it is missing. What was imported from bbolt is served too: a top-level \
        bucket is a namespace.\n\n\
        There is no authentication yet: whoever reaches the address can read and write \
        everything. So only loopback addresses are allowed, unless --insecure-bind is given.\n\n\
        SIGTERM and SIGINT stop it gracefully: requests under way have 10 seconds to finish.",
    after_help = "Example:\n  \
        bristlecone serve --data-dir ./state\n  \
        curl -X PUT localhost:7878/api/db/user/42/name -d '{\"value\":\"Ada\"}'\n  \
        curl localhost:7878/api/db/user/42/name"
)]
pub(super) struct Arguments {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Directory of the database
    #[arg(long, value_name = "DIR", default_value = "./bristlecone-data")]
    data_dir: PathBuf,
    /// Allow an address that other machines can reach, though there is no authentication
    #[arg(long)]
    insecure_bind: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(WRITER_THREADS_MAX)
        .build()
        .map_err(cannot_start)?;
    let result = runtime.block_on(run_until_stopped(arguments));
    runtime.shutdown_timeout(RUNTIME_STOP);
    result
}

async fn run_until_stopped(arguments: Arguments) -> Result<(), Failure> {
    // Before anything is served, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_start)?;
    let mut options = ServeOptions::new(arguments.listen, arguments.data_dir);
    options.insecure_bind = arguments.insecure_bind;
    let dir = options.data_dir.clone();
    let ready = |address: SocketAddr| {
        eprintln!("bristlecone: serving {} on http://{address}", dir.display());
    };
    serve(options, ready, either(&mut terminate, &mut interrupt)).await?;
    eprintln!("bristlecone: stopped");
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn cannot_start(error: std::io::Error) -> Failure {
    Failure::new(Exit::Other, format!("cannot start: {error}"))
}
