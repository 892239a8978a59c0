//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long [`eventually`] waits: what takes a second here may take a minute on a machine that does other things too.
pub const DEADLINE: Duration = Duration::from_mins(3);
const FIRST_POLL: Duration = Duration::from_millis(20);
const LAST_POLL: Duration = Duration::from_millis(250);
/// One look may take this long; a request that hangs must not use up the whole deadline.
const LOOK: Duration = Duration::from_secs(30);

/// Calls `check` until it returns a value; its last error becomes the error when [`DEADLINE`] has passed.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    eventually_within(DEADLINE, what, check).await
}

/// [`eventually`] with a deadline of its own.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut poll = FIRST_POLL;
    loop {
        let looked = tokio::time::timeout(LOOK, check()).await;
        let error = match looked {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("looking took longer than {} s", LOOK.as_secs()),
        };
        if Instant::now() >= deadline {
            let seconds = patience.as_secs();
            return Err(error).with_context(|| format!("not so after {seconds} s: {what}; last seen"));
        }
        tokio::time::sleep(poll).await;
        poll = (poll * 2).min(LAST_POLL);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn the_value_is_returned_when_it_is_there() {
        let mut looks = 0;
        let value = eventually("three looks", async || {
            looks += 1;
            if looks < 3 {
                bail!("{looks} looks")
            }
            Ok(looks)
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_last_error_is_told() {
        let never =
            eventually_within(Duration::ZERO, "a wonder", async || -> Result<()> { bail!("no wonder") });
        let error = format!("{:#}", never.await.unwrap_err());
        assert!(error.contains("a wonder") && error.contains("no wonder"), "{error}");
    }
}
