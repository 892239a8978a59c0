//! Spans: what a request says of its trace, which requests' spans are kept, and how those get to a collector.
//!
//! It is decided when a request has ended ([`shop_flow::sampling`]). Until then a request carries nothing but ids, so that
//! one whose span is not kept costs next to nothing. Callers' sidecars learn by `x-shop-trace: keep`, on the head of an answer
//! or in the trailers of a gRPC call, that a span of a trace is kept below them; it is sent to those that ask for it by
//! `x-shop-trace: tell`.

pub mod context;
pub mod export;
pub mod otlp;
mod span;

use http::{HeaderMap, HeaderName, HeaderValue};
use shop_contract::headers::TRACE;
use shop_flow::sampling::{Chain, Ending, Rates, Why, is_in};
use tokio::sync::mpsc;

use self::context::{Context, RANDOM, SAMPLED};
pub use self::span::{Kind, Span};

const TRACE_NAME: HeaderName = HeaderName::from_static(TRACE);
const TELL: HeaderValue = HeaderValue::from_static("tell");
const KEEP: HeaderValue = HeaderValue::from_static("keep");

/// Spans that may wait to be sent, about 300 bytes each.
const WAITING: usize = 2_048;

/// What a sidecar remembers of traces.
#[derive(Debug)]
pub struct Traces {
    /// Traces that are kept below this sidecar.
    pub chain: Chain,
    queue: mpsc::Sender<Span>,
}

impl Traces {
    /// With the end that spans are sent from.
    pub fn new() -> (Self, mpsc::Receiver<Span>) {
        let (queue, spans) = mpsc::channel(WAITING);
        (Self { chain: Chain::default(), queue }, spans)
    }

    /// Hands a span over to be sent; says whether there was room.
    pub fn submit(&self, span: Span) -> bool {
        self.queue.try_send(span).is_ok()
    }

    /// A call that the app made was refused: its request's span is kept as that of a failure.
    pub fn refused(&self, rates: Option<&Rates>, call: &HeaderMap) {
        if let (Some(rates), Some(context)) = (rates, context::read(call))
            && is_in(context.trace_id, rates.errors)
        {
            self.chain.keep(context.trace_id);
        }
    }
}

/// Asks whoever gets the request to tell if it keeps a span.
pub fn ask(fields: &mut HeaderMap) {
    fields.insert(TRACE_NAME, TELL);
}

/// Takes that back.
pub fn ask_no_more(fields: &mut HeaderMap) {
    fields.remove(TRACE_NAME);
}

fn take_mark(fields: &mut HeaderMap) -> bool {
    fields.remove(TRACE_NAME).is_some_and(|value| value == KEEP)
}

/// A request's place in its trace.
#[derive(Debug, Default)]
pub struct Place {
    came: Option<Context>,
    /// Absent while no spans are made.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    /// Whether the caller wants to know.
    asked: bool,
    /// Decided before the end.
    kept: Option<Why>,
}

impl Place {
    /// A request has come. Without `rates` no span is made of it.
    pub fn find(fields: &HeaderMap, rates: Option<&Rates>) -> Self {
        let Some(rates) = rates else {
            return Self { came: context::traceparent(fields), own: None };
        };
        let came = context::read(fields);
        let (trace_id, flags) = came.map_or_else(
            || {
                let trace_id = rand::random::<u128>().max(1);
                let sampled = if is_in(trace_id, rates.rest) { SAMPLED } else { 0 };
                (trace_id, RANDOM | sampled)
            },
            |came| (came.trace_id, came.flags),
        );
        let span_id = rand::random::<u64>().max(1);
        let asked = fields.contains_key(TRACE_NAME);
        Self { came, own: Some(Own { trace_id, span_id, flags, asked, kept: None }) }
    }

    /// Whether spans are made.
    pub fn is_on(&self) -> bool {
        self.own.is_some()
    }

    /// Ids of the trace and of this sidecar's span, as far as there are any.
    pub fn ids(&self) -> (Option<u128>, Option<u64>) {
        let came = self.came.map(|came| came.trace_id);
        self.own.as_ref().map_or((came, None), |own| (Some(own.trace_id), Some(own.span_id)))
    }

    /// Says in a request's fields what its parent is from now on. Whether the caller asks to be told is for this sidecar.
    pub fn pass_on(&self, fields: &mut HeaderMap) {
        if let Some(own) = &self.own {
            fields.remove(TRACE_NAME);
            context::write(fields, self.came.as_ref(), own.trace_id, own.span_id, own.flags);
        }
    }

    /// The head or the trailers of an answer: reads the mark, and puts one if the span is kept for a reason that callers do not
    /// have themselves.
    pub fn mark(&mut self, fields: &mut HeaderMap, rates: &Rates, chain: &Chain, failed: bool, slow: bool) {
        let Some(own) = &mut self.own else { return };
        let marked = take_mark(fields) || own.kept == Some(Why::Chain) || chain.has(own.trace_id);
        let why = rates.decide(Ending { trace_id: own.trace_id, failed, slow, marked });
        own.kept = why.filter(|why| why.is_told()).or(own.kept);
        if own.asked && own.kept.is_some() {
            fields.insert(TRACE_NAME, KEEP);
        }
    }

    /// The trace, if it was decided already that its span is kept, and callers cannot know.
    pub fn told(&self) -> Option<u128> {
        self.own.as_ref().filter(|own| own.kept.is_some()).map(|own| own.trace_id)
    }

    /// The request has ended: whether its span is kept, and why.
    pub fn end(&self, rates: &Rates, chain: &Chain, failed: bool, slow: bool) -> Option<Why> {
        let own = self.own.as_ref()?;
        let marked = own.kept == Some(Why::Chain) || chain.has(own.trace_id);
        rates.decide(Ending { trace_id: own.trace_id, failed, slow, marked }).or(own.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates { errors: 10_000, slow: 0, rest: 0 };

    fn asked() -> (Place, HeaderMap) {
        let mut fields = HeaderMap::new();
        ask(&mut fields);
        let place = Place::find(&fields, Some(&RATES));
        place.pass_on(&mut fields);
        (place, fields)
    }

    #[test]
    fn an_error_is_told_to_those_that_ask() {
        let (chain, mut answer) = (Chain::default(), HeaderMap::new());
        let (mut place, fields) = asked();
        assert!(!fields.contains_key(TRACE) && fields.contains_key("traceparent"));
        place.mark(&mut answer, &RATES, &chain, false, true);
        assert!(answer.is_empty());
        place.mark(&mut answer, &RATES, &chain, true, false);
        assert_eq!(answer.get(TRACE), Some(&KEEP));
        // Nobody asks: the mark of the app's own answer goes no further.
        let mut place = Place::find(&HeaderMap::new(), Some(&RATES));
        place.pass_on(&mut HeaderMap::new());
        place.mark(&mut answer, &RATES, &chain, false, false);
        assert!(answer.is_empty());
        assert_eq!(place.end(&RATES, &chain, false, false), Some(Why::Chain));
    }

    #[test]
    fn a_call_keeps_the_request_that_it_was_made_for() {
        let (traces, _spans) = Traces::new();
        let (mut request, mut fields) = asked();
        let mut call = Place::find(&fields, Some(&RATES));
        call.pass_on(&mut fields);
        let mut answer = HeaderMap::new();
        call.mark(&mut answer, &RATES, &traces.chain, false, false);
        assert_eq!((call.told(), request.end(&RATES, &traces.chain, false, false)), (None, None));
        answer.insert(TRACE_NAME, KEEP);
        call.mark(&mut answer, &RATES, &traces.chain, false, false);
        assert!(answer.is_empty(), "it is not the app's to see");
        traces.chain.keep(call.told().expect("kept"));
        assert_eq!(request.end(&RATES, &traces.chain, false, false), Some(Why::Chain));
        request.mark(&mut answer, &RATES, &traces.chain, false, false);
        assert_eq!(answer.get(TRACE), Some(&KEEP));
    }

    #[test]
    fn a_refused_call_keeps_its_request_too() {
        let (traces, _spans) = Traces::new();
        let (request, fields) = asked();
        traces.refused(Some(&Rates { errors: 0, ..RATES }), &fields);
        assert_eq!(request.end(&RATES, &traces.chain, false, false), None);
        traces.refused(Some(&RATES), &fields);
        assert_eq!(request.end(&RATES, &traces.chain, false, false), Some(Why::Chain));
    }

    #[test]
    fn without_rates_nothing_is_added() {
        let mut fields = HeaderMap::new();
        let place = Place::find(&fields, None);
        place.pass_on(&mut fields);
        assert!(fields.is_empty() && place.ids() == (None, None));
    }
}
