//! What depends on the time and on ids, decided without a store.

use super::*;
use crate::command::{Actor, Origin};
use crate::domain::ids::IdError;
use crate::domain::order::PAY_WITHIN;
use crate::domain::{Fingerprint, Line, Lines, ReservationState, Status, Stock};

const NOW: Millis = 1_800_000_000_000;

fn origin() -> Origin {
    Origin { actor: Actor::User, trace: None, release: None }
}

fn shelf(on_hand: i64) -> Shelf {
    let sku = Sku::parse("MUG").unwrap();
    let stock = Stock { on_hand, received: on_hand, ..Stock::default() };
    HashMap::from([(sku.clone(), Item { sku, price: 100, currency: "EUR".into(), stock, changed: false })])
}

fn create(quantity: i64, once: Option<Once>) -> Command {
    let lines = Lines::new([("MUG", quantity)].into_iter()).unwrap();
    Command::Create { user: "ann".into(), lines, once, later: false, origin: origin() }
}

fn at(now: Millis, loaded: Loaded, batch: &[Command]) -> Decided {
    let mut last = 0;
    decide(batch.iter(), loaded, now, &mut || {
        last += 1;
        Ok(last)
    })
}

/// What the store has after one order was made at [`NOW`].
fn one_order() -> Loaded {
    let decided = at(NOW, Loaded { items: shelf(10), ..Loaded::default() }, &[create(2, None)]);
    let order = decided.writes.orders[0].order.clone();
    let items =
        decided.writes.items.into_iter().map(|item| (item.sku.clone(), Item { changed: false, ..item }));
    Loaded {
        orders: HashMap::from([(order.id, order)]),
        reservations: decided.writes.reservations.into_iter().map(|one| (one.id, one)).collect(),
        items: items.collect(),
        ..Loaded::default()
    }
}

#[test]
fn a_deadline_passes_once_and_not_before_its_time() {
    let expire = [Command::Expire(1, Fence(1)), Command::Expire(1, Fence(1))];
    let early = at(NOW + PAY_WITHIN - 1, one_order(), &expire);
    assert_eq!(early.outcomes[0], Err(Refusal::NotNow(Status::AwaitingPayment)));
    assert_eq!(early.writes.fence, Some(1));
    let due = at(NOW + PAY_WITHIN, one_order(), &expire);
    assert!(due.outcomes[0].is_ok());
    assert_eq!(due.outcomes[1], Err(Refusal::NotNow(Status::Cancelled)));
    let writes = due.writes;
    assert_eq!((writes.changed_orders.len(), writes.changed_orders[0].was), (1, 1));
    assert_eq!(writes.changed_reservations[0].state, ReservationState::Released);
    assert_eq!(writes.items[0].stock.reserved, 0);
}

#[test]
fn what_is_refused_writes_nothing() {
    let refused = [create(11, None), Command::Confirm(1), Command::Confirm(9)];
    let mut loaded = one_order();
    loaded.fence = 7;
    let decided = at(NOW, loaded, &refused);
    assert!(decided.outcomes.iter().all(Result::is_err), "{:?}", decided.outcomes);
    assert!(decided.writes.is_empty());
}

#[test]
fn without_an_id_nothing_is_held() {
    let loaded = Loaded { items: shelf(10), ..Loaded::default() };
    let back = IdError::ClockMovedBack(1000);
    let decided = decide([create(1, None)].iter(), loaded, NOW, &mut || Err(back));
    assert_eq!(decided.outcomes, [Err(Refusal::Ids(back))]);
    assert!(decided.writes.is_empty());
}

#[test]
fn twins_in_one_batch_are_made_once() {
    let once = Once { key: Key::new("ann", "POST /orders", "k"), fingerprint: Fingerprint::of(b"x") };
    let other = Once { fingerprint: Fingerprint::of(b"y"), ..once };
    let batch = [create(1, Some(once)), create(1, Some(once)), create(1, Some(other))];
    let decided = at(NOW, Loaded { items: shelf(10), ..Loaded::default() }, &batch);
    let (Ok(Outcome::Made { body, .. }), Ok(Outcome::Made { body: again, replayed: true, .. })) =
        (&decided.outcomes[0], &decided.outcomes[1])
    else {
        panic!("{:?}", decided.outcomes)
    };
    assert_eq!(body, again);
    assert_eq!(decided.outcomes[2], Err(Refusal::KeyReused));
    assert_eq!((decided.writes.orders.len(), decided.writes.requests.len()), (1, 1));
}

#[test]
fn paid_and_shipped_in_one_batch_is_one_write() {
    let paid = crate::domain::Money { cents: 200, currency: "EUR".into() };
    let step =
        |event| Command::Move { order: 1, event, whose: None, paid: Some(paid.clone()), origin: origin() };
    let batch = [step(crate::domain::Event::Pay), step(crate::domain::Event::Ship)];
    let decided = at(NOW, one_order(), &batch);
    assert!(decided.outcomes.iter().all(Result::is_ok));
    let changed = &decided.writes.changed_orders;
    assert_eq!((changed.len(), changed[0].was, changed[0].order.version), (1, 1, 3));
    assert_eq!(decided.writes.recorded.len(), 2);
    let line = Line { sku: Sku::parse("MUG").unwrap(), quantity: 2 };
    assert_eq!(decided.writes.changed_reservations[0].lines, [line]);
}
