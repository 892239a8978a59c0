//! Routes: templates of paths that a document lists, by which requests are counted and spans are named. A path is never a
//! label: there is no end of them.

use std::sync::Arc;

use matchit::Router;
use shop_flow::sampling::Latency;

use super::metrics::{Metrics, RouteMetrics};

/// What a path counts as that fits no template.
pub const OTHER: &str = "other";

/// The routes of a document.
#[derive(Debug)]
pub struct Routes {
    /// Absent without templates.
    router: Option<Router<usize>>,
    /// In the order of the document; the last one is for all other paths.
    all: Vec<Arc<Route>>,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Absent: all other paths.
    pub template: Option<Arc<str>>,
    /// How long its requests take.
    pub latency: Latency,
    /// Absent while no document lists routes.
    pub metrics: Option<RouteMetrics>,
}

impl Routes {
    /// What was seen of routes that were there before is used on.
    pub fn new(templates: &[String], before: Option<&Self>, metrics: &Metrics) -> Self {
        let mut router = Router::new();
        for (index, template) in templates.iter().enumerate() {
            if let Err(error) = router.insert(template.as_str(), index) {
                tracing::warn!(route = template.as_str(), %error, "this route is never used");
            }
        }
        let is_counted = !templates.is_empty();
        let known = |template: Option<&str>| {
            let all = before.into_iter().flat_map(|before| &before.all);
            let mut fitting = all.filter(|route| route.template.as_deref() == template);
            fitting.find(|route| route.metrics.is_some() == is_counted).cloned()
        };
        let route = |template: Option<&str>| {
            known(template).unwrap_or_else(|| {
                Arc::new(Route {
                    template: template.map(Arc::from),
                    latency: Latency::default(),
                    metrics: is_counted.then(|| metrics.resolve_route(template.unwrap_or(OTHER))),
                })
            })
        };
        let all = templates.iter().map(|template| Some(template.as_str())).chain([None]).map(route).collect();
        Self { router: is_counted.then_some(router), all }
    }

    /// Whether requests are counted by route.
    pub fn are_listed(&self) -> bool {
        self.router.is_some()
    }

    /// The route of a path.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        let found = self.router.as_ref().and_then(|router| router.at(path).ok());
        self.all.get(found.map_or(self.all.len().saturating_sub(1), |found| *found.value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn found<'a>(routes: &'a Routes, path: &str) -> Option<&'a str> {
        routes.find(path).expect("a route").template.as_deref()
    }

    #[test]
    fn a_path_has_the_template_that_it_fits_best() {
        let metrics = Metrics::new().expect("metrics");
        let templates =
            ["/orders", "/orders/{id}", "/orders/new", "/{*rest}", "/orders/{other}"].map(String::from);
        let routes = Routes::new(&templates, None, &metrics);
        for (path, template) in [
            ("/orders", "/orders"),
            ("/orders/new", "/orders/new"),
            ("/orders/7", "/orders/{id}"),
            ("/orders/7/items", "/{*rest}"),
        ] {
            assert_eq!(found(&routes, path), Some(template));
        }
        let none = Routes::new(&[], None, &metrics);
        assert_eq!(found(&none, "/orders"), None);
        assert!(none.find("/").expect("a route").metrics.is_none());
        let one = Routes::new(&templates[..1], None, &metrics);
        assert_eq!((found(&one, "/else"), found(&one, "*")), (None, None));
    }

    #[test]
    fn what_was_seen_outlives_a_document() {
        let metrics = Metrics::new().expect("metrics");
        let first = Routes::new(&["/a".into(), "/b".into()], None, &metrics);
        let latency = &first.find("/b").expect("a route").latency;
        (0..256).for_each(|_| latency.observe(Duration::from_millis(1), Duration::ZERO));
        let second = Routes::new(&["/b".into()], Some(&first), &metrics);
        assert!(second.find("/b").expect("a route").latency.is_slow(Duration::from_secs(1)));
    }
}
