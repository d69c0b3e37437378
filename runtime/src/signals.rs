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
