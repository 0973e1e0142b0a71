//! Distributes capacity by round robin: between groups, and between the members of a group. Units are assigned one by
//! one. So no group gets two units more than another group that is still waiting. Unused capacity goes to the other
//! groups. This module does not depend on messages or the database.

use std::collections::VecDeque;

/// The divisor for the share of TEST messages: they get one eighth of the capacity while LIVE messages could use all of
/// it.
const TEST_DIVISOR: usize = 8;

/// Splits the capacity between LIVE and TEST. Capacity that one of them does not use goes to the other one.
pub fn split_live_and_test(capacity: usize, has_live: bool, has_test: bool) -> (usize, usize) {
    match (has_live, has_test) {
        (true, true) => {
            let test = capacity.div_ceil(TEST_DIVISOR);
            (capacity - test, test)
        }
        (true, false) => (capacity, 0),
        (false, true) => (0, capacity),
        (false, false) => (0, 0),
    }
}

/// The waiting groups, in the order of their turns.
pub struct RoundRobin<G> {
    groups: VecDeque<Group<G>>,
}

struct Group<G> {
    key: G,
    members: VecDeque<Member>,
}

/// A waiting member: its number, and the units that it can use.
struct Member {
    number: usize,
    count: usize,
}

/// The units that a group gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share<G> {
    pub group: G,
    /// The number of each member and its units, in the order of turns.
    pub members: Vec<(usize, usize)>,
    /// The member that had the last turn.
    pub last: usize,
}

impl<G: Copy + PartialEq> RoundRobin<G> {
    /// Creates the rotation from the waiting members in the order of their turns. Each item is a member's group, its
    /// number, and its maximum number of units. Members of the same group must be adjacent.
    pub fn of(waiting: impl IntoIterator<Item = (G, usize, usize)>) -> Self {
        let mut groups: VecDeque<Group<G>> = VecDeque::new();
        for (key, number, count) in waiting {
            if count == 0 {
                continue;
            }
            let member = Member { number, count };
            match groups.back_mut().filter(|group| group.key == key) {
                Some(group) => group.members.push_back(member),
                None => groups.push_back(Group { key, members: [member].into() }),
            }
        }
        Self { groups }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Returns whether the group has waiting members.
    pub fn has_waiting(&self, key: G) -> bool {
        self.groups.iter().any(|group| group.key == key)
    }

    /// Distributes capacity, beginning after the last turn of the previous call. Returns the shares in the order of
    /// turns, and the group that had the last turn.
    pub fn distribute(&mut self, capacity: usize) -> (Vec<Share<G>>, Option<G>) {
        let mut shares: Vec<Share<G>> = Vec::new();
        let mut last = None;
        for _ in 0..capacity {
            let Some(mut group) = self.groups.pop_front() else { break };
            let Some(mut member) = group.members.pop_front() else { continue };
            member.count -= 1;
            last = Some(group.key);
            add(&mut shares, group.key, member.number);
            if member.count > 0 {
                group.members.push_back(member);
            }
            if !group.members.is_empty() {
                self.groups.push_back(group);
            }
        }
        (shares, last)
    }

    /// Removes a member that no longer has anything waiting.
    pub fn remove(&mut self, number: usize) {
        for group in &mut self.groups {
            group.members.retain(|member| member.number != number);
        }
        self.groups.retain(|group| !group.members.is_empty());
    }
}

fn add<G: Copy + PartialEq>(shares: &mut Vec<Share<G>>, group: G, member: usize) {
    let Some(share) = shares.iter_mut().find(|share| share.group == group) else {
        shares.push(Share { group, members: vec![(member, 1)], last: member });
        return;
    };
    share.last = member;
    match share.members.iter_mut().find(|(number, _)| *number == member) {
        Some((_, count)) => *count += 1,
        None => share.members.push((member, 1)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Generates groups of members with their waiting units.
    fn waiting() -> impl Strategy<Value = Vec<Vec<usize>>> {
        prop::collection::vec(prop::collection::vec(1_usize..40, 1..8), 0..12)
    }

    fn round_robin(groups: &[Vec<usize>]) -> RoundRobin<usize> {
        RoundRobin::of(groups.iter().enumerate().flat_map(|(group, members)| {
            let numbered = members.iter().enumerate();
            numbered.map(move |(member, count)| (group, group * 100 + member, *count))
        }))
    }

    fn by_member(shares: &[Share<usize>]) -> BTreeMap<usize, usize> {
        shares.iter().flat_map(|share| share.members.iter().copied()).collect()
    }

    fn most_and_least(counts: impl Iterator<Item = (usize, bool)>) -> (usize, Option<usize>) {
        let counts: Vec<_> = counts.collect();
        let most = counts.iter().map(|(count, _)| *count).max().unwrap_or(0);
        let waits = counts.iter().filter(|(_, still_waits)| *still_waits);
        (most, waits.map(|(count, _)| *count).min())
    }

    proptest! {
        /// All capacity is used while any units are waiting, and no member gets more units than it has waiting.
        #[test]
        fn capacity_is_used_completely(groups in waiting(), capacity in 0_usize..300) {
            let (shares, _) = round_robin(&groups).distribute(capacity);

            let got = by_member(&shares);
            let waits: usize = groups.iter().flatten().sum();
            prop_assert_eq!(got.values().sum::<usize>(), capacity.min(waits));
            for (number, count) in got {
                prop_assert!(count <= groups[number / 100][number % 100]);
            }
        }

        /// No group gets two units more than another group that is still waiting. The same is true for the members of a
        /// group.
        #[test]
        fn waiting_groups_and_members_get_equal_shares(groups in waiting(), capacity in 0_usize..300) {
            let (shares, _) = round_robin(&groups).distribute(capacity);

            let got = by_member(&shares);
            let of_member = |group: usize, member: usize| {
                got.get(&(group * 100 + member)).copied().unwrap_or(0)
            };
            let of_groups = groups.iter().enumerate().map(|(group, members)| {
                let count: usize = (0..members.len()).map(|member| of_member(group, member)).sum();
                (count, count < members.iter().sum::<usize>())
            });
            let (most, least) = most_and_least(of_groups);
            prop_assert!(least.is_none_or(|least| most <= least + 1));
            for (group, members) in groups.iter().enumerate() {
                let of_members = members.iter().enumerate();
                let of_members = of_members.map(|(member, waits)| {
                    let count = of_member(group, member);
                    (count, count < *waits)
                });
                let (most, least) = most_and_least(of_members);
                prop_assert!(least.is_none_or(|least| most <= least + 1));
            }
        }

        /// Several distributions have the same result as one distribution of their total capacity.
        #[test]
        fn a_distribution_continues_after_the_last_turn(
            groups in waiting(),
            pieces in prop::collection::vec(0_usize..60, 0..8),
        ) {
            let mut in_pieces = round_robin(&groups);
            let mut got: BTreeMap<usize, usize> = BTreeMap::new();
            for piece in &pieces {
                for (number, count) in by_member(&in_pieces.distribute(*piece).0) {
                    *got.entry(number).or_default() += count;
                }
            }

            let (at_once, _) = round_robin(&groups).distribute(pieces.iter().sum());
            prop_assert_eq!(got, by_member(&at_once));
        }

        /// Even with a capacity of one, every member gets a turn within (groups × members of the largest group)
        /// distributions, regardless of how many units the other members have waiting.
        #[test]
        fn every_member_gets_a_turn(groups in waiting(), capacity in 1_usize..20) {
            let endless: Vec<Vec<usize>> =
                groups.iter().map(|members| vec![usize::MAX; members.len()]).collect();
            let mut endless = round_robin(&endless);
            let rounds = groups.len() * groups.iter().map(Vec::len).max().unwrap_or(0);
            let mut served = BTreeMap::new();
            for _ in 0..rounds {
                served.append(&mut by_member(&endless.distribute(capacity).0));
            }

            prop_assert_eq!(served.len(), groups.iter().map(Vec::len).sum::<usize>());
        }

        /// TEST always gets some capacity and LIVE gets most of it. Capacity that one of them does not use goes to the
        /// other one.
        #[test]
        fn live_gets_most_of_the_capacity(capacity in 1_usize..1_000) {
            let (live, test) = split_live_and_test(capacity, true, true);
            prop_assert!(test >= 1 && live + test == capacity && test <= capacity / TEST_DIVISOR + 1);
            prop_assert_eq!(split_live_and_test(capacity, true, false), (capacity, 0));
            prop_assert_eq!(split_live_and_test(capacity, false, true), (0, capacity));
        }
    }

    #[test]
    fn groups_and_members_take_turns() {
        let mut turns = RoundRobin::of([('a', 0, 5), ('a', 1, 5), ('b', 2, 1), ('c', 3, 9)]);

        let (shares, last) = turns.distribute(6);
        let share = |group, members: &[(usize, usize)], last| Share {
            group,
            members: members.to_vec(),
            last,
        };
        let expected =
            [share('a', &[(0, 2), (1, 1)], 0), share('b', &[(2, 1)], 2), share('c', &[(3, 2)], 3)];
        assert_eq!((&shares[..], last), (&expected[..], Some('a')));
        turns.remove(3);
        let (shares, last) = turns.distribute(3);
        assert_eq!((shares, last), (vec![share('a', &[(1, 2), (0, 1)], 1)], Some('a')));
        turns.remove(0);
        turns.remove(1);
        assert!(turns.is_empty());
    }
}
