//! Pieces that are held without an order, and pieces that come in.

use serde::Serialize;

use super::Deciding;
use crate::command::{Once, Outcome, Refusal};
use crate::domain::order::{as_text, as_time, to_json};
use crate::domain::stock::{confirm, release, reserve};
use crate::domain::{Lines, Millis, Reservation, ReservationState, Sku};

const CREATED_STATUS: u16 = 201;
const OK_STATUS: u16 = 200;

#[derive(Serialize)]
struct Reserved {
    /// 1: all lines are held. Refusals have 0 (sold out) and -1 (unknown).
    code: i8,
    #[serde(serialize_with = "as_text")]
    id: i64,
    #[serde(serialize_with = "as_time")]
    expires_at: Millis,
}

#[derive(Serialize)]
struct Restocked<'a> {
    sku: &'a str,
    on_hand: i64,
    available: i64,
}

impl Deciding<'_> {
    pub(super) fn reserve(
        &mut self,
        lines: &Lines,
        keep: Millis,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        let id = (self.ids)().map_err(Refusal::Ids)?;
        reserve(&mut self.loaded.items, lines.as_slice())?;
        let expires_at = self.now + keep;
        self.writes.reservations.push(Reservation {
            id,
            state: ReservationState::Held,
            lines: lines.as_slice().to_vec(),
            expires_at: Some(expires_at),
        });
        let body = to_json(&Reserved { code: 1, id, expires_at });
        Ok(self.made(once, CREATED_STATUS, id, body, false))
    }

    /// Sells what is held. Again is the same; after it was given back, or when its time is over, it is refused.
    pub(super) fn confirm(&mut self, id: i64) -> Result<Outcome, Refusal> {
        let now = self.now;
        self.close(id, ReservationState::Confirmed, |expires_at| expires_at > now)
    }

    /// Gives back what is held. Again is the same; after it was sold it is refused.
    pub(super) fn release(&mut self, id: i64) -> Result<Outcome, Refusal> {
        self.close(id, ReservationState::Released, |_| true)
    }

    pub(super) fn release_expired(&mut self, id: i64) -> Result<Outcome, Refusal> {
        let now = self.now;
        self.close(id, ReservationState::Released, |expires_at| expires_at <= now)
    }

    fn close(
        &mut self,
        id: i64,
        to: ReservationState,
        in_time: impl FnOnce(Millis) -> bool,
    ) -> Result<Outcome, Refusal> {
        let reservation = self.loaded.reservations.get_mut(&id).ok_or(Refusal::NoReservation)?;
        let expires_at = reservation.expires_at.ok_or(Refusal::OfAnOrder)?;
        if reservation.state == to {
            return Ok(Outcome::Reservation(reservation.clone()));
        }
        if reservation.state != ReservationState::Held {
            return Err(Refusal::Closed(reservation.state));
        }
        if !in_time(expires_at) {
            return Err(Refusal::Over);
        }
        reservation.state = to;
        let change = if to == ReservationState::Confirmed { confirm } else { release };
        change(&mut self.loaded.items, &reservation.lines);
        self.closed.insert(id);
        Ok(Outcome::Reservation(reservation.clone()))
    }

    pub(super) fn restock(
        &mut self,
        sku: &Sku,
        quantity: u32,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        let unknown = || Refusal::Unknown(vec![sku.clone()]);
        let item = self.loaded.items.get_mut(sku).ok_or_else(unknown)?;
        if !item.stock.restock(quantity.into()) {
            return Err(Refusal::TooMany);
        }
        item.changed = true;
        let stock = item.stock;
        let shown = Restocked { sku: sku.as_str(), on_hand: stock.on_hand, available: stock.available() };
        let body = to_json(&shown);
        Ok(self.made(once, OK_STATUS, 0, body, false))
    }
}
