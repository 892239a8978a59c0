//! What a batch has decided, in one statement per table: a column of all rows is one array.

use sqlx::PgConnection;
use sqlx::postgres::{PgArguments, PgQueryResult};
use sqlx::query::Query;

use super::FENCE;
use crate::decide::Writes;
use crate::domain::idempotency::KEPT;
use crate::domain::order::lines_to_row;
use crate::domain::{Reason, Status};
use crate::store::StoreError;

const NEW_ORDERS: &str = "INSERT INTO orders (id, user_id, status, shipped, version, lines, total, currency, \
     created_at, updated_at, pay_deadline, answer) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], \
     $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], \
     $12::bytea[])";
const NEW_RESERVATIONS: &str = "INSERT INTO reservations (id, state, lines, expires_at) \
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])";
const NEW_EVENTS: &str = "INSERT INTO order_events (order_id, seq, event, from_status, to_status, actor, at, trace, \
     release) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], \
     $7::bigint[], $8::text[], $9::text[])";
/// A key is written again only when its answer is too old to count. Another process may have written it since it was looked for:
/// then a row is missing here, and the batch is decided anew.
const NEW_REQUESTS: &str = "INSERT INTO requests (key, fingerprint, target, status, at, answer) \
     SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[]) \
     ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, target = excluded.target, \
     status = excluded.status, at = excluded.at, answer = excluded.answer WHERE requests.at < excluded.at - $7";
const CHANGED_ITEMS: &str = "UPDATE items SET on_hand = v.on_hand, reserved = v.reserved, confirmed = v.confirmed, \
     received = v.received FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
     AS v (sku, on_hand, reserved, confirmed, received) WHERE items.sku = v.sku";
const CHANGED_ORDERS: &str = "UPDATE orders SET status = v.status, reason = v.reason, shipped = v.shipped, \
     version = v.version, updated_at = v.updated_at, pay_deadline = v.pay_deadline \
     FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
     $8::bigint[]) AS v (id, was, status, reason, shipped, version, updated_at, pay_deadline) \
     WHERE orders.id = v.id AND orders.version = v.was";
const CHANGED_RESERVATIONS: &str = "UPDATE reservations SET state = v.state \
     FROM unnest($1::bigint[], $2::bigint[]) AS v (id, state) WHERE reservations.id = v.id";

/// Writes everything within the transaction of `connection`.
pub(super) async fn write(connection: &mut PgConnection, writes: &Writes) -> Result<(), StoreError> {
    insert(connection, writes).await?;
    requests(connection, writes).await?;
    update(connection, writes).await?;
    if let Some(epoch) = writes.fence {
        let fence = sqlx::query(
            "INSERT INTO fences (name, epoch) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET epoch = greatest(fences.epoch, excluded.epoch)",
        );
        run(connection, fence.bind(FENCE).bind(epoch)).await?;
    }
    Ok(())
}

type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

async fn run(connection: &mut PgConnection, statement: Statement<'_>) -> Result<u64, StoreError> {
    let done = statement.execute(connection).await.map_err(StoreError::Write)?;
    Ok(PgQueryResult::rows_affected(&done))
}

/// One column of all rows.
fn column<T, V>(rows: &[T], of: impl Fn(&T) -> V) -> Vec<V> {
    rows.iter().map(of).collect()
}

async fn insert(connection: &mut PgConnection, writes: &Writes) -> Result<(), StoreError> {
    let new = writes.orders.as_slice();
    if !new.is_empty() {
        let statement = sqlx::query(NEW_ORDERS)
            .bind(column(new, |new| new.order.id))
            .bind(column(new, |new| new.order.user.to_string()))
            .bind(column(new, |new| new.order.status.number()))
            .bind(column(new, |new| i64::from(new.order.shipped)))
            .bind(column(new, |new| new.order.version))
            .bind(column(new, |new| {
                lines_to_row(new.order.lines.iter().map(|priced| (&priced.line, priced.price)))
            }))
            .bind(column(new, |new| new.order.total.cents))
            .bind(column(new, |new| new.order.total.currency.to_string()))
            .bind(column(new, |new| new.order.created_at))
            .bind(column(new, |new| new.order.updated_at))
            .bind(column(new, |new| new.order.pay_deadline))
            .bind(column(new, |new| new.answer.to_vec()));
        run(connection, statement).await?;
    }
    let new = writes.reservations.as_slice();
    if !new.is_empty() {
        let statement = sqlx::query(NEW_RESERVATIONS)
            .bind(column(new, |new| new.id))
            .bind(column(new, |new| new.state.number()))
            .bind(column(new, |new| lines_to_row(new.lines.iter().map(|line| (line, 0)))))
            .bind(column(new, |new| new.expires_at));
        run(connection, statement).await?;
    }
    let new = writes.recorded.as_slice();
    if !new.is_empty() {
        let optional = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        let statement = sqlx::query(NEW_EVENTS)
            .bind(column(new, |event| event.order))
            .bind(column(new, |event| event.seq))
            .bind(column(new, |event| event.event.to_string()))
            .bind(column(new, |event| event.from.map(Status::number)))
            .bind(column(new, |event| event.to.number()))
            .bind(column(new, |event| event.actor.to_string()))
            .bind(column(new, |event| event.at))
            .bind(column(new, |event| optional(&event.trace)))
            .bind(column(new, |event| optional(&event.release)));
        run(connection, statement).await?;
    }
    Ok(())
}

async fn requests(connection: &mut PgConnection, writes: &Writes) -> Result<(), StoreError> {
    let new = writes.requests.as_slice();
    if new.is_empty() {
        return Ok(());
    }
    let statement = sqlx::query(NEW_REQUESTS)
        .bind(column(new, |new| new.key.0.to_vec()))
        .bind(column(new, |new| new.known.fingerprint.0.to_vec()))
        .bind(column(new, |new| new.known.target))
        .bind(column(new, |new| i64::from(new.known.status)))
        .bind(column(new, |new| new.known.at))
        .bind(column(new, |new| (!new.of_order).then(|| new.known.answer.to_vec())))
        .bind(KEPT);
    let written = run(connection, statement).await?;
    if written == new.len() as u64 { Ok(()) } else { Err(StoreError::Raced) }
}

async fn update(connection: &mut PgConnection, writes: &Writes) -> Result<(), StoreError> {
    let mut written = 0;
    let items = writes.items.as_slice();
    if !items.is_empty() {
        let statement = sqlx::query(CHANGED_ITEMS)
            .bind(column(items, |item| item.sku.as_str().to_owned()))
            .bind(column(items, |item| item.stock.on_hand))
            .bind(column(items, |item| item.stock.reserved))
            .bind(column(items, |item| item.stock.confirmed))
            .bind(column(items, |item| item.stock.received));
        written += run(connection, statement).await?;
    }
    let changed = writes.changed_orders.as_slice();
    if !changed.is_empty() {
        let statement = sqlx::query(CHANGED_ORDERS)
            .bind(column(changed, |changed| changed.order.id))
            .bind(column(changed, |changed| changed.was))
            .bind(column(changed, |changed| changed.order.status.number()))
            .bind(column(changed, |changed| changed.order.reason.map(Reason::number)))
            .bind(column(changed, |changed| i64::from(changed.order.shipped)))
            .bind(column(changed, |changed| changed.order.version))
            .bind(column(changed, |changed| changed.order.updated_at))
            .bind(column(changed, |changed| changed.order.pay_deadline));
        written += run(connection, statement).await?;
    }
    let closed = writes.changed_reservations.as_slice();
    if !closed.is_empty() {
        let statement = sqlx::query(CHANGED_RESERVATIONS)
            .bind(column(closed, |closed| closed.id))
            .bind(column(closed, |closed| closed.state.number()));
        written += run(connection, statement).await?;
    }
    let wanted = items.len() + changed.len() + closed.len();
    if written == wanted as u64 { Ok(()) } else { Err(StoreError::Raced) }
}
