//! Ctrl-C and SIGTERM: the first one ends a run in order, the second one at once.
//!
//! Invariant: long waits check [`asked`] regularly; the first signal leaves nothing half done.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit code of a program that was interrupted.
pub const EXIT_CODE: u8 = 130;

/// Takes the signals over from now on.
#[expect(clippy::disallowed_methods, reason = "the second signal asks for just that")]
pub fn listen() -> std::io::Result<()> {
    let (mut interrupts, mut terminations) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            if ASKED.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(EXIT_CODE));
            }
            eprintln!("ending in order; once more to end at once");
        }
    });
    Ok(())
}

/// Whether the end was asked for.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
