//! Orders and stock, asked over HTTP: what they answer, and to whom.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_mins(1);

/// `shopd order` or `shopd inventory` over a ledger in a file; does not outlive its test.
struct Service {
    process: Child,
    address: SocketAddr,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Service {
    fn start(name: &str, ledger: &std::path::Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_shopd"))
            .args([name, "--host", "127.0.0.1", "--port", "0", "--store"])
            .arg(ledger)
            .env_remove("SHOP_FAULT")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut listening = lines.map(Result::unwrap).filter(|line| line.contains("\"listening\""));
        let line: Value = serde_json::from_str(&listening.next().expect("it listens")).unwrap();
        Self { process, address: line["address"].as_str().unwrap().parse().unwrap() }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let fields: String =
            headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{fields}\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn order(&self, headers: &[(&str, &str)], lines: &Value) -> Answer {
        self.send("POST", "/orders", headers, &json!({"lines": lines}).to_string())
    }
}

const ANN: (&str, &str) = ("x-user-id", "ann");
const BOB: (&str, &str) = ("x-user-id", "bob");
const STAFF: [(&str, &str); 2] = [("x-user-id", "otto"), ("x-user-roles", "customer,ops")];

#[test]
fn an_order_from_its_wish_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Service::start("order", &folder.path().join("ledger.sqlite"));
    let mugs = json!([{"sku": "MUG-0001", "quantity": 1}, {"sku": "MUG-0001", "quantity": 1}]);
    let made = orders.order(&[ANN], &mugs);
    let order = made.json();
    let id = order["id"].as_str().expect("ids are texts").to_owned();
    assert_eq!((made.status, order["status"].as_str()), (201, Some("AWAITING_PAYMENT")));
    assert_eq!(order["lines"], json!([{"sku": "MUG-0001", "quantity": 2, "cents": 1666}]));
    assert!(made.head.contains(&format!("location: /orders/{id}")), "{}", made.head);
    let path = |rest: &str| format!("/orders/{id}{rest}");
    let get = |caller| orders.send("GET", &path(""), &[caller], "");
    assert_eq!(get(ANN).body, made.body);
    assert_eq!((get(BOB).status, get(BOB).code().as_str()), (404, "order-not-found"));
    let post =
        |rest: &str, headers: &[(&str, &str)], body: &str| orders.send("POST", &path(rest), headers, body);
    let exact = json!({"amount": {"cents": 3332, "currency": "EUR"}}).to_string();
    let less = json!({"amount": {"cents": 3331, "currency": "EUR"}}).to_string();
    for (rest, headers, body, status, code) in [
        ("/cancel", &[BOB][..], "", 404, "order-not-found"),
        ("/pay", &[ANN], exact.as_str(), 403, "forbidden"),
        ("/ship", &STAFF, "", 409, "invalid-transition"),
        ("/pay", &STAFF, less.as_str(), 422, "amount-mismatch"),
        ("/pay", &STAFF, exact.as_str(), 200, "PAID"),
        ("/pay", &STAFF, exact.as_str(), 409, "invalid-transition"),
        ("/ship", &STAFF, "", 200, "SHIPPED"),
        ("/cancel", &[ANN], "", 409, "invalid-transition"),
        ("/confirm", &[ANN], "", 200, "COMPLETED"),
    ] {
        let answer = post(rest, headers, body);
        let said = answer.json();
        let word = said.get("code").unwrap_or(&said["status"]).as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, word.as_str()), (status, code), "{rest}");
    }
    let events = orders.send("GET", &path("/events"), &[ANN], "").json();
    assert_eq!(events["items"].as_array().unwrap().len(), 4);
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Service::start("order", &folder.path().join("ledger.sqlite"));
    let one = r#"{"lines":[{"sku":"MUG-0001","quantity":1}]}"#;
    let long = "k".repeat(256);
    for (headers, body, status, code) in [
        (&[][..], one, 401, "unauthenticated"),
        (&[ANN], r#"{"lines":[]}"#, 400, "invalid-field"),
        (&[ANN], r#"{"lines":[{"sku":"MUG-0001","quantity":0}]}"#, 400, "invalid-field"),
        (&[ANN], r#"{"lines":[{"sku":"MUG-0001","quantity":1,"cents":1}]}"#, 400, "invalid-body"),
        (&[ANN], r#"{"lines":[{"sku":"MUG-0001","quantity":1.5}]}"#, 400, "invalid-body"),
        (&[ANN], r#"{"lines":[{"sku":"NONE","quantity":1}]}"#, 404, "item-not-found"),
        (&[ANN, ("idempotency-key", &long)], one, 400, "invalid-idempotency-key"),
    ] {
        let answer = orders.send("POST", "/orders", headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}");
    }
    for (path, status, code) in [
        ("/orders/nonsense", 404, "order-not-found"),
        ("/orders?limit=101", 400, "invalid-limit"),
        ("/orders?cursor=x", 400, "invalid-cursor"),
        ("/orders?other=1", 400, "invalid-request"),
    ] {
        let answer = orders.send("GET", path, &[ANN], "");
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    assert_eq!(orders.send("GET", "/readyz", &[], "").status, 200);
}

#[test]
fn the_same_request_again_is_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Service::start("order", &folder.path().join("ledger.sqlite"));
    let key = [ANN, ("idempotency-key", "k-1")];
    let mug = json!([{"sku": "MUG-0001", "quantity": 1}]);
    let (first, second) = (orders.order(&key, &mug), orders.order(&key, &mug));
    assert_eq!((first.status, second.status, &first.body), (201, 201, &second.body));
    assert!(!first.head.contains("idempotent-replayed") && second.head.contains("idempotent-replayed: true"));
    let other = orders.order(&key, &json!([{"sku": "MUG-0001", "quantity": 2}]));
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency-key-reused"));
    // Accepted at once, settled soon.
    let later = orders.order(&[ANN, ("prefer", "respond-async")], &mug);
    assert_eq!((later.status, later.json()["status"].as_str()), (202, Some("PENDING")));
    let id = later.json()["id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let status = || orders.send("GET", &format!("/orders/{id}"), &[ANN], "").json()["status"].clone();
    while status() != "AWAITING_PAYMENT" {
        assert!(begun.elapsed() < DEADLINE, "it is never settled");
    }
    let page = orders.send("GET", "/orders?limit=1", &[ANN], "").json();
    assert_eq!(page["items"][0]["id"], id);
    let next = format!("/orders?limit=1&cursor={}", page["next"].as_str().unwrap());
    let last = orders.send("GET", &next, &[ANN], "").json();
    assert_eq!((last["items"].as_array().unwrap().len(), &last["next"]), (1, &Value::Null));
}

#[test]
fn stock_is_shared_with_the_orders() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let orders = Service::start("order", &ledger);
    let stock = Service::start("inventory", &ledger);
    let order = orders.order(&[ANN], &json!([{"sku": "PEN-0003", "quantity": 7}]));
    assert_eq!(order.status, 201);
    let item = || stock.send("GET", "/inventory/PEN-0003", &[], "").json();
    assert_eq!(item()["available"], 9_993);
    let wish = json!({"lines": [{"sku": "PEN-0003", "quantity": 3}]}).to_string();
    let reserve = |headers: &[(&str, &str)]| stock.send("POST", "/inventory/reservations", headers, &wish);
    assert_eq!(reserve(&[ANN]).status, 403);
    let held = reserve(&STAFF).json();
    assert_eq!((&held["code"], item()["reserved"].as_i64()), (&json!(1), Some(10)));
    let close =
        |id: &str, how: &str| stock.send("POST", &format!("/inventory/reservations/{id}/{how}"), &STAFF, "");
    let id = held["id"].as_str().unwrap();
    assert_eq!(close(id, "confirm").json()["state"], "CONFIRMED");
    assert_eq!(close(id, "release").code(), "reservation-closed");
    assert_eq!(close(order.json()["id"].as_str().unwrap(), "release").code(), "reservation-closed");
    let restock = stock.send("POST", "/inventory/PEN-0003/restock", &STAFF, r#"{"quantity": 5}"#).json();
    assert_eq!(restock, json!({"sku": "PEN-0003", "on_hand": 10_002, "available": 9_995}));
    assert_eq!(stock.send("GET", "/inventory/NONE", &[], "").code(), "item-not-found");
}
