//! The web hook that must say yes before a promotion.
//!
//! A question is asked once; its number is in the status, so that another leader asks the same one again. What it answers is no
//! failure: the release stands, and asks again.

use serde_json::json;
use shop_crds::{
    Reason,
    service::release::gates::Confirm,
    status::{Phase, ReleaseState, gates::ConfirmGate},
};

use crate::{
    outside::{Answer, Ask, Question},
    report::{Wait, command},
    view::{Draft, View, after, revision_state},
    write::Write,
};

/// Whether the hook has said yes; what it said otherwise is noted.
pub(super) fn confirmed(view: &View<'_>, draft: &mut Draft, release: &ReleaseState) -> bool {
    let Some(confirm) = view.release.confirm.as_ref().filter(|_| !super::is_exempt(release)) else {
        return true;
    };
    let known = draft.release().and_then(|release| release.gates.as_ref()?.confirm.clone());
    if known.as_ref().is_some_and(|gate| gate.confirmed) {
        return true;
    }
    if release.force {
        let by = release.promoted_by.as_deref().unwrap_or("somebody");
        let message =
            format!("{by} promotes revision {} by force, without a yes of {}", release.to, host(confirm));
        draft.tell(true, Reason::GateForced, message);
        return true;
    }
    let asked = || ConfirmGate {
        asked: 1,
        asked_at: view.micro(),
        answer: None,
        answered_at: None,
        confirmed: false,
    };
    let mut gate = known.unwrap_or_else(asked);
    let id = id(release, &gate);
    if let Some(answer) =
        view.observed.answers.iter().find(|answer| gate.answered_at.is_none() && answer.id == id)
    {
        gate.answer = no(answer);
        gate.confirmed = gate.answer.is_none();
        gate.answered_at = Some(view.micro());
    }
    if let Some(at) = gate.answered_at.clone().filter(|_| !gate.confirmed) {
        let due = after(at.0, confirm.interval().duration());
        if due > view.now {
            draft.wake(due);
        } else {
            gate = ConfirmGate { asked: gate.asked + 1, answer: gate.answer, ..asked() };
        }
    }
    let confirmed = gate.confirmed;
    if let Some(release) = draft.status.release.as_mut() {
        release.gates.get_or_insert_default().confirm = Some(gate);
    }
    confirmed
}

/// What it said instead of yes.
fn no(answer: &Answer) -> Option<String> {
    match &answer.outcome {
        Ok(value) if (200..=202).contains(&value.status) => None,
        Ok(value) => Some(format!("{} {}", value.status, value.text).trim().to_owned()),
        Err(error) => Some(error.clone()),
    }
}

/// The question that is open.
pub(super) fn question(view: &View<'_>, draft: &Draft) -> Option<Write> {
    let confirm = view.release.confirm.as_ref()?;
    let release =
        draft.release().filter(|release| draft.phase() == Phase::Verifying && release.aborting.is_none())?;
    let gate = release.gates.as_ref()?.confirm.as_ref()?;
    if gate.confirmed || gate.answered_at.is_some() {
        return None;
    }
    let state = revision_state(&draft.status, release.to);
    let body = json!({
        "namespace": view.subject.namespace,
        "service": view.subject.name,
        "revision": release.to,
        "image": state.map(|state| state.image.clone()),
        "digest": state.and_then(|state| state.digest.clone()),
        "phase": draft.phase().as_str(),
    });
    Some(Write::Ask(Question {
        id: id(release, gate),
        ask: Ask::Http {
            url: confirm.url.clone(),
            method: "POST".into(),
            body: Some(body.to_string()),
            json_path: None,
        },
        timeout: confirm.timeout().duration(),
    }))
}

fn id(release: &ReleaseState, gate: &ConfirmGate) -> String {
    format!("confirm-r{}-{}-{}", release.to, release.started.0.as_microsecond(), gate.asked)
}

/// What is waited for.
pub(super) fn waits(view: &View<'_>, release: &ReleaseState) -> Option<Wait> {
    let confirm = view.release.confirm.as_ref()?;
    let gate = release.gates.as_ref()?.confirm.as_ref().filter(|gate| !gate.confirmed)?;
    let said = gate
        .answer
        .as_ref()
        .map_or_else(|| "has not answered yet".to_owned(), |said| format!("said {said:?}"));
    let message = format!(
        "revision {} is ready, but {} {said} (asked {} times)",
        release.to,
        host(confirm),
        gate.asked
    );
    let next = gate.answered_at.as_ref().map_or_else(
        || after(gate.asked_at.0, confirm.timeout().duration()),
        |at| after(at.0, confirm.interval().duration()),
    );
    let promote = format!("{} --force", command(view, "promote", Some(release.to)));
    Some(Wait::new(Reason::AwaitingConfirmation, message).until(next).command(promote))
}

/// The hook, as long as it has not said yes; also where it is not asked yet.
pub(super) fn shut(view: &View<'_>, release: &ReleaseState) -> Option<Wait> {
    let confirm = view.release.confirm.as_ref().filter(|_| !super::is_exempt(release))?;
    let gate = release.gates.as_ref().and_then(|gates| gates.confirm.as_ref());
    if gate.is_some() {
        return waits(view, release);
    }
    let message = format!("{} must say yes, and is asked when nothing else is waited for", host(confirm));
    Some(Wait::new(Reason::AwaitingConfirmation, message))
}

/// Paths may hold secrets.
fn host(confirm: &Confirm) -> &str {
    let rest = confirm.url.split_once("://").map_or(confirm.url.as_str(), |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}
