//! `shopd all`: the whole shop in one process, without any configuration. The services are the same as alone; orders and stock share
//! one ledger and its writer.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches};
use futures::future::{LocalBoxFuture, try_join_all};
use shop_common::RunError;

/// What `shopd all` can be told; everything has a default.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Settings {
    /// The port of the first service; the others take those after it, in the order in which they are logged
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// The folder in which everything is kept, made if it is missing
    #[arg(long, default_value = "shop-data", value_name = "FOLDER")]
    data: PathBuf,
    /// Where orders and stock are kept, if not in the folder: `postgres://user@host/database`
    #[arg(long, env = "SHOP_STORE", value_name = "STORE")]
    store: Option<String>,
    /// How many pieces there are of what is offered for the first time
    #[arg(long, default_value_t = 10_000, value_name = "PIECES")]
    first_stock: u32,
    /// What is logged: a level, or target=level joined by commas
    #[arg(long, env = "SHOP_LOG", default_value = "info")]
    log: String,
}

/// Runs all services until they are told to end.
pub(crate) async fn run(settings: &Settings) -> Result<(), RunError> {
    // First, so that all lines have the same name.
    shop_common::logs::start("shop", &settings.log)?;
    std::fs::create_dir_all(&settings.data).map_err(|error| {
        let said = format!(
            "cannot make the folder {}: {error}; choose another one with --data",
            settings.data.display()
        );
        RunError::Build(said.into())
    })?;
    let kept = |name: &str| text(&settings.data.join(name));
    let store = settings.store.clone().unwrap_or_else(|| kept("ledger.sqlite"));
    let product: shop_product::Settings = defaults(settings, 0, &[])?;
    let user: shop_user::Settings = defaults(settings, 1, &["--database", &kept("users.sqlite")])?;
    let order: shop_order::Settings =
        defaults(settings, 2, &["--store", &store, "--first-stock", &settings.first_stock.to_string()])?;
    let inventory: shop_inventory::Settings = defaults(settings, 3, &["--store", &store])?;
    let failed = |error: shop_ledger::StoreError| RunError::Build(error.into());
    let offers = shop_order::offers(&order).await?;
    let (ledger, writing) = shop_ledger::open(&order.ledger.store, &offers).await.map_err(failed)?;
    let gateway = gateway(settings)?;
    // One line per service.
    let services: Vec<LocalBoxFuture<'_, Result<(), RunError>>> = vec![
        Box::pin(shop_product::run(&product)),
        Box::pin(shop_user::run(&user)),
        Box::pin(shop_order::serve(&order, ledger.clone())),
        Box::pin(shop_inventory::serve(&inventory, ledger.clone(), false)),
        Box::pin(async {
            match &gateway {
                Some(gateway) => shop_gateway::run(gateway).await,
                None => Ok(()),
            }
        }),
    ];
    let ended = try_join_all(services).await;
    shop_ledger::close(ledger, writing).await;
    ended.map(drop)
}

/// The front door, before all others. With free ports nobody knows where those are: there is none then.
fn gateway(settings: &Settings) -> Result<Option<shop_gateway::Settings>, RunError> {
    if settings.port == 0 {
        return Ok(None);
    }
    let host = if settings.host.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { settings.host };
    let url = |place: u16| {
        let port = settings.port.saturating_add(place);
        format!("http://{}", std::net::SocketAddr::new(host, port))
    };
    let (product, user, order, inventory) = (url(0), url(1), url(2), url(3));
    let urls = [
        ("--product-url", &product),
        ("--user-url", &user),
        ("--order-url", &order),
        ("--inventory-url", &inventory),
    ];
    let flags: Vec<&str> = urls.iter().flat_map(|(flag, url)| [*flag, url.as_str()]).collect();
    defaults(settings, 4, &flags).map(Some)
}

/// The settings of one service as its own command would have them, on its place in the block of ports.
fn defaults<T: Args + FromArgMatches>(settings: &Settings, place: u16, more: &[&str]) -> Result<T, RunError> {
    let failed = |said: String| RunError::Build(said.into());
    let port = settings.port.checked_add(place).ok_or_else(|| {
        failed(format!("the ports from {} on are not enough: choose a lower one with --port", settings.port))
    })?;
    // With port 0 every service takes a free one.
    let port = if settings.port == 0 { 0 } else { port }.to_string();
    let host = settings.host.to_string();
    let own = ["shopd", "--port", &port, "--host", &host, "--log", &settings.log];
    let command = T::augment_args(Command::new("shopd"));
    let matches = command.try_get_matches_from(own.iter().chain(more));
    matches.and_then(|matches| T::from_arg_matches(&matches)).map_err(|error| failed(error.to_string()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
