//! The signals that end the process in order.

use tokio_util::sync::CancellationToken;

/// Cancelled by the first SIGTERM or SIGINT; a second one ends the process at once. Call it within a runtime.
#[must_use]
pub fn stop() -> CancellationToken {
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        for exit in [false, true] {
            next().await;
            if exit {
                tracing::warn!(
                    "Told to stop a second time: leaving at once; runs under way are taken up at the next start"
                );
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    token
}

/// Every SIGHUP from now on: the operator's word that a file has changed. Call it within a runtime.
#[must_use]
pub fn hang_ups() -> HangUps {
    #[cfg(unix)]
    let signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be caught, and ends the process: {error}"))
        .ok();
    HangUps {
        #[cfg(unix)]
        signals,
    }
}

/// See [`hang_ups`].
pub struct HangUps {
    #[cfg(unix)]
    signals: Option<tokio::signal::unix::Signal>,
}

impl HangUps {
    /// The next one; never, where there are none.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(unix)]
async fn next() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "Signals cannot be caught; the process ends only by SIGKILL: {error}");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
async fn next() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "Ctrl-C cannot be caught: {error}");
        std::future::pending::<()>().await;
    }
}
