//! Logs: one JSON object a line, with the same first fields everywhere: `timestamp`, `level`, `service`, `trace_id`, `span_id`,
//! `message`, then the event's own.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter cannot be read.
    #[error(
        "`{0}` is not a log filter: write a level (error, warn, info, debug, trace), or target=level joined by commas"
    )]
    Filter(String),
}

/// Starts logging to standard output. A second call keeps the first one's format, so that tests may call it too.
pub fn start(service: &'static str, filter: &str) -> Result<(), LogsError> {
    let parsed = EnvFilter::try_new(filter).map_err(|_| LogsError::Filter(filter.to_owned()))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .event_format(Json { service })
        .with_writer(std::io::stdout)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// The ids of a `traceparent` header (W3C Trace Context), if it is well-formed: trace id and span id.
///
/// ```
/// use shop_common::logs::trace_ids;
/// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// assert_eq!(trace_ids(header), Some(("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")));
/// assert_eq!(trace_ids("00-nonsense"), None);
/// ```
pub fn trace_ids(traceparent: &str) -> Option<(&str, &str)> {
    let is_id = |part: &&str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut parts = traceparent.split('-');
    let _version = parts.next().filter(|part| is_id(part, 2))?;
    let trace = parts.next().filter(|part| is_id(part, 32))?;
    let span = parts.next().filter(|part| is_id(part, 16))?;
    parts.next().map(|_flags| (trace, span))
}

struct Json {
    service: &'static str,
}

#[derive(Default)]
struct Fields {
    message: String,
    trace_id: Option<String>,
    span_id: Option<String>,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put_text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "trace_id" => self.trace_id = Some(text),
            "span_id" => self.span_id = Some(text),
            name => self.rest.push((name, Value::String(text))),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.rest.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.push((field.name(), value.into()));
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = render(
            self.service,
            event.metadata().level().as_str(),
            &jiff::Timestamp::now().to_string(),
            fields,
        );
        writeln!(writer, "{line}")
    }
}

/// One line; written field by field because the order is part of the format.
fn render(service: &str, level: &str, timestamp: &str, fields: Fields) -> String {
    let mut line = String::with_capacity(256);
    let mut put = |name: &str, value: Value| {
        line.push(if line.is_empty() { '{' } else { ',' });
        line.push_str(&Value::from(name).to_string());
        line.push(':');
        line.push_str(&value.to_string());
    };
    put("timestamp", timestamp.into());
    put("level", level.into());
    put("service", service.into());
    for (name, id) in [("trace_id", fields.trace_id), ("span_id", fields.span_id)] {
        if let Some(id) = id {
            put(name, id.into());
        }
    }
    put("message", fields.message.into());
    for (name, value) in fields.rest {
        put(name, value);
    }
    line.push('}');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_in_the_agreed_order() {
        let fields = Fields {
            message: "said \"no\"\nand left".to_owned(),
            trace_id: Some("0af7".to_owned()),
            span_id: Some("b7ad".to_owned()),
            rest: vec![("status", 500.into())],
        };
        let line = render("product", "WARN", "2025-01-02T03:04:05Z", fields);
        assert_eq!(
            line,
            r#"{"timestamp":"2025-01-02T03:04:05Z","level":"WARN","service":"product","trace_id":"0af7","span_id":"b7ad","message":"said \"no\"\nand left","status":500}"#
        );
        serde_json::from_str::<Value>(&line).unwrap();
    }

    #[test]
    fn a_wrong_filter_says_what_to_write() {
        let error = start("product", "product=loudly").unwrap_err().to_string();
        assert!(error.contains("product=loudly") && error.contains("info"), "{error}");
    }
}
