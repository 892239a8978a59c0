//! Orders that are made, once, from what there is.

use std::collections::BTreeSet;

use futures::future::join_all;
use shop_ledger::domain::ids::parts;
use shop_ledger::domain::{Status, Stock};
use shop_ledger::{Command, Place, Refusal};

use super::client::{create, made, once, open, sku};

pub(super) async fn an_order_is_made_and_found(place: Place) {
    let open = open(&place, &[("MUG", 10), ("LAMP", 10)]).await;
    let (id, body, replayed) =
        made(open.submit(create("ann", &[("MUG", 2), ("LAMP", 1)], None)).await.unwrap());
    assert!(!replayed);
    let order = open.read(id).await;
    assert_eq!(order.to_json(), body, "what is read is what was answered");
    assert_eq!((order.status, order.total.cents, &*order.user), (Status::AwaitingPayment, 3000, "ann"));
    let stock = open.item("MUG").await.stock;
    assert_eq!(stock, Stock { on_hand: 10, reserved: 2, confirmed: 0, received: 10 });
    let history = open.ledger.read().history(id).await.unwrap();
    assert_eq!((history.len(), &*history[0].event, history[0].seq), (1, "order.created", 1));
    assert_eq!(history[0].release.as_deref(), Some("green"));
    let second = open.order("ann", &[("MUG", 1)]).await;
    assert!(second > id);
    open.order("bob", &[("MUG", 1)]).await;
    let read = open.ledger.read();
    let page = read.orders_of("ann", i64::MAX, 1).await.unwrap();
    assert_eq!(page.iter().map(|order| order.id).collect::<Vec<_>>(), [second]);
    let page = read.orders_of("ann", second, 5).await.unwrap();
    assert_eq!(page.iter().map(|order| order.id).collect::<Vec<_>>(), [id]);
    assert!(read.order(77).await.unwrap().is_none());
    open.end().await;
}

pub(super) async fn the_same_request_again(place: Place) {
    let open = open(&place, &[("MUG", 1000)]).await;
    let ask = || open.submit(create("ann", &[("MUG", 1)], Some(once("ann", "k1", "a"))));
    let answers: Vec<_> =
        join_all((0..200).map(|_| ask())).await.into_iter().map(|answer| made(answer.unwrap())).collect();
    assert_eq!(answers.iter().filter(|(_, _, replayed)| !replayed).count(), 1);
    let bodies: BTreeSet<_> = answers.iter().map(|(id, body, _)| (*id, body.clone())).collect();
    assert_eq!(bodies.len(), 1, "every answer is the same, byte for byte");
    assert_eq!(open.item("MUG").await.stock.reserved, 1);
    let other = open.submit(create("ann", &[("MUG", 2)], Some(once("ann", "k1", "b")))).await;
    assert_eq!(other, Err(Refusal::KeyReused));
    let bob = open.submit(create("bob", &[("MUG", 1)], Some(once("bob", "k1", "b")))).await.unwrap();
    assert!(!made(bob).2, "users may use each other's keys");
    // What is refused does not burn its key.
    let many = create("ann", &[("MUG", 999)], Some(once("ann", "k2", "c")));
    assert_eq!(open.submit(many).await, Err(Refusal::SoldOut(vec![sku("MUG")])));
    assert!(open.submit(create("ann", &[("MUG", 1)], Some(once("ann", "k2", "d")))).await.is_ok());
    open.end().await;
}

/// Two processes at one store: the second finds what the first has written, whichever is first.
pub(super) async fn twins_at_two_writers(place: Place) {
    let one = open(&place, &[("MUG", 1000)]).await;
    let two = open(&place, &[]).await;
    for round in 0..20 {
        let key = once("ann", &format!("k{round}"), "a");
        let command = || create("ann", &[("MUG", 1)], Some(key));
        let (first, second) = tokio::join!(one.submit(command()), two.submit(command()));
        let (first, second) = (made(first.unwrap()), made(second.unwrap()));
        assert_eq!((first.0, &first.1), (second.0, &second.1));
        assert_ne!(first.2, second.2, "one of them made it");
    }
    assert_eq!(two.item("MUG").await.stock.reserved, 20);
    one.end().await;
    two.end().await;
}

pub(super) async fn a_flash_sale(place: Place) {
    for round in 0..3 {
        let name = format!("HOT-{round}");
        let open = open(&place, &[(name.as_str(), 100)]).await;
        let wanted = [(name.as_str(), 1)];
        let buyers = (0..2000).map(|buyer| open.submit(create(&format!("u{buyer}"), &wanted, None)));
        let answers = join_all(buyers).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 100);
        let sold_out = Err(Refusal::SoldOut(vec![sku(&name)]));
        assert_eq!(answers.iter().filter(|answer| **answer == sold_out).count(), 1900);
        open.end().await;
    }
}

pub(super) async fn all_lines_or_none(place: Place) {
    let open = open(&place, &[("A", 5), ("B", 1)]).await;
    let refused = async |wanted: &[(&str, i64)]| open.submit(create("ann", wanted, None)).await.unwrap_err();
    assert_eq!(refused(&[("A", 1), ("B", 2)]).await, Refusal::SoldOut(vec![sku("B")]));
    assert_eq!(refused(&[("A", 1), ("B", 1), ("B", 1)]).await, Refusal::SoldOut(vec![sku("B")]));
    assert_eq!(refused(&[("A", 1), ("NO", 1)]).await, Refusal::Unknown(vec![sku("NO")]));
    assert_eq!(open.item("A").await.stock.reserved, 0);
    let restock = Command::Restock { sku: sku("B"), quantity: 4, once: Some(once("staff", "r1", "4")) };
    let (_, body, _) = made(open.submit(restock.clone()).await.unwrap());
    assert_eq!(made(open.submit(restock).await.unwrap()), (0, body, true), "delivered once");
    open.order("ann", &[("A", 5), ("B", 5)]).await;
    assert_eq!(open.item("B").await.stock.available(), 0);
    open.end().await;
}

pub(super) async fn slots_are_leased_once(place: Place) {
    let one = open(&place, &[("MUG", 100)]).await;
    let two = open(&place, &[]).await;
    let slot = |id| (parts(id).1, parts(id).2);
    let first = slot(one.order("ann", &[("MUG", 1)]).await);
    let second = slot(two.order("ann", &[("MUG", 1)]).await);
    assert_eq!((first, second), ((0, 0), (0, 1)));
    one.end().await;
    let three = open(&place, &[]).await;
    assert_eq!(slot(three.order("ann", &[("MUG", 1)]).await), first, "what was given back is taken again");
    two.end().await;
    three.end().await;
}
