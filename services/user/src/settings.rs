//! What the service can be told.

use std::path::PathBuf;

use clap::Args;

/// What the service can be told.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// What all services can be told.
    #[command(flatten)]
    pub common: shop_common::Settings,
    /// The database file, made if it is missing; in memory if left out
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// What `iss` of access tokens is
    #[arg(long, env = "SHOP_ISSUER", default_value = "https://shop.example")]
    pub issuer: String,
    /// What `aud` of access tokens is
    #[arg(long, env = "SHOP_AUDIENCE", default_value = "shop")]
    pub audience: String,
    /// Sign with HS512 and the secret in this file (at least 64 bytes) instead of ES256 and keys in the store. Whoever verifies
    /// such tokens can also make them
    #[arg(long, value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// The secret before that one: its tokens are good until they end
    #[arg(long, value_name = "FILE", requires = "jwt_secret_file")]
    pub jwt_previous_secret_file: Option<PathBuf>,
    /// Days after which another key signs
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=365))]
    pub key_days: u32,
    /// Where codes of mini-programs are shown (jscode2session), over http: to a provider outside through the sidecar, which speaks TLS
    #[arg(long, value_name = "URL", env = "SHOP_MINI_PROGRAM_URL", requires = "mini_program_secret_file")]
    pub mini_program_url: Option<String>,
    /// The id of the app there
    #[arg(long, env = "SHOP_MINI_PROGRAM_APP", default_value = "shop")]
    pub mini_program_app: String,
    /// The file with its secret
    #[arg(long, value_name = "FILE")]
    pub mini_program_secret_file: Option<PathBuf>,
    /// Password of the user `admin`, which is made with it if it is missing
    #[arg(long, env = "SHOP_ADMIN_PASSWORD", hide_env_values = true)]
    pub admin_password: Option<Secret>,
}

/// Text that is not shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
