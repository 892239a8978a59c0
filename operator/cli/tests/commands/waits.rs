//! `wait` and `status --watch`: when they end, and how.

use kubectl_shop::Exit;
use serde_json::{Value, json};

use crate::{server::Server, *};

#[tokio::test]
async fn wait_ends_with_what_became_of_it() {
    for (goal, course, exit) in [
        ("stable", vec![releasing("Scaling"), releasing("Watching"), completed()], Exit::Done),
        ("stable", vec![releasing("Scaling"), aborted()], Exit::Aborted),
        ("promoted", vec![releasing("Preparing"), waiting()], Exit::Waiting),
        ("previewReady", vec![releasing("Preparing"), waiting()], Exit::Done),
        ("stable", vec![degraded(), completed()], Exit::Done),
    ] {
        let name = format!("{goal}, {} steps", course.len());
        let ended = shop(&Server::new(course), &format!("wait order --for={goal} -o json")).await;
        assert_eq!(ended.exit(), exit, "{name}: {}", ended.out);
        assert_eq!(ended.json()["for"], goal);
    }
    for (status, exit) in [(degraded(), Exit::Degraded), (releasing("Scaling"), Exit::TimedOut)] {
        let ended = shop(&Server::new([status]), "wait order --timeout 0s").await;
        assert_eq!(ended.exit(), exit, "{}", ended.out);
    }
}

#[tokio::test]
async fn watching_prints_each_change_once_and_ends_with_the_release() {
    let mut older = completed();
    older["observedGeneration"] = json!(3);
    for (course, lines, exit, says) in [
        (
            vec![older, releasing("Scaling"), releasing("Scaling"), completed()],
            3,
            Exit::Done,
            "done: users are with r7 blue",
        ),
        (vec![releasing("Preparing"), waiting(), waiting()], 2, Exit::Waiting, "waiting: AwaitingPromotion"),
        (vec![releasing("Scaling"), aborted()], 2, Exit::Aborted, "aborted: r7 was aborted"),
    ] {
        let ended = shop(&Server::new(course.clone()), "status order --watch").await;
        assert_eq!((ended.exit(), ended.out.lines().count()), (exit, lines), "{}", ended.out);
        assert!(ended.out.lines().last().unwrap().contains(says), "{}", ended.out);
        let ended = shop(&Server::new(course), "status order --watch -o json").await;
        let last: Value = serde_json::from_str(ended.out.lines().last().unwrap()).unwrap();
        assert_eq!(last["exitCode"], exit.code(), "{}", ended.out);
    }
}

#[tokio::test]
async fn changes_are_heard_where_they_can_be_watched() {
    let server = Server::new([waiting(), releasing("Scaling"), completed()]);
    server.script().watches = true;
    server.script().answers = [Value::Null, accepted()].into();
    // Nobody would wait so long for the next look.
    let pace = Pace { poll: LIMIT * 10, answer: LIMIT };
    let ended = paced(pace, &server, "promote order --revision 7 --wait").await;
    assert_eq!(ended.exit(), Exit::Done, "{}", ended.out);
}

#[tokio::test]
async fn a_verb_asks_for_no_more_than_it_needs() {
    let server = Server::new([waiting()]);
    server.script().answers = [accepted()].into();
    shop(&server, "promote order --revision 7").await.exit();
    let mut asked = server.asked();
    asked.sort();
    let kinds: Vec<&str> = asked.iter().map(|line| line.split("/v1").next().unwrap()).collect();
    let (shop, login) = ("GET /apis/shopkeeper.dev", "POST /apis/authentication.k8s.io");
    assert_eq!(kinds, [shop, shop, login, "POST /apis/shopkeeper.dev"], "{asked:?}");
}
