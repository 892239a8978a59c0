//! Release strategies by chance.

use serde_json::json;
use shop_crds::service::release::{Strategy, canary::Canary};

use super::{Dice, World};

/// A canary of random steps; without manual pauses it ends by itself.
fn canary(dice: &mut Dice, manual: bool) -> Canary {
    let count = dice.roll(5) + 1;
    let steps: Vec<serde_json::Value> = (0..count)
        .map(|_| match dice.roll(6) {
            0 => json!({"replicas": format!("{}%", dice.roll(101))}),
            1 if manual && dice.one_in(3) => json!({"pause": "manual"}),
            1 => json!({"pause": format!("{}s", dice.roll(20))}),
            5 => json!({"analysis": {}}),
            2 => json!({"weight": format!("0.{}%", dice.roll(100))}),
            _ => json!({"weight": format!("{}%", dice.roll(101))}),
        })
        .collect();
    let mut value = json!({ "steps": steps });
    if dice.one_in(3) {
        value["match"] = json!([{"header": {"user-tier": "premium"}}]);
    }
    if dice.one_in(4) {
        value["mirror"] = json!({"share": "10%"});
    }
    serde_json::from_value(value).unwrap()
}

/// The release strategy changes, in the middle of a release too.
pub(crate) fn change(world: &mut World, dice: &mut Dice, manual: bool) {
    let steps = (!dice.one_in(3)).then(|| canary(dice, manual));
    world.release(|release| {
        release.strategy = match steps {
            Some(_) => Strategy::Canary,
            None if dice.one_in(2) => Strategy::Recreate,
            None => Strategy::BlueGreen,
        };
        release.canary = steps;
    });
}
