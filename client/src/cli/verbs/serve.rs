//! `raftshare serve`: shares the folder and runs the shell.
//!
//! ```text
//! peer (server, heartbeats, tasks) ──events──► lines above the prompt
//!      ▲ stop                                       ▲
//! signals, quit ◄── shell thread (blocks in readline) ┴── one command at a time ──► Verb::run
//! ```
//! Invariant: the process ends when the peer fails, when the user quits, or on SIGINT, SIGTERM or SIGHUP. Each time the
//! peer stops in order, and the terminal's settings are restored.

use std::io::IsTerminal;

use clap::Args;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::Session;
use crate::cli::fetch::Known;
use crate::cli::shell::{Printer, Prompt, Shell};
use crate::cli::values::{advertise, bind, zone};
use crate::peer::{Events, Peer, PeerEvent, ServeConfig};
use crate::terminal::{Exit, Failure, Output, variables};

/// Share the folder, keep its copies up to date, and open an interactive shell.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Address to listen on for other peers; `:PORT` means loopback, or every address with --insecure, and port 0
    /// picks a free port.
    #[arg(long, value_name = "HOST:PORT", env = variables::BIND, value_parser = bind, default_value = "127.0.0.1:0")]
    pub bind: String,
    /// Address that other peers should use, if it differs from --bind.
    #[arg(long, value_name = "URL", value_parser = advertise)]
    pub advertise: Option<String>,
    /// Failure zone; copies of a file are spread over zones.
    #[arg(long, value_parser = zone)]
    pub zone: Option<String>,
    /// Most bytes that the folder holds for others [default: unlimited].
    #[arg(long, value_name = "BYTES")]
    pub capacity: Option<u64>,
    /// Listen on addresses beyond loopback, where anyone can read the shared files.
    #[arg(long)]
    pub insecure: bool,
    /// Whom to fetch from; only the machines of these peers get files from this one.
    #[command(flatten)]
    pub known: Known,
    /// Share without the interactive shell.
    #[arg(long)]
    pub no_shell: bool,
}

impl Serve {
    /// Runs until the user quits or the process is told to stop.
    pub async fn run(&self, session: &Session) -> Result<(), Failure> {
        let session = &session.allowing(self.known.allow_peers.as_ref());
        let config = ServeConfig {
            allow: session.allow.clone(),
            advertise: self.advertise.clone(),
            peer_id: session.peer_id(),
            zone: self.zone.clone(),
            capacity_bytes: self.capacity,
            insecure: self.insecure,
            ..ServeConfig::new(session.client.clone(), session.dir(), self.bind.clone())
        };
        let peer = Peer::bind(config).await?;
        let session = session.for_shell(peer.folder());
        let stop = CancellationToken::new();
        let (events, received) = Events::channel();
        let prompt = Prompt::default();
        let shell = if self.no_shell { None } else { Some(Shell::start(&session, &prompt)?) };
        let printing = tokio::spawn(print_events(session.output, received, prompt, shell.as_ref().map(Shell::printer)));
        let mut serving = tokio::spawn(peer.run(stop.clone(), events));
        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = stop_signal() => None,
            () = commands(&session, shell) => None,
        };
        stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => serving.await,
        };
        let _ = printing.await; // the channel is closed, so it has printed everything
        ended.map_err(|error| Failure::new(Exit::Other, format!("serving failed: {error}")))??;
        Ok(())
    }
}

/// Runs the shell to its end. Without a shell, never ends.
async fn commands(session: &Session, shell: Option<Shell>) {
    match shell {
        Some(shell) => shell.run(session).await,
        None => std::future::pending().await,
    }
}

/// Resolves at the first SIGINT, SIGTERM or SIGHUP (the terminal was closed).
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals: Result<Vec<_>, _> = kinds.into_iter().map(signal).collect();
    let Ok(mut signals) = signals else { return std::future::pending().await };
    let received = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(received).await;
}

/// Prints the peer's events: its address as the result of the command, the others as remarks.
async fn print_events(
    output: Output,
    mut received: mpsc::Receiver<PeerEvent>,
    prompt: Prompt,
    printer: Option<Printer>,
) {
    while let Some(event) = received.recv().await {
        match &event {
            PeerEvent::IndexLost { .. } => prompt.set_connected(false),
            PeerEvent::IndexBack | PeerEvent::Registered { .. } => prompt.set_connected(true),
            _ => {}
        }
        match (&event, &printer) {
            (PeerEvent::Serving { peer, address }, _) if !std::io::stdin().is_terminal() || printer.is_none() => {
                output.sentence(&serde_json::json!({"peer": peer, "address": address}), &event.to_string());
            }
            (_, Some(printer)) if !output.quiet => printer.print(&event.to_string()),
            _ => output.remark(&event.to_string()),
        }
    }
}
