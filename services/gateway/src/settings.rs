//! What the gateway can be told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::domain::Network;

/// What the gateway can be told.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// What all services can be told.
    #[command(flatten)]
    pub common: shop_common::Settings,
    /// Where the services are.
    #[command(flatten)]
    pub urls: Urls,
    /// What the sidecar before the gateway does: `auth`, `limits`, or both joined by a comma. The gateway leaves it to the sidecar
    /// then, and takes requests from this pod alone (loopback)
    #[arg(long, env = "SHOP_SIDECAR", value_delimiter = ',')]
    pub sidecar: Vec<Duty>,
    /// What `iss` of access tokens must be
    #[arg(long, env = "SHOP_ISSUER", default_value = "https://shop.example")]
    pub issuer: String,
    /// What `aud` of access tokens must be
    #[arg(long, env = "SHOP_AUDIENCE", default_value = "shop")]
    pub audience: String,
    /// Verify HS512 with the secret in this file instead of ES256 with the user service's keys; the user service has the same flag
    #[arg(long, value_name = "FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// Addresses that are not limited, or ranges of them
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub allow: Vec<Network>,
    /// Addresses that are not let in, or ranges of them
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub deny: Vec<Network>,
    /// Ids of users that are not let in
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub deny_user: Vec<String>,
    /// Requests that wait for an answer at a time; services that can wait are left out before it is reached
    #[arg(long, default_value_t = 2_000)]
    pub most_in_flight: usize,
    /// Seconds after which there is no answer any more
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,
}

/// Something that a sidecar can do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Duty {
    /// Verifying tokens: `auth.jwt` of the `ShopService`, with the claim `roles` in the header `x-user-roles`.
    Auth,
    /// How often somebody may ask: `limits.rate`.
    Limits,
}

/// Where the services are. One that is nowhere is not routed to. In a pod the operator sets these variables from `dependsOn`.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Urls {
    /// Where the user service is: `http://127.0.0.1:8081`
    #[arg(long, value_name = "URL", env = "SHOP_USER_URL")]
    pub user_url: Option<String>,
    /// Where the catalogue is
    #[arg(long, value_name = "URL", env = "SHOP_PRODUCT_URL")]
    pub product_url: Option<String>,
    /// Where carts are
    #[arg(long, value_name = "URL", env = "SHOP_CART_URL")]
    pub cart_url: Option<String>,
    /// Where orders are
    #[arg(long, value_name = "URL", env = "SHOP_ORDER_URL")]
    pub order_url: Option<String>,
    /// Where the stock is
    #[arg(long, value_name = "URL", env = "SHOP_INVENTORY_URL")]
    pub inventory_url: Option<String>,
    /// Where payments are
    #[arg(long, value_name = "URL", env = "SHOP_PAYMENT_URL")]
    pub payment_url: Option<String>,
    /// Where the support chat is
    #[arg(long, value_name = "URL", env = "SHOP_CHAT_URL")]
    pub chat_url: Option<String>,
}

impl Urls {
    /// The URL of a service by its name.
    pub fn of(&self, name: &str) -> Option<&str> {
        let url = match name {
            "user" => &self.user_url,
            // The catalogue sends prices.
            "product" | "prices" => &self.product_url,
            "cart" => &self.cart_url,
            "order" => &self.order_url,
            "inventory" => &self.inventory_url,
            "payment" => &self.payment_url,
            "chat" => &self.chat_url,
            _ => &None,
        };
        url.as_deref().map(|url| url.trim_end_matches('/'))
    }
}
