//! A ledger under test, and short words for what is asked of it.

use std::sync::Arc;

use shop_ledger::domain::{Event, Fingerprint, Item, Key, Lines, Money, Order, Sku, Status};
use shop_ledger::ledger::Writing;
use shop_ledger::{Actor, Command, Ledger, Offer, Once, Origin, Outcome, Place, Refusal};

pub(crate) struct Open {
    pub(crate) ledger: Ledger,
    writing: Writing,
}

/// Opens `place` with these SKUs and numbers of pieces, each at 10.00 EUR.
pub(crate) async fn open(place: &Place, stock: &[(&str, u32)]) -> Open {
    let offer = |(name, first_stock): &(&str, u32)| Offer {
        sku: sku(name),
        price: 1000,
        currency: "EUR".to_owned(),
        first_stock: *first_stock,
    };
    let offers: Vec<_> = stock.iter().map(offer).collect();
    let (ledger, writing) = Ledger::open(place, "test", &offers).await.unwrap();
    Open { ledger, writing }
}

impl Open {
    /// Ends it, when its books balance.
    pub(crate) async fn end(self) {
        let audit = self.ledger.read().audit().await.unwrap();
        assert!(audit.is_clean(), "{audit:?}");
        drop(self.ledger);
        self.writing.ended().await;
    }

    pub(crate) async fn submit(&self, command: Command) -> Result<Outcome, Refusal> {
        self.ledger.submit(command).await.unwrap()
    }

    /// A new order of `user`; its id.
    pub(crate) async fn order(&self, user: &str, wanted: &[(&str, i64)]) -> i64 {
        made(self.submit(create(user, wanted, None)).await.unwrap()).0
    }

    pub(crate) async fn moved(&self, order: i64, event: Event) -> Result<Order, Refusal> {
        let found = self.read(order).await;
        let paid = Money { cents: found.total.cents, currency: "EUR".into() };
        match self.submit(step(order, event, None, Some(paid))).await? {
            Outcome::Order(order) => Ok(*order),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn read(&self, order: i64) -> Order {
        self.ledger.read().order(order).await.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, order: i64) -> Status {
        self.read(order).await.status
    }

    pub(crate) async fn item(&self, name: &str) -> Item {
        self.ledger.read().item(&sku(name)).await.unwrap().unwrap()
    }
}

pub(crate) fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

pub(crate) fn origin() -> Origin {
    let (trace, release) = (Some("0af7651916cd43dd8448eb211c80319c".into()), Some("green".into()));
    Origin { actor: Actor::User, trace, release }
}

pub(crate) fn once(user: &str, key: &str, body: &str) -> Once {
    Once { key: Key::new(user, "POST /orders", key), fingerprint: Fingerprint::of(body.as_bytes()) }
}

pub(crate) fn create(user: &str, wanted: &[(&str, i64)], once: Option<Once>) -> Command {
    let lines = Lines::new(wanted.iter().copied()).unwrap();
    Command::Create { user: user.into(), lines, once, later: false, origin: origin() }
}

pub(crate) fn step(order: i64, event: Event, whose: Option<Arc<str>>, paid: Option<Money>) -> Command {
    Command::Move { order, event, whose, paid, origin: origin() }
}

/// Id, body, and whether it was made before.
pub(crate) fn made(outcome: Outcome) -> (i64, bytes::Bytes, bool) {
    match outcome {
        Outcome::Made { id, body, replayed, .. } => (id, body, replayed),
        other => panic!("{other:?}"),
    }
}
