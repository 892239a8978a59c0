//! The story as it happens: one line per event, with the seconds since the demo began.

use std::{sync::Arc, time::Duration, time::Instant};

use shop_crds::ShopServiceStatus;
use shop_e2e::{
    load::View,
    scenario::{Shop, describe},
};
use tokio::{task::AbortHandle, time::sleep};

/// Time between two looks at the service.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two looks at the users' answers: long enough that every kind of connection has some.
const ANSWERS: Duration = Duration::from_millis(300);

/// Who did what.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    /// The demo, in place of somebody at a keyboard.
    You,
    /// The service's status, which the operator writes.
    Operator,
    /// The answers that users get.
    Users,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::You => "you",
            Self::Operator => "operator",
            Self::Users => "users",
        }
    }
}

/// Prints lines; watches print theirs through it too.
#[derive(Clone)]
pub(crate) struct Timeline {
    began: Arc<Instant>,
}

/// Something that is watched until this is dropped.
pub(crate) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Timeline {
    pub(crate) fn begin() -> Self {
        Self { began: Arc::new(Instant::now()) }
    }

    pub(crate) fn say(&self, who: Who, text: &str) {
        println!("{:>6.1} s  {:<8}  {text}", self.began.elapsed().as_secs_f64(), who.name());
    }

    /// Tells each change of the service's status that matters to a reader.
    pub(crate) fn watch_service(&self, shop: &Shop) -> Watch {
        let (timeline, shop) = (self.clone(), shop.clone());
        let task = tokio::spawn(async move {
            let mut last = None;
            loop {
                if let Ok(status) = shop.status().await {
                    let seen = essence(&status);
                    if status.phase.is_some() && last.as_ref() != Some(&seen) {
                        timeline.say(Who::Operator, &describe(&status));
                        last = Some(seen);
                    }
                }
                sleep(LOOK).await;
            }
        });
        Watch(task.abort_handle())
    }

    /// Tells which versions answer whenever that changes, and failed requests as they come.
    pub(crate) fn watch_users(&self, load: View) -> Watch {
        let timeline = self.clone();
        let task = tokio::spawn(async move {
            let (mut last, mut failed) = (Vec::new(), 0);
            loop {
                let live = load.live();
                let versions: Vec<String> = live.versions.keys().cloned().collect();
                if !versions.is_empty() && versions != last {
                    let shares: Vec<String> = live
                        .versions
                        .iter()
                        .map(|(version, count)| format!("{version} {:.0} %", share(*count, live.recent)))
                        .collect();
                    timeline.say(Who::Users, &format!("answers come from {}", shares.join(", ")));
                    last = versions;
                }
                if live.failed > failed {
                    failed = live.failed;
                    timeline.say(Who::Users, &format!("{failed} of {} requests have failed", live.requests));
                }
                sleep(ANSWERS).await;
            }
        });
        Watch(task.abort_handle())
    }
}

fn share(count: u64, of: u64) -> f64 {
    count as f64 * 100.0 / of.max(1) as f64
}

/// What makes a status a new line: phase, revisions, and what it waits for.
fn essence(status: &ShopServiceStatus) -> [String; 4] {
    let label = |revision: &Option<shop_crds::status::RevisionRef>| {
        revision.as_ref().map(|revision| revision.label.clone()).unwrap_or_default()
    };
    [
        status.phase.map(|phase| phase.as_str().to_owned()).unwrap_or_default(),
        label(&status.active),
        label(&status.candidate),
        status.blocked.as_ref().map(|blocked| blocked.reason.as_str().to_owned()).unwrap_or_default(),
    ]
}
