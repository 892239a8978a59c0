//! One suite for both stores: what the ledger promises must hold whatever keeps it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod client;
mod lives;
mod server;

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use shop_ledger::{Place, StoreError};
use sqlx::{Connection as _, Executor as _};

/// A new, empty ledger each time it is called.
type Fresh<'a> = &'a mut dyn FnMut() -> Place;
type Case = fn(Place) -> BoxFuture<'static, ()>;

/// Every promise, by its name.
const CASES: [(&str, Case); 12] = [
    ("an order is made and found", |place| Box::pin(cases::an_order_is_made_and_found(place))),
    ("the same request again gets the same bytes", |place| Box::pin(cases::the_same_request_again(place))),
    ("twins at two writers make one order", |place| Box::pin(cases::twins_at_two_writers(place))),
    ("a flash sale sells what there is", |place| Box::pin(cases::a_flash_sale(place))),
    ("all lines or none", |place| Box::pin(cases::all_lines_or_none(place))),
    ("an order lives and ends", |place| Box::pin(lives::an_order_lives(place))),
    ("money comes back", |place| Box::pin(lives::money_comes_back(place))),
    ("of a payment and a cancellation one wins", |place| Box::pin(lives::one_wins(place))),
    ("orders that are accepted are settled", |place| Box::pin(lives::accepted_for_later(place))),
    ("holds end", |place| Box::pin(lives::holds_end(place))),
    ("an old epoch changes nothing", |place| Box::pin(lives::an_old_epoch(place))),
    ("slots for ids are leased once", |place| Box::pin(cases::slots_are_leased_once(place))),
];

async fn all(fresh: Fresh<'_>) {
    for (name, case) in CASES {
        println!("{name}");
        case(fresh()).await;
    }
}

#[tokio::test]
async fn sqlite_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicU32::new(0);
    all(&mut || Place::File(folder.path().join(format!("{}.sqlite", count.fetch_add(1, Ordering::Relaxed)))))
        .await;
}

#[tokio::test]
async fn postgresql_keeps_every_promise() {
    let server = server::Server::start().await;
    let mut names = Vec::new();
    for count in 0..CASES.len() {
        names.push(server.database(&format!("ledger{count}")).await);
    }
    let mut names = names.into_iter();
    all(&mut || Place::Server(names.next().unwrap())).await;
}

#[tokio::test]
async fn a_schema_that_is_too_new_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let place = Place::File(path.clone());
    client::open(&place, &[]).await.end().await;
    let mut file = sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    file.execute("UPDATE ledger_schema SET version = 8, oldest = 1").await.unwrap();
    client::open(&place, &[]).await.end().await;
    file.execute("UPDATE ledger_schema SET version = 9, oldest = 9").await.unwrap();
    let error = shop_ledger::Ledger::open(&place, "test", &[]).await.err().unwrap();
    assert!(matches!(error, StoreError::Schema { found: 9, oldest: 9 }), "{error}");
}
