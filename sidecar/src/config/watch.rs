//! Reads the mounted folders again when they change.
//!
//! The kubelet updates a mounted `ConfigMap` by swapping the link `..data`, so the folder is watched and not the file. Watching can
//! fail (no inotify instances left on the node), so the folders are also read now and then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::Config;

/// How often the folders are read whether or not a change was seen.
const POLL: Duration = Duration::from_secs(10);
/// How often while there is no document yet.
const FIRST_POLL: Duration = Duration::from_millis(200);

/// Reads the folders again and again; never returns.
pub async fn follow(config: Arc<Config>, folders: Vec<PathBuf>) {
    let (sender, mut changes) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the folders is itself reported, as access: following that would never end.
        if event.map_or(true, |event| !event.kind.is_access()) {
            // A full channel already says that something has changed.
            let _ = sender.try_send(());
        }
    });
    // Dropping the watcher would end the watching.
    let _watcher = match watcher {
        Ok(mut watcher) => {
            for folder in &folders {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    tracing::warn!(folder = %folder.display(), error = %error, "cannot watch folder; it is read every 10 s");
                }
            }
            Some(watcher)
        }
        Err(error) => {
            tracing::warn!(error = %error, "cannot watch folders; they are read every 10 s");
            None
        }
    };
    loop {
        let pause = if config.current().is_some() { POLL } else { FIRST_POLL };
        tokio::select! {
            Some(()) = changes.recv() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let config = Arc::clone(&config);
        // Reading files blocks; an error here is a panic in there, which the next round may not meet again.
        let _ = tokio::task::spawn_blocking(move || config.reload()).await;
    }
}
