//! `raftshare serve`: shares the folder, and reads commands while it does.
//!
//! ```text
//! peer (server, heartbeats, tasks) ──events──► lines above the prompt
//!      ▲ stop                                       ▲
//! signals, quit ◄── shell thread (blocks in readline) ┴── one command at a time ──► cli::act
//! ```
//! Invariant: the process ends when the peer cannot go on, when the user quits, or at SIGINT, SIGTERM and SIGHUP; the
//! peer is stopped in order each time, and the terminal is left as it was found.

use std::io::IsTerminal;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::args::Serve;
use crate::cli::{Exit, Failure, Output, Session};
use crate::peer::{Events, Peer, PeerEvent, ServeConfig, ServeError};
use crate::shell::{Prompt, Shell};

/// Runs until the user quits or the process is told to stop.
pub async fn run(session: &Session, serve: &Serve) -> Result<(), Failure> {
    let config = ServeConfig {
        advertise: serve.advertise.clone(),
        peer_id: session.peer_id(),
        zone: serve.zone.clone(),
        capacity_bytes: serve.capacity,
        insecure: serve.insecure,
        ..ServeConfig::new(session.client.clone(), session.dir(), serve.bind.clone())
    };
    let peer = Peer::bind(config).await?;
    let session = session.for_shell(peer.folder());
    let stop = CancellationToken::new();
    let (events, told) = Events::channel();
    let prompt = Prompt::default();
    let shell = if serve.no_shell { None } else { Some(Shell::start(&session, &prompt)?) };
    let printing = tokio::spawn(print_events(session.output, told, prompt, shell.as_ref().map(Shell::printer)));
    let mut serving = tokio::spawn(peer.run(stop.clone(), events));
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = told_to_stop() => None,
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

/// Runs the shell to its end; without one, never ends.
async fn commands(session: &Session, shell: Option<Shell>) {
    match shell {
        Some(shell) => shell.run(session).await,
        None => std::future::pending().await,
    }
}

/// Resolves at the first SIGINT, SIGTERM or SIGHUP (the terminal was closed).
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals: Result<Vec<_>, _> = kinds.into_iter().map(signal).collect();
    let Ok(mut signals) = signals else { return std::future::pending().await };
    let received = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(received).await;
}

/// Prints what the peer tells: its address as the result of the command, the rest as remarks.
async fn print_events(
    output: Output,
    mut told: mpsc::Receiver<PeerEvent>,
    prompt: Prompt,
    printer: Option<crate::shell::Printer>,
) {
    while let Some(event) = told.recv().await {
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

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let exit = match error {
            ServeError::Folder(error) => return error.into(),
            ServeError::Index(error) => return error.into(),
            ServeError::NotLoopback { .. } | ServeError::NoAddress { .. } => Exit::Usage,
            ServeError::FolderGone { .. } => Exit::Disk,
            ServeError::Replaced { .. } => Exit::Conflict,
            ServeError::Bind { .. } | ServeError::ListingVoided | ServeError::Server(_) => Exit::Other,
        };
        Self::new(exit, error.to_string())
    }
}
