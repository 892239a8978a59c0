//! The mutations that are kept. In the first place after `anchor`, which must be in the file exactly once, `to` is put for `from`;
//! both are expressions.

/// One change of the sources.
pub(crate) struct Edit {
    /// Below `src/`.
    pub(crate) file: &'static str,
    pub(crate) anchor: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// A planner that is wrong.
pub(crate) struct Mutation {
    /// What it violates: 1 to 6, as the design counts them.
    pub(crate) invariant: u8,
    /// What is wrong with it.
    pub(crate) what: &'static str,
    pub(crate) edits: &'static [Edit],
}

const fn edit(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { file, anchor: from, from, to }
}

const fn after(file: &'static str, anchor: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { file, anchor, from, to }
}

pub(crate) const MUTATIONS: &[Mutation] = &[
    // 1: users are only sent to a revision with enough ready pods.
    Mutation {
        invariant: 1,
        what: "users move forward however few pods are ready",
        edits: &[edit("view.rs", "self.ready(status, to) - self.leaving(to) >= bound.max(1)", "true")],
    },
    Mutation {
        invariant: 1,
        what: "users move forward with one pod too few",
        edits: &[edit(
            "view.rs",
            "self.seen_ready(status, from) - self.may_miss(from)",
            "self.seen_ready(status, from) - self.may_miss(from) - 1",
        )],
    },
    Mutation {
        invariant: 1,
        what: "users go back to whatever there is",
        edits: &[edit(
            "view.rs",
            "taken >= 1 && (taken >= bound || taken > left) || self.subject.replicas() == 0",
            "bound <= left",
        )],
    },
    Mutation {
        invariant: 1,
        what: "pods of another image count",
        edits: &[edit("view.rs", "*wanted == runs", "*wanted == runs || *wanted != runs")],
    },
    Mutation {
        invariant: 1,
        what: "a share goes on to whom nobody is left of",
        edits: &[edit("view.rs", "self.ready(status, revision) > 0", "self.ready(status, revision) >= 0")],
    },
    Mutation {
        invariant: 1,
        what: "a share is handed to pods that do not know what they are",
        edits: &[edit(
            "handoff.rs",
            "view.ready_pods(status, revision).iter().any(|pod| !is_behind(view, pod))",
            "view.ready(status, revision) > 0",
        )],
    },
    // 2: once the stable revision has enough ready pods, abort or rollback ends on it.
    Mutation {
        invariant: 2,
        what: "the way back waits for every acknowledgement",
        edits: &[edit(
            "abort.rs",
            "if due > view.now {\n        draft.wake(due);\n    }\n    due <= view.now",
            "draft.wake(due); false",
        )],
    },
    Mutation {
        invariant: 2,
        what: "the way back needs a ready candidate",
        edits: &[edit(
            "abort.rs",
            "view.enough_back(&draft.status, release.to, from)",
            "view.enough_back(&draft.status, release.to, from) && view.ready(&draft.status, release.to) > 0",
        )],
    },
    Mutation {
        invariant: 2,
        what: "on the way back the Services come after what may be refused",
        edits: &[edit(
            "realise.rs",
            "[services, documents, pushes, ground, grow, budgets, taken, shrink, removals, finished].concat()",
            "[documents, pushes, ground, grow, budgets, services, taken, shrink, removals, finished].concat()",
        )],
    },
    Mutation {
        invariant: 2,
        what: "it is forgotten where an abort goes back to",
        edits: &[edit(
            "abort.rs",
            "draft.status.stable = Some(draft.named(from))",
            "draft.status.stable = None",
        )],
    },
    Mutation {
        invariant: 2,
        what: "an analysis that failed is passed over",
        edits: &[edit("analysis/run.rs", "Effect::Fails(Reason::AnalysisFailed)", "Effect::Goes")],
    },
    // 3: a decision moves the revision that it names and no other.
    Mutation {
        invariant: 3,
        what: "a decision moves whatever is being released",
        edits: &[after("decisions.rs", "fn fenced(", "release.to != revision", "release.to < 0 * revision")],
    },
    Mutation {
        invariant: 3,
        what: "a promotion of another image counts",
        edits: &[edit(
            "decisions/forward.rs",
            "runs.as_ref() == Some(wanted)",
            "runs.as_ref() == Some(wanted) || revision > 0",
        )],
    },
    Mutation {
        invariant: 3,
        what: "a decision from before the release counts",
        edits: &[edit(
            "decisions.rs",
            "after(decision.created, Duration::from_secs(1)) <= release.started.0",
            "decision.created > release.started.0 && false",
        )],
    },
    Mutation {
        invariant: 3,
        what: "a candidate is promoted although nobody decided",
        edits: &[edit("phases.rs", "view.release.promote == Promote::Automatic", "true")],
    },
    Mutation {
        invariant: 3,
        what: "users move without a new role epoch",
        edits: &[edit("phases.rs", "draft.status.role_epoch += 1", "()")],
    },
    Mutation {
        invariant: 3,
        what: "nobody looks at freeze windows",
        edits: &[after(
            "gates.rs",
            "pub(crate) fn thawed(",
            "if is_exempt(release) { None } else { freeze(view) }",
            "None",
        )],
    },
    Mutation {
        invariant: 3,
        what: "whatever the hook says is a yes",
        edits: &[edit("gates/confirm.rs", "gate.answer.is_none()", "gate.answered_at.is_none()")],
    },
    Mutation {
        invariant: 3,
        what: "an analysis step is passed at once",
        edits: &[edit("canary.rs", "analysis::lets_go(view, draft)", "true")],
    },
    Mutation {
        invariant: 3,
        what: "every promotion is one by force",
        edits: &[edit(
            "decisions/forward.rs",
            "approvals.iter().all(|approval| approval.force)",
            "!approvals.is_empty()",
        )],
    },
    Mutation {
        invariant: 3,
        what: "a restart for another revision counts",
        edits: &[edit(
            "decisions/restart.rs",
            "active(&draft.status) != Some(revision)",
            "active(&draft.status).is_none()",
        )],
    },
    // 4: nothing in use is scaled down or deleted.
    Mutation {
        invariant: 4,
        what: "a size that a stranger set is kept",
        edits: &[edit(
            "desired.rs",
            "if deployment.drifted { view.subject.replicas() } else { deployment.replicas }",
            "deployment.replicas",
        )],
    },
    Mutation {
        invariant: 4,
        what: "an older leader is not shut out of Deployments",
        edits: &[after(
            "realise.rs",
            "let deployments = view.observed.deployments",
            "one.leader_epoch < epoch",
            "epoch < 0",
        )],
    },
    Mutation {
        invariant: 4,
        what: "an abort scales the candidate down while users have it, and the guard does not look (H1)",
        edits: &[
            edit(
                "desired.rs",
                "!traffic || (back && abort::may_shrink(view, draft))",
                "traffic || back || !traffic",
            ),
            edit(
                "desired.rs",
                "return Desired { revisions: vec![stable, Wanted::gone(to, Role::Retiring)], services: to_stable() }",
                "return Desired { revisions: vec![stable, Wanted::gone(to, Role::Retiring)], services: Vec::new() }",
            ),
            edit(
                "guard.rs",
                "(lowers && !wish).then(|| self.used(*revision)).flatten()",
                "(lowers && !wish && false).then(|| self.used(*revision)).flatten()",
            ),
        ],
    },
    Mutation {
        invariant: 4,
        what: "what belongs to living revisions is swept, and the guard does not look",
        edits: &[
            edit(
                "retire.rs",
                "revision_state(&draft.status, *number).is_none() && *number <= draft.status.last_revision",
                "*number <= draft.status.last_revision",
            ),
            edit(
                "guard.rs",
                "(lowers && !wish).then(|| self.used(*revision)).flatten()",
                "(lowers && !wish && false).then(|| self.used(*revision)).flatten()",
            ),
        ],
    },
    Mutation {
        invariant: 4,
        what: "the contract Job begins while old pods still stop",
        edits: &[edit(
            "gates/jobs.rs",
            "view.observed.pods.iter().all(|pod| Some(pod.revision) == active)",
            "true",
        )],
    },
    // 5: once faults stop, it comes to rest, and then nothing is written.
    Mutation {
        invariant: 5,
        what: "documents are written again and again",
        edits: &[edit("realise.rs", "current && !config.drifted", "current && config.drifted")],
    },
    Mutation {
        invariant: 5,
        what: "a drained revision keeps the release open",
        edits: &[edit(
            "phases.rs",
            "view.deployment(from).is_some_and(|deployment| deployment.replicas > 0)",
            "view.deployment(from).is_some()",
        )],
    },
    Mutation {
        invariant: 5,
        what: "progressDeadline never passes",
        edits: &[after("phases.rs", "fn trouble(", "due > view.now", "due > view.now || due <= view.now")],
    },
    Mutation {
        invariant: 5,
        what: "what a broken release leaves behind runs on",
        edits: &[edit(
            "desired.rs",
            "deployment.revision <= draft.status.last_revision",
            "deployment.revision < 0",
        )],
    },
    Mutation {
        invariant: 5,
        what: "accepted decisions are never finished",
        edits: &[edit(
            "decisions.rs",
            "!goes_on(draft, decision)",
            "!goes_on(draft, decision) && view.subject.generation < 0",
        )],
    },
    // 6: config and code of revisions are never mixed.
    Mutation {
        invariant: 6,
        what: "newer inputs are stored under an older number",
        edits: &[edit(
            "realise.rs",
            "view.inputs.as_ref().ok().filter(|_| same)",
            "view.inputs.as_ref().ok()",
        )],
    },
    Mutation {
        invariant: 6,
        what: "sidecars are told the live spec's port",
        edits: &[edit("handoff.rs", "u16::try_from(facts.port)", "u16::try_from(view.subject.spec.port)")],
    },
    Mutation {
        invariant: 6,
        what: "pods are started without the copy of their config",
        edits: &[after("realise.rs", "// The content is gone;", "started", "started || !started")],
    },
    Mutation {
        invariant: 6,
        what: "numbers are given a second time",
        edits: &[after(
            "cut.rs",
            "fn cut(",
            "draft.status.last_revision + 1",
            "draft.status.revisions.iter().map(|state| state.number).max().unwrap_or(0) + 1",
        )],
    },
    Mutation {
        invariant: 6,
        what: "an older revision comes back after a contract Job",
        edits: &[edit(
            "gates/jobs.rs",
            "state.contract.as_ref().is_some_and(begun)",
            "state.number < 0 && state.contract.as_ref().is_some_and(begun)",
        )],
    },
    Mutation {
        invariant: 6,
        what: "pods start before the expand Job",
        edits: &[edit("gates/jobs.rs", "!asked || done || runs", "!asked || done || runs || !done")],
    },
];
