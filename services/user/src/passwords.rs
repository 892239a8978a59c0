//! Hashing passwords: argon2id with the parameters that OWASP names as the least. A hash takes a dozen milliseconds of CPU and
//! 19 MiB, so that it has threads of its own, few at a time, and a bounded queue before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use aws_lc_rs::rand;
use shop_common::{Code, Problem};
use tokio::sync::Semaphore;

use crate::domain::Password;

/// Memory of a hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT: usize = 16;
/// Hashes at a time.
const AT_ONCE: usize = 2;
/// Hashes that wait, at most: two at a time and a dozen milliseconds each, the last one waits for less than a second.
const WAITING: usize = 100;
/// What a caller is told to wait when there are more.
const LATER: Duration = Duration::from_secs(1);

/// Hashes passwords. Clones share the queue.
#[derive(Clone)]
pub struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// Of a password that nobody has: an unknown name takes as long as a known one.
    nobodys: Arc<str>,
}

/// Whether a password was right.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// It was not.
    Wrong,
    /// It was.
    Right,
    /// It was, and is better stored as this, with the parameters of today.
    Outdated(String),
}

/// No hash could be made.
#[derive(Debug, thiserror::Error)]
#[error("no password can be hashed: {0}")]
pub struct HashError(String);

/// Counts one that waits until it is dropped: a caller may go away.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    /// Makes the hash of nobody's password.
    pub fn new() -> Result<Self, HashError> {
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| HashError("the system has no randomness".to_owned()))?;
        Ok(Self {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(AtomicUsize::new(0)),
            nobodys: hash(&random)?.into(),
        })
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, password: Password) -> Result<String, Problem> {
        self.run(move || hash(password.bytes())).await?.map_err(|error| failed(&error))
    }

    /// Whether a password is the one of a PHC string. Without one it is never, after the same time.
    pub async fn check(&self, password: Password, phc: Option<String>) -> Result<Checked, Problem> {
        let nobodys = Arc::clone(&self.nobodys);
        self.run(move || match phc {
            None => {
                let _ = is_right(&password, &nobodys);
                Checked::Wrong
            }
            Some(phc) if !is_right(&password, &phc) => Checked::Wrong,
            Some(phc) if is_of_today(&phc) => Checked::Right,
            Some(_) => hash(password.bytes()).map_or(Checked::Right, Checked::Outdated),
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let busy = || Problem::new(Code::Busy, "many log in now: come again soon").retry_after(LATER);
        let waiting = Waiting(Arc::clone(&self.waiting));
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
            return Err(busy());
        }
        // Never closed.
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(|_| busy())?;
        drop(waiting);
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        worked.await.map_err(|error| failed(&HashError(error.to_string())))
    }
}

fn failed(error: &HashError) -> Problem {
    tracing::error!(%error, "a password could not be hashed");
    Problem::new(Code::Internal, "try again later")
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| HashError(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8]) -> Result<String, HashError> {
    let mut salt = [0; SALT];
    rand::fill(&mut salt).map_err(|_| HashError("the system has no randomness".to_owned()))?;
    let hash = argon2()?.hash_password_with_salt(password, &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| HashError(error.to_string()))
}

/// With the parameters of the string, whatever they are.
fn is_right(password: &Password, phc: &str) -> bool {
    PasswordHash::new(phc)
        .is_ok_and(|phc| argon2().is_ok_and(|argon2| argon2.verify_password(password.bytes(), &phc).is_ok()))
}

/// Whether a string was made with the parameters of today.
fn is_of_today(phc: &str) -> bool {
    phc.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
}
