//! From settings to routes, and what is done beside them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use shop_common::RunError;
use shop_common::token::{Keys, Rules};

use crate::client::client;
use crate::forward::Backends;
use crate::limits::Limits;
use crate::routes::{App, Load, routes};
use crate::settings::{Duty, Settings};
use crate::trust::Trust;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A secret cannot be read.
    #[error("cannot read the secret {}: {source}", .path.display())]
    Secret {
        /// Its file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A secret can be guessed.
    #[error("the secret for HS512 has {0} bytes: it is the user service's, which has at least 64")]
    Short(usize),
    /// Nothing could be verified.
    #[error(
        "tokens cannot be verified: set --user-url, --jwt-secret-file, or --sidecar auth if the sidecar verifies them"
    )]
    NoKeys,
}

/// Runs the gateway until it is told to end.
pub async fn run(settings: &Settings) -> Result<(), RunError> {
    shop_common::run("gateway", &settings.common, async |_context| {
        let app = app(settings)?;
        if let Some(trust) = app.trust.clone() {
            tokio::spawn(async move { trust.keep().await });
        }
        Ok::<_, StartError>(routes(app))
    })
    .await
}

/// What requests use, as the settings say.
pub fn app(settings: &Settings) -> Result<App, StartError> {
    let http = client();
    let trust = if settings.sidecar.contains(&Duty::Auth) {
        None
    } else {
        let user = settings.urls.of("user").map(str::to_owned);
        let secrets = secrets(settings)?;
        if user.is_none() && secrets.is_none() {
            return Err(StartError::NoKeys);
        }
        let rules = Rules { issuer: settings.issuer.clone(), audience: settings.audience.clone() };
        Some(Arc::new(Trust::new(http.clone(), user, secrets, rules)))
    };
    let limits = (!settings.sidecar.contains(&Duty::Limits)).then(|| {
        Arc::new(Limits::new(settings.allow.clone(), settings.deny.clone(), settings.deny_user.clone()))
    });
    Ok(App {
        trust,
        limits,
        backends: Arc::new(Backends::new(http, &settings.urls)),
        load: Arc::new(Load::new(settings.most_in_flight)),
        timeout: Duration::from_secs(settings.timeout),
        begun: Instant::now(),
        version: settings.common.shop_version.as_str().into(),
    })
}

/// The secret of the user service, under the id that it gives it.
fn secrets(settings: &Settings) -> Result<Option<Keys>, StartError> {
    let Some(path) = &settings.jwt_secret_file else { return Ok(None) };
    let secret = std::fs::read(path).map_err(|source| StartError::Secret { path: path.clone(), source })?;
    let mut keys = Keys::default();
    let kid = shop_common::token::key_id(digest(&SHA256, &secret).as_ref());
    if keys.add_hs512(&kid, &secret) { Ok(Some(keys)) } else { Err(StartError::Short(secret.len())) }
}
