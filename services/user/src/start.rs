//! From settings to routes, and what is done beside them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shop_common::token::{LEEWAY, Rules};
use shop_common::{Problem, RunError};

use crate::attempts::Attempts;
use crate::domain::{ACCESS_LIFE, Invalid, Name, Password, Role, Roles, id};
use crate::keys::{KeyError, KeyRing, Source};
use crate::mini_program::{BadSetting, Provider, TIMEOUT};
use crate::passwords::{HashError, Passwords};
use crate::routes::{App, Clock, routes};
use crate::settings::Settings;
use crate::store::{NewUser, Sqlite, Store, StoreError};

/// How often keys are looked at and what is over is forgotten.
const UPKEEP: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Hashing.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A secret cannot be read.
    #[error("cannot read the secret {}: {source}", .path.display())]
    Secret {
        /// Its file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The mini-program's app.
    #[error(transparent)]
    MiniProgram(#[from] BadSetting),
    /// The admin's password is none.
    #[error("SHOP_ADMIN_PASSWORD cannot be used: {0}")]
    Admin(#[from] Invalid),
    /// The admin's password could not be hashed.
    #[error("the user `admin` could not be made: {}", .0.detail())]
    AdminHash(Problem),
}

/// Runs the service until it is told to end.
pub async fn run(settings: &Settings) -> Result<(), RunError> {
    shop_common::run("user", &settings.common, async |context| {
        let app = app(settings, Arc::new(now)).await?;
        tokio::spawn(upkeep(app.clone(), context.stop.clone()));
        Ok::<_, StartError>(routes(app))
    })
    .await
}

/// What the routes use, as the settings say.
pub async fn app(settings: &Settings, clock: Clock) -> Result<App, StartError> {
    let source = match &settings.jwt_secret_file {
        None => Source::Store { life: DAY * settings.key_days },
        Some(first) => {
            let files = [Some(first), settings.jwt_previous_secret_file.as_ref()];
            Source::Secrets(files.into_iter().flatten().map(|path| read(path)).collect::<Result<_, _>>()?)
        }
    };
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(settings.database.as_deref()).await?);
    let keys = KeyRing::start(source, Arc::clone(&store), clock()).await?;
    let app = App {
        keys: Arc::new(keys),
        rules: Arc::new(Rules { issuer: settings.issuer.clone(), audience: settings.audience.clone() }),
        passwords: Passwords::new()?,
        attempts: Arc::new(Attempts::default()),
        mini_program: provider(settings)?,
        store,
        clock,
    };
    if let Some(password) = &settings.admin_password {
        make_admin(&app, Password::choose(password.0.clone())?).await?;
    }
    Ok(app)
}

fn provider(settings: &Settings) -> Result<Option<Arc<Provider>>, StartError> {
    let (Some(url), Some(path)) = (&settings.mini_program_url, &settings.mini_program_secret_file) else {
        return Ok(None);
    };
    let secret = String::from_utf8_lossy(&read(path)?).trim().to_owned();
    Ok(Some(Arc::new(Provider::new(url, &settings.mini_program_app, &secret, TIMEOUT)?)))
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::Secret { path: path.to_owned(), source })
}

async fn make_admin(app: &App, password: Password) -> Result<(), StartError> {
    let name = Name::parse("admin")?;
    if app.store.login(&name).await?.is_some() {
        return Ok(());
    }
    let password = app.passwords.hash(password).await.map_err(StartError::AdminHash)?;
    let created_at = (app.clock)();
    let mut random = [0; 10];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| KeyError::Random)?;
    let admin = NewUser {
        id: id(created_at, &random),
        display_name: name.as_str().to_owned(),
        name,
        password: Some(password),
        roles: Roles::of(Role::ALL.to_vec())?,
        created_at,
    };
    // If there is one now, another replica has made it.
    app.store.add_user(admin).await?;
    Ok(())
}

/// Makes a new key when it is time, and forgets what is over.
async fn upkeep(app: App, stop: shop_common::Stop) {
    loop {
        tokio::select! {
            () = stop.begun() => return,
            () = tokio::time::sleep(UPKEEP) => {}
        }
        let now = (app.clock)();
        if let Err(error) = app.keys.refresh(now).await {
            tracing::error!(%error, "the keys could not be loaded; those from before are used");
        }
        let since = now - i64::try_from(ACCESS_LIFE.as_millis()).unwrap_or(0) - LEEWAY * 1_000;
        if let Err(error) = app.store.sweep(now, since).await {
            tracing::warn!(%error, "what is over could not be forgotten");
        }
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
