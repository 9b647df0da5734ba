//! Which revision a request goes to, while a service's revisions share its requests.
//!
//! In this order: the route is pinned to a group; the request names one; the client
//! was with one before; the weights decide. A group without a target that can be used
//! gets nothing, whatever its weight, and any target is better than none.
//!
//! Pure but for the turn. Test: here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::balance;
use super::balance::Member;
use super::service::Meter;
use super::target::Target;
use crate::protocol;

/// The replicas of one revision.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) meter: Meter,
}

impl Group {
    pub(crate) fn stats(&self) -> protocol::GroupStats {
        protocol::GroupStats {
            requests: self.meter.requests(),
            errors_5xx: self.meter.errors_5xx(),
            latency_ms: self.meter.latency(),
        }
    }
}

/// The shares of a service's groups in one configuration.
#[derive(Debug)]
pub(crate) struct Split {
    weights: BTreeMap<String, u32>,
    header: Option<String>,
    cookie: Option<String>,
    turn: AtomicU64,
}

/// What a request says about itself.
pub(crate) trait Hints {
    /// The value of a header.
    fn header(&self, name: &str) -> Option<&str>;
    /// The value of a cookie.
    fn cookie(&self, name: &str) -> Option<&str>;
}

/// A connection that says nothing.
pub(crate) struct Silent;

impl Hints for Silent {
    fn header(&self, _: &str) -> Option<&str> {
        None
    }

    fn cookie(&self, _: &str) -> Option<&str> {
        None
    }
}

/// A target, and the cookie by which its client comes back to its group.
pub(crate) struct Choice<'a> {
    pub(crate) member: &'a Member,
    /// Name and value; none where the client has it already.
    pub(crate) cookie: Option<(String, String)>,
}

impl Split {
    pub(crate) fn new(split: &protocol::Split) -> Self {
        Self {
            weights: split.weights.clone(),
            header: split.header.clone(),
            cookie: split.cookie.clone(),
            turn: AtomicU64::new(0),
        }
    }

    pub(crate) fn choose<'a>(
        &self,
        members: &'a [Member],
        not: Option<&Target>,
        hints: &dyn Hints,
    ) -> Option<Choice<'a>> {
        let of = |group: &str| balance::pick(members, not, |one| one.is_of(group));
        if let Some(wanted) = self.header.as_deref().and_then(|name| hints.header(name))
            && let Some(member) = of(wanted)
        {
            return Some(Choice {
                member,
                cookie: None,
            });
        }
        let known = self.cookie.as_deref().and_then(|name| hints.cookie(name));
        if let Some(known) = known.filter(|known| self.weight(known) > 0)
            && let Some(member) = of(known)
        {
            return Some(Choice {
                member,
                cookie: None,
            });
        }
        let member = self
            .by_weight(members, not)
            .or_else(|| balance::pick(members, not, |_| true))?;
        let cookie = self.cookie.clone().zip(member.group_name());
        Some(Choice { member, cookie })
    }

    fn by_weight<'a>(&self, members: &'a [Member], not: Option<&Target>) -> Option<&'a Member> {
        let fit = |group: &str| {
            members
                .iter()
                .any(|one| one.is_of(group) && one.is_usable(not) && one.target.is_fit())
        };
        let able = |group: &str| {
            members
                .iter()
                .any(|one| one.is_of(group) && one.is_usable(not))
        };
        let group = self.draw(fit).or_else(|| self.draw(able))?;
        balance::pick(members, not, |one| one.is_of(group))
    }

    /// The group whose turn it is among those that may be chosen: exact over any
    /// number of requests that is a multiple of all weights together.
    fn draw(&self, may: impl Fn(&str) -> bool) -> Option<&str> {
        let groups: Vec<(&str, u64)> = self
            .weights
            .iter()
            .filter(|(name, weight)| **weight > 0 && may(name))
            .map(|(name, weight)| (name.as_str(), u64::from(*weight)))
            .collect();
        let total: u64 = groups.iter().map(|(_, weight)| weight).sum();
        let turn = self.turn.fetch_add(1, Relaxed).checked_rem(total)?;
        let mut ticket = turn * stride(total) % total;
        groups.iter().find_map(|(name, weight)| {
            let drawn = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            drawn.then_some(*name)
        })
    }

    fn weight(&self, group: &str) -> u32 {
        self.weights.get(group).copied().unwrap_or_default()
    }
}

/// A step through `total` places that meets each once and spreads neighbours: the
/// golden section of the circle, next to it coprime.
fn stride(total: u64) -> u64 {
    (1..=(total * 618 / 1000).max(1))
        .rev()
        .find(|step| gcd(*step, total) == 1)
        .unwrap_or(1)
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        gcd(other, one % other)
    }
}

/// The groups of a service's targets; counters of `before` live on.
pub(crate) fn groups(
    targets: &[protocol::Target],
    before: &BTreeMap<String, Arc<Group>>,
) -> BTreeMap<String, Arc<Group>> {
    let names = targets.iter().filter_map(|target| target.group.as_ref());
    names
        .map(|name| {
            let group = before.get(name).cloned().unwrap_or_else(|| {
                Arc::new(Group {
                    name: name.clone(),
                    meter: Meter::default(),
                })
            });
            (name.clone(), group)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Says {
        header: Option<&'static str>,
        cookie: Option<&'static str>,
    }

    impl Hints for Says {
        fn header(&self, name: &str) -> Option<&str> {
            (name == "X-Rev").then_some(self.header).flatten()
        }

        fn cookie(&self, name: &str) -> Option<&str> {
            (name == "rev").then_some(self.cookie).flatten()
        }
    }

    const NOTHING: Says = Says {
        header: None,
        cookie: None,
    };

    fn members(names: &[&str]) -> Vec<Member> {
        names
            .iter()
            .enumerate()
            .map(|(index, name)| Member {
                target: Arc::new(Target::new("order", &format!("i-{index}"), "host")),
                weight: 1,
                group: Some(Arc::new(Group {
                    name: (*name).to_owned(),
                    meter: Meter::default(),
                })),
            })
            .collect()
    }

    fn split(weights: &[(&str, u32)], cookie: bool) -> Split {
        Split::new(&protocol::Split {
            weights: weights
                .iter()
                .map(|(name, weight)| ((*name).to_owned(), *weight))
                .collect(),
            header: Some("X-Rev".to_owned()),
            cookie: cookie.then(|| "rev".to_owned()),
        })
    }

    fn chosen(split: &Split, members: &[Member], says: &Says) -> String {
        let choice = split.choose(members, None, says).expect("a target");
        choice.member.group_name().expect("a group")
    }

    fn spread(split: &Split, members: &[Member], draws: u32) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..draws {
            *counts.entry(chosen(split, members, &NOTHING)).or_default() += 1;
        }
        counts
    }

    #[test]
    fn shares_are_exact_however_many_targets_a_group_has() {
        let members = members(&["old", "old", "old", "new"]);
        let split = split(&[("old", 9), ("new", 1)], false);
        assert_eq!(
            spread(&split, &members, 1000),
            [("new".to_owned(), 100), ("old".to_owned(), 900)].into()
        );
    }

    #[test]
    fn the_smaller_share_is_spread_over_time() {
        let members = members(&["old", "new"]);
        let split = split(&[("old", 7), ("new", 3)], false);
        let turns: String = (0..20)
            .map(|_| match chosen(&split, &members, &NOTHING).as_str() {
                "new" => 'n',
                _ => '.',
            })
            .collect();
        assert!(!turns.contains("nn") && !turns.contains("....."), "{turns}");
    }

    #[test]
    fn nothing_goes_to_a_group_without_weight_unless_it_is_asked_for() {
        let members = members(&["old", "new"]);
        let split = split(&[("old", 1), ("new", 0)], false);
        assert_eq!(
            spread(&split, &members, 50),
            [("old".to_owned(), 50)].into()
        );
        let forced = Says {
            header: Some("new"),
            cookie: None,
        };
        assert_eq!(chosen(&split, &members, &forced), "new");
        let unknown = Says {
            header: Some("other"),
            cookie: None,
        };
        assert_eq!(chosen(&split, &members, &unknown), "old");
    }

    #[test]
    fn a_group_that_cannot_be_used_leaves_its_share_to_the_others() {
        let members = members(&["old", "new"]);
        let split = split(&[("old", 1), ("new", 1)], false);
        members[1].target.eject(80);
        assert_eq!(
            spread(&split, &members, 50),
            [("old".to_owned(), 50)].into()
        );
        // The last resort: better a target without a share than none.
        let alone = &members[..1];
        let other = self::split(&[("new", 1)], false);
        assert_eq!(chosen(&other, alone, &NOTHING), "old");
        assert!(other.choose(&[], None, &NOTHING).is_none());
    }

    #[test]
    fn a_client_stays_with_its_group_while_it_has_a_share() {
        let members = members(&["old", "new"]);
        let split = split(&[("old", 1), ("new", 1)], true);
        let first = split.choose(&members, None, &NOTHING).expect("a target");
        let (name, group) = first.cookie.expect("a cookie");
        assert_eq!(name, "rev");
        assert_eq!(Some(group), first.member.group_name());
        let comes_back = Says {
            header: None,
            cookie: Some("new"),
        };
        for _ in 0..20 {
            let choice = split.choose(&members, None, &comes_back).expect("a target");
            assert_eq!(choice.member.group_name().as_deref(), Some("new"));
            assert_eq!(choice.cookie, None);
        }
        let over = self::split(&[("old", 1), ("new", 0)], true);
        let choice = over.choose(&members, None, &comes_back).expect("a target");
        assert_eq!(choice.cookie, Some(("rev".to_owned(), "old".to_owned())));
    }
}
