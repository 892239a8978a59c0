//! Log lines as JSON: `timestamp`, `level`, `service`, `trace_id`, `span_id`, `message`, then the fields of the event.
//!
//! ERROR only when somebody must act. The two ids are empty: the operator takes part in no trace.

use std::{fmt, io::Write};

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// What the operator is called in its log lines.
const SERVICE: &str = "shop-operator";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is none.
    #[error("--log {filter:?} is no filter; write a level, or info,shop_operator=debug")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else set one up before.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends log lines of at least the filter's level to standard output.
pub fn start(filter: &str) -> Result<(), LogsError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|source| LogsError::Filter { filter: filter.to_owned(), source })?;
    tracing_subscriber::registry().with(parsed).with(JsonLines).try_init()?;
    Ok(())
}

struct JsonLines;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line(event, Timestamp::now());
        // A reader that is gone is no reason to stop working.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

fn line(event: &Event<'_>, now: Timestamp) -> String {
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    let message = fields.0.remove("message").unwrap_or_default();
    let timestamp = DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&now);
    // Written by hand up to the message, so that the order is always the same.
    let mut line = format!(
        r#"{{"timestamp":"{timestamp}","level":"{}","service":"{SERVICE}","trace_id":"","span_id":"","message":{message}"#,
        event.metadata().level(),
    );
    for (name, value) in fields.0 {
        line.push(',');
        line.push_str(&Value::String(name).to_string());
        line.push(':');
        line.push_str(&value.to_string());
    }
    line.push_str("}\n");
    line
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Keep(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Keep {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(line(event, Timestamp::UNIX_EPOCH));
        }
    }

    #[test]
    fn a_line_is_json_with_the_common_fields_first() {
        let kept = Arc::default();
        let subscriber = tracing_subscriber::registry().with(Keep(Arc::clone(&kept)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(shop = "order", revision = 7, "released \"it\"");
        });
        let lines = kept.lock().unwrap();
        assert!(lines[0].starts_with(
            r#"{"timestamp":"1970-01-01T00:00:00.000000Z","level":"INFO","service":"shop-operator","trace_id":"","#
        ));
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "released \"it\"");
        assert_eq!((&line["shop"], &line["revision"]), (&"order".into(), &7.into()));
    }
}
