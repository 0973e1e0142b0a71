//! How room is shared out by turns: groups in rotation, and the members of a group in rotation. Room goes
//! round one by one, so no group gets two more than another that still waits, and what a group does not
//! use goes to the others. It does not know what waits.

use std::collections::VecDeque;

/// The part of the room, one in so many, that TEST gets although LIVE could use all of it.
const TEST_PART: usize = 8;

/// What LIVE and TEST may take of the room: LIVE goes first and leaves TEST a part of it.
pub fn live_and_test(room: usize, live_waits: bool, test_waits: bool) -> (usize, usize) {
    match (live_waits, test_waits) {
        (true, true) => {
            let test = room.div_ceil(TEST_PART);
            (room - test, test)
        }
        (true, false) => (room, 0),
        (false, true) => (0, room),
        (false, false) => (0, 0),
    }
}

/// Those that wait, in the order of their turns.
pub struct Turns<G> {
    groups: VecDeque<Group<G>>,
}

struct Group<G> {
    key: G,
    members: VecDeque<Member>,
}

/// One that waits, by the number it was given, and how much of it waits.
struct Member {
    number: usize,
    count: usize,
}

/// What a group may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share<G> {
    pub group: G,
    /// Which members may take how much, in the order of their turns.
    pub members: Vec<(usize, usize)>,
    /// The member that had the last turn.
    pub last: usize,
}

impl<G: Copy + PartialEq> Turns<G> {
    /// Of members in the order of their turns: each one's group, its number, and how much of it waits
    /// at most. Members of a group follow each other.
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

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether something waits of this group.
    pub fn waits(&self, key: G) -> bool {
        self.groups.iter().any(|group| group.key == key)
    }

    /// Shares the room out; the next room goes on behind the last turn. Groups come in the order of their
    /// turns. Also gives the group that had the last one.
    pub fn share(&mut self, room: usize) -> (Vec<Share<G>>, Option<G>) {
        let mut shares: Vec<Share<G>> = Vec::new();
        let mut last = None;
        for _ in 0..room {
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

    /// Nothing waits any more of the member with this number.
    pub fn end(&mut self, number: usize) {
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

    /// Groups of members, each with how much of it waits.
    fn waiting() -> impl Strategy<Value = Vec<Vec<usize>>> {
        prop::collection::vec(prop::collection::vec(1_usize..40, 1..8), 0..12)
    }

    fn turns(groups: &[Vec<usize>]) -> Turns<usize> {
        Turns::of(groups.iter().enumerate().flat_map(|(group, members)| {
            let numbered = members.iter().enumerate();
            numbered.map(move |(member, count)| (group, group * 100 + member, *count))
        }))
    }

    /// What each member got.
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
        /// All room is used as long as anything waits, and nobody gets more than waits.
        #[test]
        fn room_is_used_and_no_more(groups in waiting(), room in 0_usize..300) {
            let (shares, _) = turns(&groups).share(room);

            let got = by_member(&shares);
            let waits: usize = groups.iter().flatten().sum();
            prop_assert_eq!(got.values().sum::<usize>(), room.min(waits));
            for (number, count) in got {
                prop_assert!(count <= groups[number / 100][number % 100]);
            }
        }

        /// No group gets two more than one that still waits, nor does a member within its group.
        #[test]
        fn nobody_gets_more_while_others_wait(groups in waiting(), room in 0_usize..300) {
            let (shares, _) = turns(&groups).share(room);

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

        /// Room in pieces is shared out as the same room at once.
        #[test]
        fn the_next_room_goes_on_behind_the_last_turn(
            groups in waiting(),
            pieces in prop::collection::vec(0_usize..60, 0..8),
        ) {
            let mut in_pieces = turns(&groups);
            let mut got: BTreeMap<usize, usize> = BTreeMap::new();
            for piece in &pieces {
                for (number, count) in by_member(&in_pieces.share(*piece).0) {
                    *got.entry(number).or_default() += count;
                }
            }

            let (at_once, _) = turns(&groups).share(pieces.iter().sum());
            prop_assert_eq!(got, by_member(&at_once));
        }

        /// With room for one at least, every member has its turn within as many rooms as there are members
        /// in the largest group times groups, however much the others have.
        #[test]
        fn nobody_starves(groups in waiting(), room in 1_usize..20) {
            let endless: Vec<Vec<usize>> =
                groups.iter().map(|members| vec![usize::MAX; members.len()]).collect();
            let mut turns = turns(&endless);
            let rounds = groups.len() * groups.iter().map(Vec::len).max().unwrap_or(0);
            let mut served = BTreeMap::new();
            for _ in 0..rounds {
                served.append(&mut by_member(&turns.share(room).0));
            }

            prop_assert_eq!(served.len(), groups.iter().map(Vec::len).sum::<usize>());
        }

        /// TEST never starves, LIVE has the most, and what one does not want the other has.
        #[test]
        fn live_goes_first(room in 1_usize..1_000) {
            let (live, test) = live_and_test(room, true, true);
            prop_assert!(test >= 1 && live + test == room && test <= room / TEST_PART + 1);
            prop_assert_eq!(live_and_test(room, true, false), (room, 0));
            prop_assert_eq!(live_and_test(room, false, true), (0, room));
        }
    }

    #[test]
    fn turns_go_round() {
        let mut turns = Turns::of([('a', 0, 5), ('a', 1, 5), ('b', 2, 1), ('c', 3, 9)]);

        let (shares, last) = turns.share(6);
        let share = |group, members: &[(usize, usize)], last| Share {
            group,
            members: members.to_vec(),
            last,
        };
        let expected =
            [share('a', &[(0, 2), (1, 1)], 0), share('b', &[(2, 1)], 2), share('c', &[(3, 2)], 3)];
        assert_eq!((&shares[..], last), (&expected[..], Some('a')));
        turns.end(3);
        let (shares, last) = turns.share(3);
        assert_eq!((shares, last), (vec![share('a', &[(1, 2), (0, 1)], 1)], Some('a')));
        turns.end(0);
        turns.end(1);
        assert!(turns.is_empty());
    }
}
