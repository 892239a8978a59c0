//! An instant query to a Prometheus: the one number that it gives.

use std::fmt::Write as _;

use serde_json::Value;
use shop_release::AnswerValue;

use super::{cut, http::Http};

/// Asks. No series is an answer without a number; several are an error, because nobody says which one counts.
pub(super) async fn ask(http: &Http, address: &str, query: &str) -> Result<AnswerValue, String> {
    let url = format!("{}/api/v1/query", address.trim_end_matches('/'));
    let body = format!("query={}", encoded(query));
    let (status, body) = http.send(&url, "POST", Some(&body), "application/x-www-form-urlencoded").await?;
    read(status, &body)
}

fn read(status: u16, body: &[u8]) -> Result<AnswerValue, String> {
    let answer: Value = serde_json::from_slice(body)
        .map_err(|_| format!("status {status}, and no answer of a Prometheus"))?;
    let at = |path: &str| answer.pointer(path);
    let text = |path: &str| at(path).and_then(Value::as_str);
    if text("/status") != Some("success") {
        let why = text("/error").unwrap_or("it does not say why");
        return Err(cut(&format!("Prometheus refuses the query: {why}")));
    }
    let result = at("/data/result").unwrap_or(&Value::Null);
    let value = match text("/data/resultType") {
        Some("scalar") => result.get(1),
        Some("vector") => match result.as_array().map(Vec::as_slice) {
            None | Some([]) => None,
            Some([one]) => one.pointer("/value/1"),
            Some(many) => {
                let count = many.len();
                return Err(format!(
                    "the query gives {count} series; write one that gives a single number, as with sum()"
                ));
            }
        },
        _ => return Err("the query gives neither a scalar nor a vector".to_owned()),
    };
    let Some(text) = value.and_then(Value::as_str) else {
        return Ok(AnswerValue { status, number: None, text: "no series".to_owned() });
    };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    Ok(AnswerValue { status, number, text: cut(text) })
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_no_number_and_no_answer_are_told_apart() {
        let of = |kind: &str, result: &str| {
            read(
                200,
                format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
                    .as_bytes(),
            )
        };
        let number = |answer: Result<AnswerValue, String>| answer.map(|answer| answer.number);
        assert_eq!(number(of("scalar", r#"[1.5,"0.25"]"#)), Ok(Some(0.25)));
        assert_eq!(number(of("vector", r#"[{"metric":{},"value":[1,"7"]}]"#)), Ok(Some(7.0)));
        assert_eq!(number(of("vector", "[]")), Ok(None));
        assert_eq!(number(of("vector", r#"[{"value":[1,"NaN"]}]"#)), Ok(None));
        assert_eq!(number(of("vector", r#"[{"value":[1,"+Inf"]}]"#)), Ok(None));
        assert!(of("vector", r#"[{"value":[1,"1"]},{"value":[1,"2"]}]"#).is_err());
        assert!(of("matrix", "[]").is_err());
        assert!(
            read(400, br#"{"status":"error","error":"parse error"}"#).unwrap_err().contains("parse error")
        );
        assert!(read(502, b"<html>").unwrap_err().contains("502"));
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encoded("sum(a{b=\"c\"})+1"), "sum%28a%7Bb%3D%22c%22%7D%29%2B1");
    }
}
