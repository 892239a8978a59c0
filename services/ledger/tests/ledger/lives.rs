//! What happens to orders and holds after they were made.

use std::time::{Duration, Instant};

use futures::future::join_all;
use shop_ledger::background::pass;
use shop_ledger::domain::{Event, Lines, Money, Reason, Reservation, ReservationState, Status, Stock};
use shop_ledger::{Command, Fence, Outcome, Place, Refusal, wall_clock};

use super::client::{Open, create, made, open, step};

pub(super) async fn an_order_lives(place: Place) {
    let open = open(&place, &[("MUG", 10)]).await;
    let id = open.order("ann", &[("MUG", 3)]).await;
    let pay = |cents| step(id, Event::Pay, None, Some(Money { cents, currency: "EUR".into() }));
    let total = Money { cents: 3000, currency: "EUR".into() };
    assert_eq!(open.submit(pay(2999)).await, Err(Refusal::WrongAmount(total.clone())));
    let dollars = step(id, Event::Pay, None, Some(Money { cents: 3000, currency: "USD".into() }));
    assert_eq!(open.submit(dollars).await, Err(Refusal::WrongAmount(total)));
    let foreign = step(id, Event::Cancel, Some("bob".into()), None);
    assert_eq!(open.submit(foreign).await, Err(Refusal::NoOrder));
    assert_eq!(open.moved(id, Event::Ship).await, Err(Refusal::NotNow(Status::AwaitingPayment)));
    assert_eq!(open.read(id).await.version, 1, "what is refused writes nothing");
    for (event, status) in
        [(Event::Pay, Status::Paid), (Event::Ship, Status::Shipped), (Event::Receive, Status::Completed)]
    {
        assert_eq!(open.moved(id, event).await.unwrap().status, status);
        assert_eq!(open.moved(id, event).await, Err(Refusal::NotNow(status)));
    }
    let stock = open.item("MUG").await.stock;
    assert_eq!(stock, Stock { on_hand: 7, reserved: 0, confirmed: 3, received: 10 });
    let history = open.ledger.read().history(id).await.unwrap();
    let steps: Vec<_> = history.iter().map(|event| (event.seq, &*event.event, event.to)).collect();
    let expected = [
        (1, "order.created", Status::AwaitingPayment),
        (2, "order.paid", Status::Paid),
        (3, "order.shipped", Status::Shipped),
        (4, "order.received", Status::Completed),
    ];
    assert_eq!(steps, expected);
    open.end().await;
}

pub(super) async fn money_comes_back(place: Place) {
    let open = open(&place, &[("MUG", 10)]).await;
    // Paid too late: the pieces are somebody else's already.
    let late = open.order("ann", &[("MUG", 1)]).await;
    let cancelled = open.moved(late, Event::Cancel).await.unwrap();
    assert_eq!((cancelled.status, cancelled.reason), (Status::Cancelled, Some(Reason::User)));
    assert_eq!(open.item("MUG").await.stock.available(), 10);
    assert_eq!(open.moved(late, Event::Pay).await.unwrap().status, Status::Refunding);
    assert_eq!(open.moved(late, Event::Refund).await.unwrap().status, Status::Refunded);
    // Cancelled after it was paid: the pieces are there again. After it was shipped they are not.
    for (shipped, on_hand) in [(false, 10), (true, 9)] {
        let id = open.order("ann", &[("MUG", 1)]).await;
        open.moved(id, Event::Pay).await.unwrap();
        if shipped {
            open.moved(id, Event::Ship).await.unwrap();
        }
        open.moved(id, if shipped { Event::Return } else { Event::Cancel }).await.unwrap();
        assert_eq!(open.moved(id, Event::Refund).await.unwrap().status, Status::Refunded);
        assert_eq!(open.item("MUG").await.stock.on_hand, on_hand);
        assert_eq!(open.moved(id, Event::Refund).await, Err(Refusal::NotNow(Status::Refunded)));
    }
    open.end().await;
}

pub(super) async fn one_wins(place: Place) {
    let open = open(&place, &[("MUG", 10)]).await;
    let id = open.order("ann", &[("MUG", 2)]).await;
    let total = Money { cents: 2000, currency: "EUR".into() };
    let asked = (0..100).map(|count| {
        let event = if count % 2 == 0 { Event::Pay } else { Event::Ship };
        open.submit(step(id, event, None, Some(total.clone())))
    });
    let done = join_all(asked).await.into_iter().flatten().count();
    assert_eq!(done, 2, "paid once, shipped once");
    let id = open.order("ann", &[("MUG", 2)]).await;
    let pay = || open.submit(step(id, Event::Pay, None, Some(total.clone())));
    let cancel = || open.submit(step(id, Event::Cancel, Some("ann".into()), None));
    let (cancelled, paid, again) = tokio::join!(cancel(), pay(), cancel());
    assert!(cancelled.is_ok() && paid.is_ok() && again.is_err(), "{cancelled:?} {paid:?} {again:?}");
    assert_eq!(open.status(id).await, Status::Refunding, "money that came after is on its way back");
    assert_eq!(open.item("MUG").await.stock.available(), 8);
    open.end().await;
}

fn later(user: &str, wanted: &[(&str, i64)]) -> Command {
    match create(user, wanted, None) {
        Command::Create { user, lines, once, origin, .. } => {
            Command::Create { user, lines, once, later: true, origin }
        }
        other => other,
    }
}

pub(super) async fn accepted_for_later(place: Place) {
    let open = open(&place, &[("MUG", 3)]).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(made(open.submit(later("ann", &[("MUG", 2)])).await.unwrap()).0);
    }
    assert_eq!(open.item("MUG").await.stock.reserved, 0);
    assert_eq!(open.status(ids[0]).await, Status::Pending);
    pass(&open.ledger, Fence(open.ledger.own_epoch())).await.unwrap();
    let (first, second) = (open.read(ids[0]).await, open.read(ids[1]).await);
    assert_eq!((first.status, first.pay_deadline.is_some()), (Status::AwaitingPayment, true));
    assert_eq!((second.status, second.reason), (Status::Cancelled, Some(Reason::SoldOut)));
    assert_eq!(open.moved(ids[0], Event::Pay).await.unwrap().status, Status::Paid);
    open.end().await;
}

async fn reserve(open: &Open, quantity: i64, keep: i64) -> i64 {
    let lines = Lines::new([("MUG", quantity)].into_iter()).unwrap();
    made(open.submit(Command::Reserve { lines, keep, once: None }).await.unwrap()).0
}

fn state(outcome: Result<Outcome, Refusal>) -> ReservationState {
    match outcome {
        Ok(Outcome::Reservation(Reservation { state, .. })) => state,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn holds_end(place: Place) {
    let open = open(&place, &[("MUG", 10)]).await;
    let sold = reserve(&open, 2, 60_000).await;
    for _ in 0..2 {
        assert_eq!(state(open.submit(Command::Confirm(sold)).await), ReservationState::Confirmed);
    }
    assert_eq!(open.submit(Command::Release(sold)).await, Err(Refusal::Closed(ReservationState::Confirmed)));
    let back = reserve(&open, 3, 60_000).await;
    for _ in 0..2 {
        assert_eq!(state(open.submit(Command::Release(back)).await), ReservationState::Released);
    }
    assert_eq!(open.submit(Command::Confirm(back)).await, Err(Refusal::Closed(ReservationState::Released)));
    assert_eq!(open.submit(Command::Confirm(7)).await, Err(Refusal::NoReservation));
    let order = open.order("ann", &[("MUG", 1)]).await;
    assert_eq!(open.submit(Command::Release(order)).await, Err(Refusal::OfAnOrder));
    let short = reserve(&open, 4, 1).await;
    let begun = Instant::now();
    while open.ledger.read().due_reservations(wall_clock(), 10).await.unwrap() != [short] {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is never due");
        tokio::task::yield_now().await;
    }
    assert_eq!(open.submit(Command::Confirm(short)).await, Err(Refusal::Over));
    pass(&open.ledger, Fence(open.ledger.own_epoch())).await.unwrap();
    let found = open.ledger.read().reservation(short).await.unwrap().unwrap();
    assert_eq!(found.state, ReservationState::Released);
    let stock = open.item("MUG").await.stock;
    assert_eq!(stock, Stock { on_hand: 8, reserved: 1, confirmed: 2, received: 10 });
    open.end().await;
}

/// A process that slept through a promotion wakes up with its old epoch.
pub(super) async fn an_old_epoch(place: Place) {
    let open = open(&place, &[("MUG", 10)]).await;
    let first = made(open.submit(later("ann", &[("MUG", 1)])).await.unwrap()).0;
    let second = made(open.submit(later("ann", &[("MUG", 1)])).await.unwrap()).0;
    let own = open.ledger.own_epoch();
    let (old, new) = (Fence(own + 1), Fence(own + 2));
    assert!(open.submit(Command::Settle(first, new)).await.is_ok());
    assert_eq!(open.submit(Command::Settle(second, old)).await, Err(Refusal::Fenced(new)));
    assert_eq!(open.status(second).await, Status::Pending);
    pass(&open.ledger, old).await.unwrap();
    assert_eq!(open.status(second).await, Status::Pending);
    pass(&open.ledger, new).await.unwrap();
    assert_eq!(open.status(second).await, Status::AwaitingPayment);
    open.end().await;
}
