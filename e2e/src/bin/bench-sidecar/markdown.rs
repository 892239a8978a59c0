//! The figures as a README shows them: a table and, as a Mermaid diagram, a plot.

use std::fmt::Write as _;

use crate::figures::{Figures, MB};
use crate::proxies::{Features, Kind};

/// What the plot shows: each feature by itself, then all.
const PLOTTED: [(Features, &str); 7] = [
    (Features::Bare, "bare"),
    (Features::Log, "log"),
    (Features::Tokens, "tokens"),
    (Features::Limits, "limits"),
    (Features::Traces, "traces"),
    (Features::All, "all"),
    (Features::AllUncached, "all, uncached"),
];

pub(crate) fn of(figures: &Figures) -> String {
    let mut text = table(figures);
    text.push('\n');
    text.push_str(&plot(figures));
    if let Some(soak) = &figures.soak {
        let _ = writeln!(text, "\nUnder a load that lasts, with all features: `{}`", soak.to_json());
    }
    text
}

fn table(figures: &Figures) -> String {
    let mut text = String::from(
        "| proxy | CPU per request | p50, p99 added | requests/s | memory at 64 connections | 1,000 idle ones | 1,000 WebSockets |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (kind, features) in figures.arms().filter(|(kind, _)| *kind != Kind::Direct) {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let middle = |of: fn(&crate::figures::Round) -> f64| figures.middle(kind, features, of);
        let _ = writeln!(
            text,
            "| {} | {} µs | {}, {} µs | {} | {} MB | {} MB | {} MB |",
            name(kind, features),
            number(figures.busy(kind, features), 0),
            number(figures.added(kind, features, 0.5), 0),
            number(figures.added(kind, features, 0.99), 0),
            number(middle(|round| round.throughput), 0),
            number(middle(|round| round.rss as f64 / MB), 1),
            number(middle(|round| round.rss_idle as f64 / MB), 1),
            number(middle(|round| round.rss_websockets as f64 / MB), 1),
        );
    }
    text
}

fn name(kind: Kind, features: Features) -> String {
    let kind = match kind {
        Kind::Ours => "shop-sidecar",
        Kind::Envoy => "Envoy",
        other => other.as_str(),
    };
    format!("{kind}{}", features.as_str())
}

/// CPU of a request in both proxies that do the same work.
fn plot(figures: &Figures) -> String {
    let cpu = |kind, features| figures.busy(kind, features).map(|value| format!("{value:.0}"));
    let measured: Vec<_> = PLOTTED
        .into_iter()
        .filter_map(|(features, name)| Some((name, cpu(Kind::Envoy, features)?, cpu(Kind::Ours, features)?)))
        .collect();
    if measured.is_empty() {
        return String::new();
    }
    let joined =
        |of: fn(&(&str, String, String)) -> String| measured.iter().map(of).collect::<Vec<_>>().join(", ");
    format!(
        "```mermaid\nxychart-beta\n  title \"CPU per request in µs: Envoy behind, shop-sidecar in front\"\n  \
         x-axis [{}]\n  y-axis \"µs\"\n  bar [{}]\n  bar [{}]\n```\n",
        joined(|one| format!("\"{}\"", one.0)),
        joined(|one| one.1.clone()),
        joined(|one| one.2.clone()),
    )
}
