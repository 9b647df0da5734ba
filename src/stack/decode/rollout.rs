//! `x-shop.rollout`.

use std::time::Duration;

use super::Decoder;
use super::list;
use super::number;
use super::shop::ratio;
use super::text;
use crate::stack::model::ShopRollout;
use crate::stack::model::Strategy;
use crate::stack::report::At;
use crate::stack::yaml::Node;

/// How long a stage is watched that says nothing about it.
const PAUSE: Duration = Duration::from_secs(30);
/// The shares of a canary that names none, in percent.
const SHARES: [u32; 2] = [10, 50];
/// Keys that belong to one strategy alone.
const OWN: [(&str, &str); 3] = [
    ("steps", "canary"),
    ("pause", "blue-green"),
    ("hold", "blue-green"),
];

impl Decoder<'_> {
    /// The `rollout` of a service's `x-shop`.
    pub(super) fn rollout(&mut self, shop: &Node, at: &At<'_>) -> Option<ShopRollout> {
        let node = shop.get("rollout").filter(|node| node.as_map().is_some())?;
        let at = at.key("rollout");
        let word = node.text_of("strategy").unwrap_or("rolling");
        for (key, strategy) in OWN {
            if let Some(value) = node.get(key)
                && word != strategy
            {
                let message = format!("`{key}` belongs to the strategy {strategy}");
                self.report
                    .error("value", value.span, &at.key(key), message)
                    .hint(format!("write `strategy: {strategy}`, or remove `{key}`"));
            }
        }
        let strategy = match word {
            "canary" => Strategy::Canary {
                steps: self.steps(node, &at),
            },
            "blue-green" => Strategy::BlueGreen {
                pause: self.duration(node, "pause", &at).unwrap_or_default(),
                hold: self.duration(node, "hold", &at).unwrap_or(PAUSE),
            },
            _ => Strategy::Rolling,
        };
        Some(ShopRollout {
            strategy,
            header: text(node, "header"),
            cookie: text(node, "cookie"),
            preview: text(node, "preview"),
            min_requests: number(node, "min_requests"),
            max_errors: ratio(node, "max_errors"),
            max_slowdown: number(node, "max_slowdown"),
            place: self.place(node.span),
        })
    }

    /// The stages of a canary: shares that rise, each above 0.
    fn steps(&mut self, node: &Node, at: &At<'_>) -> Vec<(u32, Duration)> {
        let declared = list(node, "steps");
        if declared.is_empty() {
            return SHARES.map(|share| (share, PAUSE)).to_vec();
        }
        let at = at.key("steps");
        let mut steps = Vec::new();
        let mut least = 0;
        for step in declared {
            let share = ratio(step, "weight").map_or(0, |ratio| ratio.0 / 10_000);
            if let Some(weight) = step.get("weight")
                && share <= least
            {
                let wanted = match least {
                    0 => "1% or more".to_owned(),
                    least => format!("more than the {least}% of the step before"),
                };
                self.invalid(
                    weight,
                    &at.key("weight"),
                    &wanted,
                    "write {weight: 10%, pause: 30s}, {weight: 50%, pause: 1m}",
                );
            }
            least = share;
            let pause = self.duration(step, "pause", &at).unwrap_or(PAUSE);
            steps.push((share, pause));
        }
        steps
    }
}
