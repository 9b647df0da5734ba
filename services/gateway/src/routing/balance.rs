//! Which replica gets the next request: of two drawn at random by weight, the
//! one with fewer requests in flight for its weight.
//!
//! Two draws keep the longest queue short without one shared order of all
//! replicas, and do not send a herd to a replica that was idle a moment ago.
//! Pure but for the draws. Test: here.

use std::sync::Arc;

use super::split::Group;
use super::target::Target;

/// A replica and its share in one configuration.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) target: Arc<Target>,
    pub(crate) weight: u32,
    pub(crate) group: Option<Arc<Group>>,
}

impl Member {
    pub(crate) fn is_of(&self, group: &str) -> bool {
        self.group.as_ref().is_some_and(|own| own.name == group)
    }

    pub(crate) fn group_name(&self) -> Option<String> {
        self.group.as_ref().map(|group| group.name.clone())
    }

    /// `not` is a target that just failed.
    pub(crate) fn is_usable(&self, not: Option<&Target>) -> bool {
        self.weight > 0 && not.is_none_or(|target| target.key != self.target.key)
    }
}

/// One of the members that `may` be chosen; none when no such member may be used.
/// Ejected members, and those that fail their health checks, count only when there is no
/// other: an attempt may fail, a refusal fails for certain.
pub(crate) fn pick<'a>(
    members: &'a [Member],
    not: Option<&Target>,
    may: impl Fn(&Member) -> bool,
) -> Option<&'a Member> {
    let usable = |member: &&Member| member.is_usable(not) && may(member);
    let fit = |member: &&Member| usable(member) && member.target.is_fit();
    two_choices(|| members.iter().filter(fit))
        .or_else(|| two_choices(|| members.iter().filter(usable)))
}

fn two_choices<'a, I>(members: impl Fn() -> I) -> Option<&'a Member>
where
    I: Iterator<Item = &'a Member>,
{
    let total: u64 = members().map(|member| u64::from(member.weight)).sum();
    let first = draw(members(), total)?;
    let others = || members().filter(|member| member.target.key != first.target.key);
    let Some(second) = draw(others(), total - u64::from(first.weight)) else {
        return Some(first);
    };
    // Loads of a / weight of a > loads of b / weight of b, without division.
    let load = |one: &Member, other: &Member| {
        u128::from(one.target.in_flight() + 1) * u128::from(other.weight)
    };
    Some(if load(first, second) <= load(second, first) {
        first
    } else {
        second
    })
}

fn draw<'a>(mut members: impl Iterator<Item = &'a Member>, total: u64) -> Option<&'a Member> {
    if total == 0 {
        return None;
    }
    let mut ticket = fastrand::u64(0..total);
    members.find(|member| {
        let weight = u64::from(member.weight);
        let drawn = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        drawn
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::routing::service::Meter;
    use crate::routing::target::Lease;

    fn members(weights: &[u32]) -> Vec<Member> {
        weights
            .iter()
            .enumerate()
            .map(|(index, weight)| Member {
                target: Arc::new(Target::new("order", &format!("i-{index}"), "host")),
                weight: *weight,
                group: None,
            })
            .collect()
    }

    fn any<'a>(members: &'a [Member], not: Option<&Target>) -> Option<&'a Arc<Target>> {
        pick(members, not, |_| true).map(|member| &member.target)
    }

    fn spread(members: &[Member], draws: u32) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..draws {
            let target = any(members, None).expect("one is usable");
            *counts.entry(target.id.clone()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn equal_members_get_equal_shares() {
        for count in spread(&members(&[1, 1, 1]), 6000).values() {
            assert!((1700..=2300).contains(count), "{count}");
        }
    }

    #[test]
    fn a_weight_of_zero_gets_nothing_not_even_alone() {
        assert_eq!(spread(&members(&[0, 1]), 100), [("i-1".into(), 100)].into());
        assert!(any(&members(&[0, 0]), None).is_none());
        assert!(any(&[], None).is_none());
    }

    #[test]
    fn held_requests_end_up_in_proportion_to_the_weights() {
        let members = members(&[1, 3]);
        let meter = Arc::new(Meter::default());
        let held: Vec<Lease> = (0..400)
            .map(|_| {
                let target = any(&members, None).expect("one is usable");
                Lease::new(Arc::clone(target), Arc::clone(&meter), 80)
            })
            .collect();
        let heavy = members[1].target.in_flight();
        assert!((299..=301).contains(&heavy), "{heavy} of {}", held.len());
    }

    #[test]
    fn the_busy_one_of_two_is_avoided() {
        let members = members(&[1, 1]);
        let _busy = Lease::new(Arc::clone(&members[0].target), Arc::default(), 80);
        assert_eq!(spread(&members, 100), [("i-1".into(), 100)].into());
    }

    #[test]
    fn an_ejected_member_is_used_only_when_no_other_is_left() {
        let members = members(&[1, 1]);
        members[0].target.eject(80);
        assert_eq!(spread(&members, 100), [("i-1".into(), 100)].into());
        let other = any(&members, Some(&members[1].target)).expect("the ejected one");
        assert_eq!(other.id, "i-0");
        assert!(any(&members[..1], Some(&members[0].target)).is_none());
    }
}
