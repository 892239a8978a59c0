//! What a batch has decided, in a few statements per table.

use sqlx::SqliteConnection;

use super::FENCE;
use super::bulk::Rows;
use crate::decide::Writes;
use crate::domain::order::lines_to_row;
use crate::domain::{Line, Reason, Reservation, Status};
use crate::store::StoreError;

static NEW_ORDERS: Rows = Rows::new(
    "INSERT INTO orders (id, user_id, status, shipped, version, lines, total, currency, created_at, updated_at, \
     pay_deadline, answer) VALUES ",
    "(?,?,?,?,?,?,?,?,?,?,?,?)",
    "",
);
static NEW_RESERVATIONS: Rows =
    Rows::new("INSERT INTO reservations (id, state, lines, expires_at) VALUES ", "(?,?,?,?)", "");
static NEW_EVENTS: Rows = Rows::new(
    "INSERT INTO order_events (order_id, seq, event, from_status, to_status, actor, at, trace, release) VALUES ",
    "(?,?,?,?,?,?,?,?,?)",
    "",
);
// A key is written again when its answer was too old to count.
static NEW_REQUESTS: Rows = Rows::new(
    "INSERT OR REPLACE INTO requests (key, fingerprint, target, status, at, answer) VALUES ",
    "(?,?,?,?,?,?)",
    "",
);
static CHANGED_ITEMS: Rows = Rows::new(
    "UPDATE items SET on_hand = v.column2, reserved = v.column3, confirmed = v.column4, received = v.column5 \
     FROM (VALUES ",
    "(?,?,?,?,?)",
    ") AS v WHERE items.sku = v.column1",
);
static CHANGED_ORDERS: Rows = Rows::new(
    "UPDATE orders SET status = v.column3, reason = v.column4, shipped = v.column5, version = v.column6, \
     updated_at = v.column7, pay_deadline = v.column8 FROM (VALUES ",
    "(?,?,?,?,?,?,?,?)",
    ") AS v WHERE orders.id = v.column1 AND orders.version = v.column2",
);
static CHANGED_RESERVATIONS: Rows = Rows::new(
    "UPDATE reservations SET state = v.column2 FROM (VALUES ",
    "(?,?)",
    ") AS v WHERE reservations.id = v.column1",
);

/// Writes everything within the transaction of `connection`.
pub(super) async fn write(connection: &mut SqliteConnection, writes: &Writes) -> Result<(), StoreError> {
    insert(connection, writes).await?;
    update(connection, writes).await?;
    if let Some(epoch) = writes.fence {
        sqlx::query(
            "INSERT INTO fences (name, epoch) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET epoch = max(epoch, excluded.epoch)",
        )
        .bind(FENCE)
        .bind(epoch)
        .execute(connection)
        .await
        .map_err(StoreError::Write)?;
    }
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, writes: &Writes) -> Result<(), StoreError> {
    NEW_ORDERS
        .run(connection, &writes.orders, |new, bound| {
            let order = &new.order;
            bound.put(order.id).put(order.user.clone()).put(order.status.number());
            bound.put(i64::from(order.shipped)).put(order.version);
            bound.put(lines_to_row(order.lines.iter().map(|priced| (&priced.line, priced.price))));
            bound.put(order.total.cents).put(order.total.currency.clone()).put(order.created_at);
            bound.put(order.updated_at).put(order.pay_deadline).put(new.answer.to_vec());
        })
        .await?;
    NEW_RESERVATIONS
        .run(connection, &writes.reservations, |Reservation { id, state, lines, expires_at }, bound| {
            let lines = lines_to_row(lines.iter().map(|line: &Line| (line, 0)));
            bound.put(*id).put(state.number()).put(lines).put(*expires_at);
        })
        .await?;
    NEW_EVENTS
        .run(connection, &writes.recorded, |event, bound| {
            bound.put(event.order).put(event.seq).put(event.event.clone());
            bound.put(event.from.map(Status::number)).put(event.to.number());
            bound.put(event.actor.clone()).put(event.at).put(event.trace.clone()).put(event.release.clone());
        })
        .await?;
    NEW_REQUESTS
        .run(connection, &writes.requests, |request, bound| {
            let known = &request.known;
            bound.put(request.key.0.to_vec()).put(known.fingerprint.0.to_vec()).put(known.target);
            bound.put(i64::from(known.status)).put(known.at);
            bound.put((!request.of_order).then(|| known.answer.to_vec()));
        })
        .await?;
    Ok(())
}

/// Every row must be as it was loaded: this is the only writer between the beginning and the end of its transaction.
async fn update(connection: &mut SqliteConnection, writes: &Writes) -> Result<(), StoreError> {
    let items = CHANGED_ITEMS
        .run(connection, &writes.items, |item, bound| {
            let stock = item.stock;
            bound.put(item.sku.as_str().to_owned()).put(stock.on_hand).put(stock.reserved);
            bound.put(stock.confirmed).put(stock.received);
        })
        .await?;
    let orders = CHANGED_ORDERS
        .run(connection, &writes.changed_orders, |changed, bound| {
            let order = &changed.order;
            bound.put(order.id).put(changed.was).put(order.status.number());
            bound.put(order.reason.map(Reason::number)).put(i64::from(order.shipped));
            bound.put(order.version).put(order.updated_at).put(order.pay_deadline);
        })
        .await?;
    let reservations = CHANGED_RESERVATIONS
        .run(connection, &writes.changed_reservations, |reservation, bound| {
            bound.put(reservation.id).put(reservation.state.number());
        })
        .await?;
    let changed = items + orders + reservations;
    let wanted = writes.items.len() + writes.changed_orders.len() + writes.changed_reservations.len();
    if changed == wanted as u64 { Ok(()) } else { Err(StoreError::Raced) }
}
