//! Gates: what a policy of the namespace does to a release.

use serde_json::{Value, json};

use crate::{
    api::{Api, State},
    behaviour::{Operator, order, serves, spec, status},
};

const POLICIES: &str = "shopkeeper.dev/v1alpha1/shoppolicies";

fn policy(api: &Api, zone: &str) {
    api.with(|state| {
        let place = (POLICIES.to_owned(), "shop".to_owned(), "calendar".to_owned());
        let mut policy = state.objects.get(&place).cloned().unwrap_or_else(
            || json!({ "apiVersion": "shopkeeper.dev/v1alpha1", "kind": "ShopPolicy", "metadata": {} }),
        );
        // Every day, all day.
        policy["spec"] = json!({ "freeze": [
            { "name": "always", "start": "2026-01-01T00:00:00", "duration": "2d", "rrule": "FREQ=DAILY", "timeZone": zone, "allow": false },
        ]});
        state.put(place, policy);
    });
}

fn accepted(state: &State) -> Option<Value> {
    Some(state.get(POLICIES, "calendar")?["status"]["conditions"].as_array()?.first()?.clone())
}

fn blocked(state: &State, reason: &str) -> Option<()> {
    (status(state)["blocked"]["reason"] == reason).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_freezes_the_services_of_its_namespace_and_says_what_is_wrong_with_it() {
    let api = Api::new();
    let operator = Operator::start(&api, "shopkeeper-0").await;
    order(&api, spec("order:1"));
    api.until("revision 1 serves", |state| serves(state, 1)).await;

    policy(&api, "Europe/Nowhere");
    let condition = api
        .until("the policy is refused", |state| accepted(state).filter(|found| found["status"] == "False"))
        .await;
    assert_eq!(condition["reason"], "FreezeInvalid");
    assert!(condition["message"].as_str().unwrap().contains("timeZone (always)"), "{condition}");
    order(&api, spec("order:2"));
    api.until("it is not promoted", |state| blocked(state, "FreezeInvalid")).await;

    policy(&api, "Europe/Berlin");
    api.until("the policy is accepted", |state| accepted(state).filter(|found| found["status"] == "True"))
        .await;
    api.until("it is frozen", |state| blocked(state, "Frozen")).await;

    api.with(|state| state.remove(&(POLICIES.to_owned(), "shop".to_owned(), "calendar".to_owned())));
    api.until("revision 2 serves", |state| serves(state, 2)).await;
    operator.stop().await;
}
