//! Random stories: users, broken pods, late reads, failed writes, crashes, new leaders; the invariants are checked at every
//! write, and every story must come to rest once the faults stop.

use jiff::SignedDuration;
use shop_crds::{
    Reason, ShopServiceStatus, Verb,
    service::release::{OnFailure, Promote},
    status::Phase,
};
use shop_release::{ServiceKind, Source, SourceKind, SourceState};

use crate::world::{Dice, World, spec, steps};

const IMAGES: [&str; 8] = ["good-1", "good-2", "good-3", "good-4", "crash-5", "unready-6", "fades-7", "pull"];

/// Something that a user, a node or a colleague does.
fn happening(world: &mut World, dice: &mut Dice) {
    match dice.roll(17) {
        0..=2 => world.image(IMAGES[usize::try_from(dice.roll(8)).unwrap()]),
        3 => world.apply(|spec| spec.replicas = i32::try_from(dice.roll(5)).unwrap()),
        4 => {
            let hash = format!("content-{}", dice.roll(3));
            for source in &mut world.observed.sources {
                source.state = SourceState::Found { hash: hash.clone(), bytes: 5 };
            }
            world.bump();
        }
        5..=7 => {
            let verb = Verb::ALL[usize::try_from(dice.roll(Verb::ALL.len() as u64)).unwrap()];
            let near = i64::try_from(dice.roll(3)).unwrap() - 1;
            let revision =
                if dice.one_in(4) { world.active() + near } else { world.status.last_revision + near };
            let person = ["ann", "bob", "eve"][usize::try_from(dice.roll(3)).unwrap()];
            let (full, to) = (dice.one_in(4), dice.one_in(3).then(|| (revision + near).max(1)));
            world.decide_by(person, verb, revision.max(1), |spec| {
                spec.full = full && verb == Verb::Promote;
                spec.to = to.filter(|to| verb == Verb::Rollback && *to != spec.revision);
            });
        }
        8 => world.release(|release| {
            let promote = if dice.one_in(2) { Promote::Manual } else { Promote::Automatic };
            release.promote = promote;
            release.approvals = dice.one_in(2).then(|| i32::try_from(dice.roll(3)).unwrap() + 1);
        }),
        9 => world.release(|release| {
            release.on_failure = if dice.one_in(2) { OnFailure::Hold } else { OnFailure::Abort };
        }),
        10 | 11 => sicken(world, dice),
        12 => drift(world, dice),
        13 if dice.one_in(6) => {
            world.status = ShopServiceStatus::default();
            world.subject.resource_version = world.bump();
            // A number that was in the status alone is lost with it, and nothing ever ran under it.
            let stored = |number: &i64| world.observed.revisions.iter().any(|one| one.number == *number);
            world.meanings.retain(|number, _| stored(number));
            world.restart();
        }
        14 | 15 => steps::change(world, dice, true),
        _ => world.restart(),
    }
}

/// Pods get ill, mute or well again.
fn sicken(world: &mut World, dice: &mut Dice) {
    if world.observed.pods.is_empty() {
        return;
    }
    let at = usize::try_from(dice.roll(world.observed.pods.len() as u64)).unwrap();
    let (uid, revision) = (world.observed.pods[at].uid.clone(), world.observed.pods[at].revision);
    match dice.roll(4) {
        0 => drop(world.sick.insert(uid)),
        1 => drop(world.mute.insert(uid)),
        2 => {
            let all =
                world.observed.pods.iter().filter(|pod| pod.revision == revision).map(|pod| pod.uid.clone());
            world.sick.extend(all.collect::<Vec<_>>());
        }
        _ => {
            world.sick.clear();
            world.mute.clear();
        }
    }
}

/// Somebody changes a generated object by hand.
fn drift(world: &mut World, dice: &mut Dice) {
    let version = world.bump();
    if dice.one_in(2) {
        let any = i64::try_from(dice.roll(3)).unwrap() + 1;
        if let Some(service) = world.observed.services.get_mut(&ServiceKind::Preview) {
            (service.selects, service.drifted, service.resource_version) = (Some(any), true, version);
        }
    } else if let Some(config) = world.observed.configs.last_mut() {
        (config.drifted, config.resource_version) = (true, version);
    }
}

/// Runs one story; panics where something is broken that must hold.
fn tell(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut world = World::new(spec("good-1", i32::try_from(dice.roll(4)).unwrap() + 1));
    world.observed.sources = vec![Source {
        kind: SourceKind::ConfigMap,
        name: "settings".into(),
        state: SourceState::Found { hash: "content-0".into(), bytes: 5 },
    }];
    world.apply(|spec| {
        spec.config = serde_json::from_str(r#"[{"configMap": "settings", "mountPath": "/etc/x"}]"#).unwrap();
    });
    if dice.one_in(2) {
        steps::change(&mut world, &mut dice, true);
    }
    world.linger = i64::try_from(dice.roll(20)).unwrap();
    for _ in 0..250 {
        if dice.one_in(12) {
            happening(&mut world, &mut dice);
        }
        let lag = usize::try_from(dice.roll(4)).unwrap();
        let crash = dice.one_in(6).then(|| usize::try_from(dice.roll(8)).unwrap());
        let fails = dice.one_in(6).then(|| usize::try_from(dice.roll(8)).unwrap());
        world.operate_with(lag, crash, fails);
        if crash.is_some() && dice.one_in(2) {
            world.restart();
        }
        let step = if dice.one_in(10) { 20_000 } else { 1_500 };
        world.pass(i64::try_from(dice.roll(step)).unwrap());
    }
    steps::change(&mut world, &mut dice, false);
    settle(&mut world, seed);
}

/// The faults stop: everything must come to rest, and rest there.
fn settle(world: &mut World, seed: u64) {
    world.sick.clear();
    world.mute.clear();
    world.release(|release| {
        release.promote = Promote::Automatic;
        release.on_failure = OnFailure::Abort;
    });
    let mut quiet = 0;
    for _ in 0..3_000 {
        let open = world.observed.decisions.iter().any(|one| one.status.is_none());
        if let Some(release) = world.status.release.as_ref().filter(|one| one.paused.is_some() && !open) {
            let to = release.to;
            world.decide(Verb::Resume, to);
        }
        let pass = world.operate();
        assert!(pass.failed.is_none(), "seed {seed}: {:?}", pass.failed);
        quiet = if pass.changed { 0 } else { quiet + 1 };
        let planned = pass.planned.unwrap();
        if quiet > 5 && planned.requeue.is_none() {
            rests(world, seed);
            return;
        }
        let wait =
            planned.requeue.filter(|_| quiet > 0).map_or(1_000, |wait| wait.as_millis().clamp(100, 30_000));
        world.now += SignedDuration::from_millis(1);
        world.pass(i64::try_from(wait).unwrap());
    }
    panic!("seed {seed} does not come to rest: {}", world.describe());
}

/// Where a story may end.
fn rests(world: &World, seed: u64) {
    let wanted = &world.subject.spec.image;
    let active = world.status.revisions.iter().find(|state| state.number == world.active());
    let image = active.map(|state| state.image.clone()).unwrap_or_default();
    let told = || format!("seed {seed}, spec asks for {wanted}: {}", world.describe());
    match world.blocked() {
        None => assert!(world.stable() && image == *wanted, "{}", told()),
        // The last try ended badly, or people left it.
        Some(Reason::NotTriedAgain) => assert!(world.stable(), "{}", told()),
        // A first revision that cannot live.
        Some(Reason::CrashLoop | Reason::WaitingForPods | Reason::ImagePullFailed) => {
            assert!(
                world.phase() == Phase::Preparing && world.status.release.as_ref().unwrap().from.is_none(),
                "{}",
                told()
            );
        }
        // What was lost in the middle, and an abort of the very inputs that the spec still has, with nothing to go back to.
        Some(Reason::StateUnknown) => {}
        Some(Reason::NoWayBack) => assert!(world.status.pending.is_none(), "{}", told()),
        other => panic!("{other:?} {}", told()),
    }
    let running: Vec<i64> =
        world.observed.deployments.iter().filter(|one| one.replicas > 0).map(|one| one.revision).collect();
    if world.stable() && world.subject.spec.replicas > 0 && world.blocked() != Some(Reason::StateUnknown) {
        assert_eq!(running, [world.active()], "{}", told());
        let users = world.observed.services[&ServiceKind::Users].selects;
        assert_eq!(users, Some(world.active()), "{}", told());
    }
}

/// Others than the fixed ones can be chosen, for a longer search: `STORIES=300..9000 cargo test -p shop-release more`.
#[test]
fn more_stories() {
    let range = std::env::var("STORIES").unwrap_or_else(|_| "256..300".to_owned());
    let (first, end) = range.split_once("..").unwrap();
    tell_all(first.parse().unwrap()..end.parse().unwrap());
}

fn tell_all(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        tell(seed);
    }
}

#[test]
fn stories_1_to_85() {
    tell_all(1..86);
}

#[test]
fn stories_86_to_170() {
    tell_all(86..171);
}

#[test]
fn stories_171_to_255() {
    tell_all(171..256);
}
