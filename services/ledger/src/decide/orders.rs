//! Orders: made, moved, settled, ended.

use std::sync::Arc;

use super::{Deciding, NewOrder};
use crate::command::{Once, Origin, Outcome, Refusal};
use crate::domain::order::PAY_WITHIN;
use crate::domain::state::{Effect, Step, next};
use crate::domain::stock::{confirm, release, reserve, take_back};
use crate::domain::{
    Event, Lines, Money, Order, PricedLine, Recorded, Reservation, ReservationState, Status, money,
};

/// The event of an order that was made.
const CREATED: &str = "order.created";
const CREATED_STATUS: u16 = 201;
const ACCEPTED_STATUS: u16 = 202;

impl Deciding<'_> {
    pub(super) fn create(
        &mut self,
        user: &Arc<str>,
        lines: &Lines,
        once: Option<Once>,
        later: bool,
        origin: &Origin,
    ) -> Result<Outcome, Refusal> {
        let lines = self.priced(lines)?;
        let total = self.total(&lines)?;
        let wanted: Vec<_> = lines.iter().map(|line| line.line.clone()).collect();
        // The id comes before the stock: what has no id holds nothing.
        let id = (self.ids)().map_err(Refusal::Ids)?;
        if !later {
            reserve(&mut self.loaded.items, &wanted)?;
            self.writes.reservations.push(Reservation {
                id,
                state: ReservationState::Held,
                lines: wanted,
                expires_at: None,
            });
        }
        let order = Order {
            id,
            user: Arc::clone(user),
            status: if later { Status::Pending } else { Status::AwaitingPayment },
            reason: None,
            shipped: false,
            version: 1,
            lines,
            total,
            created_at: self.now,
            updated_at: self.now,
            pay_deadline: (!later).then_some(self.now + PAY_WITHIN),
        };
        self.record(&order, CREATED, None, origin);
        let answer = order.to_json();
        self.writes.orders.push(NewOrder { order, answer: answer.clone() });
        let status = if later { ACCEPTED_STATUS } else { CREATED_STATUS };
        Ok(self.made(once, status, id, answer, true))
    }

    /// The lines with the prices of now, or which of them are not sold here.
    fn priced(&self, lines: &Lines) -> Result<Vec<PricedLine>, Refusal> {
        let mut unknown = Vec::new();
        let mut priced = Vec::with_capacity(lines.as_slice().len());
        for line in lines.as_slice() {
            match self.loaded.items.get(&line.sku) {
                Some(item) => priced.push(PricedLine { line: line.clone(), price: item.price }),
                None => unknown.push(line.sku.clone()),
            }
        }
        if unknown.is_empty() { Ok(priced) } else { Err(Refusal::Unknown(unknown)) }
    }

    fn total(&self, lines: &[PricedLine]) -> Result<Money, Refusal> {
        let mut currencies = lines
            .iter()
            .filter_map(|line| self.loaded.items.get(&line.line.sku))
            .map(|item| Arc::clone(&item.currency));
        let currency = currencies.next().ok_or(Refusal::NoTotal)?;
        if currencies.any(|other| other != currency) {
            return Err(Refusal::NoTotal);
        }
        let cents = money::total(lines.iter().map(|line| (line.line.quantity, line.price)));
        Ok(Money { cents: cents.ok_or(Refusal::NoTotal)?, currency })
    }

    pub(super) fn move_order(
        &mut self,
        id: i64,
        event: Event,
        whose: Option<&str>,
        paid: Option<&Money>,
        origin: &Origin,
    ) -> Result<Outcome, Refusal> {
        let order = self.loaded.orders.get(&id).ok_or(Refusal::NoOrder)?;
        if whose.is_some_and(|user| user != &*order.user) {
            return Err(Refusal::NoOrder);
        }
        let step = next(order.status, event).ok_or(Refusal::NotNow(order.status))?;
        if event == Event::Pay && paid != Some(&order.total) {
            return Err(Refusal::WrongAmount(order.total.clone()));
        }
        self.take(id, step, origin)
    }

    /// Holds the stock of an order that was accepted for later; without stock it ends here.
    pub(super) fn settle(&mut self, id: i64) -> Result<Outcome, Refusal> {
        let order = self.loaded.orders.get(&id).ok_or(Refusal::NoOrder)?;
        let (status, wanted) = (order.status, order.wanted());
        let had = next(status, Event::StockReserved).ok_or(Refusal::NotNow(status))?;
        let event = match reserve(&mut self.loaded.items, &wanted) {
            Ok(()) => had.event,
            Err(_) => Event::SoldOut,
        };
        let step = next(status, event).ok_or(Refusal::NotNow(status))?;
        self.take(id, step, &Origin::SYSTEM)
    }

    /// Ends an order that was not paid in time. Whether it was is looked at here, with the row locked, not when it was found.
    pub(super) fn expire(&mut self, id: i64) -> Result<Outcome, Refusal> {
        let order = self.loaded.orders.get(&id).ok_or(Refusal::NoOrder)?;
        let step = next(order.status, Event::DeadlinePassed).ok_or(Refusal::NotNow(order.status))?;
        if order.pay_deadline.is_none_or(|deadline| deadline > self.now) {
            return Err(Refusal::NotNow(order.status));
        }
        self.take(id, step, &Origin::SYSTEM)
    }

    /// Takes a step that is allowed, with what it does to the stock.
    fn take(&mut self, id: i64, step: Step, origin: &Origin) -> Result<Outcome, Refusal> {
        let now = self.now;
        let order = self.loaded.orders.get_mut(&id).ok_or(Refusal::NoOrder)?;
        self.was.entry(id).or_insert(order.version);
        let from = order.status;
        order.status = step.to;
        order.version += 1;
        order.updated_at = now;
        if step.reason.is_some() {
            order.reason = step.reason;
        }
        order.shipped |= step.to == Status::Shipped;
        if step.event == Event::StockReserved {
            order.pay_deadline = Some(now + PAY_WITHIN);
        }
        let order = order.clone();
        self.change_stock(&order, step.effect);
        self.record(&order, step.event.as_str(), Some(from), origin);
        Ok(Outcome::Order(Box::new(order)))
    }

    fn change_stock(&mut self, order: &Order, effect: Effect) {
        let close = match effect {
            Effect::None => return,
            Effect::Reserve => {
                // The pieces themselves are held already: whether they can be had decided the step.
                let lines = order.wanted();
                let held =
                    Reservation { id: order.id, state: ReservationState::Held, lines, expires_at: None };
                self.loaded.reservations.insert(order.id, held.clone());
                self.writes.reservations.push(held);
                return;
            }
            Effect::Release => (ReservationState::Held, ReservationState::Released),
            Effect::Confirm => (ReservationState::Held, ReservationState::Confirmed),
            Effect::RestockUnlessShipped if order.shipped => return,
            Effect::RestockUnlessShipped => (ReservationState::Confirmed, ReservationState::Returned),
        };
        let Some(reservation) = self.loaded.reservations.get_mut(&order.id) else { return };
        if reservation.state != close.0 {
            return;
        }
        reservation.state = close.1;
        let change = match close.1 {
            ReservationState::Confirmed => confirm,
            ReservationState::Returned => take_back,
            _ => release,
        };
        change(&mut self.loaded.items, &reservation.lines);
        self.closed.insert(order.id);
    }

    fn record(&mut self, order: &Order, event: &str, from: Option<Status>, origin: &Origin) {
        self.writes.recorded.push(Recorded {
            order: order.id,
            seq: order.version,
            event: event.into(),
            from,
            to: order.status,
            actor: origin.actor.as_str().into(),
            at: self.now,
            trace: origin.trace.clone(),
            release: origin.release.clone(),
        });
    }
}
