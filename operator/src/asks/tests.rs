use axum::{Json, Router, routing::get, routing::post};
use tokio::sync::oneshot;

use super::*;

fn key() -> ServiceKey {
    ServiceKey::new("shop", "order")
}

async fn server() -> String {
    let router = Router::new()
        .route("/ok", post(|body: String| async move { format!("heard {body}") }))
        .route("/json", get(|| async { Json(serde_json::json!({ "ratio": 0.75, "state": "fine" })) }))
        .route("/long", get(|| async { "x".repeat(1_000_000) }))
        .route("/never", get(std::future::pending::<String>))
        .route(
            "/api/v1/query",
            post(|body: String| async move {
                assert_eq!(body, "query=up%20%3E%200");
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn ask(asks: &Asks, id: &str, ask: Ask, timeout: Duration) -> Result<AnswerValue, String> {
    let (done, arrived) = oneshot::channel();
    let question = Question { id: id.to_owned(), ask, timeout };
    asks.ask(&key(), "uid", &question, Box::new(move || done.send(()).unwrap_or(())));
    arrived.await.unwrap();
    asks.answers("uid").into_iter().find(|answer| answer.id == id).unwrap().outcome
}

fn http(url: String, method: &str, body: Option<&str>, json_path: Option<&str>) -> Ask {
    let method = method.to_owned();
    Ask::Http { url, method, body: body.map(str::to_owned), json_path: json_path.map(str::to_owned) }
}

#[tokio::test]
async fn answers_are_kept_by_the_question() {
    let (asks, server) = (Asks::default(), server().await);
    let second = Duration::from_secs(20);
    let told =
        ask(&asks, "1", http(format!("{server}/ok"), "POST", Some("hello"), None), second).await.unwrap();
    assert_eq!((told.status, told.text.as_str()), (200, "heard hello"));
    let told =
        ask(&asks, "2", http(format!("{server}/json"), "GET", None, Some("$.ratio")), second).await.unwrap();
    assert_eq!((told.number, told.text.as_str()), (Some(0.75), "0.75"));
    let told =
        ask(&asks, "3", http(format!("{server}/json"), "GET", None, Some("$.state")), second).await.unwrap();
    assert_eq!((told.number, told.text.as_str()), (None, "fine"));
    let told =
        ask(&asks, "4", Ask::Prometheus { address: server.clone(), query: "up > 0".into() }, second).await;
    assert_eq!(told.unwrap().number, Some(2.0));
    let told =
        ask(&asks, "5", http(format!("{server}/missing?token=s3cret"), "GET", None, None), second).await;
    assert_eq!(told.unwrap().status, 404);
    assert_eq!(asks.answers("uid").len(), 5);
    assert!(asks.answers("other").is_empty());
    asks.forget(&key());
    assert!(asks.answers("uid").is_empty());
}

#[tokio::test]
async fn what_gives_no_answer_is_an_error_without_secrets() {
    let (asks, server) = (Asks::default(), server().await);
    let (long, short) = (Duration::from_secs(20), Duration::from_millis(50));
    for (id, url, timeout, says) in [
        ("1", format!("{server}/never?token=s3cret"), short, "no answer within"),
        ("2", format!("{server}/long?token=s3cret"), long, "bytes"),
        ("3", "http://127.0.0.1:1/?token=s3cret".to_owned(), long, "127.0.0.1"),
        ("4", "http://169.254.169.254/latest?token=s3cret".to_owned(), long, "may be asked"),
        ("5", "http://[::ffff:169.254.169.254]/?token=s3cret".to_owned(), long, "may be asked"),
        ("6", "ftp://host/?token=s3cret".to_owned(), long, "http://"),
        ("7", "nonsense with spaces s3cret".to_owned(), long, "cannot be read"),
    ] {
        let error = ask(&asks, id, http(url, "GET", None, None), timeout).await.unwrap_err();
        assert!(error.contains(says) && !error.contains("s3cret"), "{id}: {error}");
    }
    let wrong = ask(&asks, "8", http(format!("{server}/json"), "GET", None, Some("$.none")), long).await;
    assert!(wrong.unwrap_err().contains("$.none"));
}

#[tokio::test]
async fn only_so_many_are_kept() {
    let (asks, server) = (Asks::default(), server().await);
    for id in 0..KEPT + 5 {
        let never = http(format!("{server}/never"), "GET", None, None);
        let question = Question { id: id.to_string(), ask: never, timeout: Duration::from_mins(1) };
        asks.ask(&key(), "uid", &question, Box::new(|| {}));
    }
    assert_eq!(asks.all()["uid"].kept.len(), KEPT);
}
