//! Questions that plans ask the world outside: in the background, each with a deadline, so that no pass ever waits for one.
//!
//! Answers are kept by the uid of the ShopService and the id of the question, at most [`KEPT`] of each service; one that arrives
//! wakes the service. They are not stored: another leader asks again. Nothing of an address but its host is logged or told,
//! because paths and queries may hold secrets.

mod http;
mod path;
mod prometheus;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use shop_release::{Answer, AnswerValue, Ask, MAX_TEXT, Question};
use tokio::{sync::Semaphore, task::AbortHandle};

use crate::key::ServiceKey;
use http::Http;

/// Questions kept of one service, answered or not.
pub const KEPT: usize = 64;
/// Questions on their way at the same time.
const PARALLEL: usize = 16;
/// Longest deadline of a question, whatever the plan says.
const LONGEST: Duration = Duration::from_mins(1);

/// Is told that an answer arrived.
pub type OnAnswer = Box<dyn FnOnce() + Send>;

/// Asks, and keeps what comes back. Copies share it.
#[derive(Clone)]
pub struct Asks {
    http: Http,
    slots: Arc<Semaphore>,
    services: Arc<Mutex<HashMap<String, Asked>>>,
}

struct Asked {
    key: ServiceKey,
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    id: String,
    answer: Option<Answer>,
    task: Option<AbortHandle>,
}

impl Drop for Kept {
    // What is forgotten is not waited for either.
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Default for Asks {
    fn default() -> Self {
        Self { http: Http::new(), slots: Arc::new(Semaphore::new(PARALLEL)), services: Arc::default() }
    }
}

impl Asks {
    /// Asks for the service with this uid, unless the question is known; `done` is called when its answer has been kept.
    pub fn ask(&self, key: &ServiceKey, uid: &str, question: &Question, done: OnAnswer) {
        let mut all = self.all();
        let asked = all.entry(uid.to_owned());
        let kept = &mut asked.or_insert_with(|| Asked { key: key.clone(), kept: VecDeque::new() }).kept;
        if kept.iter().any(|one| one.id == question.id) {
            return;
        }
        while kept.len() >= KEPT {
            kept.pop_front();
        }
        let (asks, uid, asked) = (self.clone(), uid.to_owned(), question.clone());
        let task = tokio::spawn(async move {
            let outcome = asks.answer(&asked).await;
            let answer = Answer { id: asked.id, at: Timestamp::now(), outcome };
            asks.keep(&uid, answer);
            done();
        });
        kept.push_back(Kept { id: question.id.clone(), answer: None, task: Some(task.abort_handle()) });
    }

    /// The answers to questions of a service.
    pub fn answers(&self, uid: &str) -> Vec<Answer> {
        let all = self.all();
        let kept = all.get(uid).into_iter().flat_map(|asked| &asked.kept);
        kept.filter_map(|one| one.answer.clone()).collect()
    }

    /// Forgets a service.
    pub fn forget(&self, key: &ServiceKey) {
        self.all().retain(|_, asked| asked.key != *key);
    }

    /// Forgets everything: the leadership is another one.
    pub fn clear(&self) {
        self.all().clear();
    }

    fn keep(&self, uid: &str, answer: Answer) {
        let mut all = self.all();
        let known = all.get_mut(uid).and_then(|asked| asked.kept.iter_mut().find(|one| one.id == answer.id));
        if let Some(kept) = known {
            kept.answer = Some(answer);
        }
    }

    async fn answer(&self, question: &Question) -> Result<AnswerValue, String> {
        let within = question.timeout.min(LONGEST);
        let asked = async {
            // The semaphore is never closed; a failure would only mean more questions at once.
            let _slot = self.slots.acquire().await.ok();
            match &question.ask {
                Ask::Http { url, method, body, json_path } => {
                    self.http.hook(url, method, body.as_deref(), json_path.as_deref()).await
                }
                Ask::Prometheus { address, query } => prometheus::ask(&self.http, address, query).await,
            }
        };
        match tokio::time::timeout(within, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {within:?}")),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Asked>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a text: printable, as much as is kept.
fn cut(text: &str) -> String {
    let printable = text.trim().chars().map(|char| if char.is_control() { ' ' } else { char });
    printable.take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests;
