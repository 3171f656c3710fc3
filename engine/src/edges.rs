//! The lists of a level packed with each edge once, for files whose tables are read into memory.
//!
//! Most edges of a graph go both ways, and the order in a list says nothing. So for each node only its neighbors of smaller
//! number are kept, ascending, each with who has the edge:
//! ```text
//! how many        Rice code, 3 low bits
//! each neighbor   distance from the one before, less 1: Rice code, its low bits by what is to be expected of so many among so many
//!                 who has the edge: 0 both, 10 the node of larger number, 11 the other
//! the anchor      which of the neighbors with edges both ways, from 1 on, or 0; in as many bits as their number has
//! ```
//! An anchor of larger number, and that of a node without an edge to it, stay in a table of their own; files of before had all there.
//!
//! Bits follow one another, lowest first; the last byte is filled up with zeros. A Rice code is a number's high bits as so many
//! ones and a zero, then its low bits (Rice and Plaunt 1971). Marks are not kept: an edge is marked on both sides where one of its
//! nodes is the other's anchor, and nowhere else.
//!
//! * **E1** Lists of which this does not hold are not packed; those that are come back as the same sets, ascending.
//! * **E2** Any bytes unpack to lists of at most so many places with numbers of nodes, or to nothing.
//!
//! Cost: of 20 edges per node among 100,000, two thirds of them both ways, 26 bytes per node, where lists by themselves have 47; an
//! anchor half a byte, where the table has two and a half. While it
//! packs, four bytes per edge that goes one way.

use crate::packed::{BitReader, BitWriter};

/// A place without an id.
const EMPTY: u32 = u32::MAX;

/// The mark of an edge to or from an anchor.
const MARK: u32 = 1 << 31;

/// Low bits of how many neighbors there are: about half a list of 32.
const COUNT_BITS: u32 = 3;

/// Low bits of the steps of `count` numbers below `below`: a little under the mean step, as suits steps of random numbers.
fn step_bits(below: u32, count: u32) -> u32 {
    let mean = below / count.max(1);
    (mean - mean / 4).max(1).ilog2()
}

/// Where the anchors of nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnchorForm {
    /// All in their table.
    Table,
    /// With the edges, where they can be.
    Edges,
}

/// The ids of a list, without marks.
fn ids(list: &[u32]) -> impl Iterator<Item = u32> + '_ {
    list.iter().take_while(|&&word| word != EMPTY).map(|word| word & !MARK)
}

/// Packs `lists`, `[nodes × places]` words each: ids with their marks from the front, then empty places. `anchors` has a node's
/// anchor plus 1, or 0; those that come to be with the edges are 0 afterwards. `None` where the lists are no such lists (E1).
pub(crate) fn pack(lists: &[u32], places: usize, anchors: &mut [u32], form: AnchorForm) -> Option<Vec<u8>> {
    let nodes = anchors.len() as u32;
    let list = |node: u32| &lists[node as usize * places..][..places];
    let has = |node: u32, other: u32| ids(list(node)).any(|id| id == other);
    let is_marked = |a: u32, b: u32| anchors[a as usize] == b + 1 || anchors[b as usize] == a + 1;
    // Edges to nodes of larger number that those do not have: by their ends.
    let mut starts = vec![0u32; nodes as usize + 1];
    for node in 0..nodes {
        let filled = ids(list(node)).count();
        if list(node)[filled..].iter().any(|&word| word != EMPTY) {
            return None;
        }
        for (place, &word) in list(node)[..filled].iter().enumerate() {
            let id = word & !MARK;
            let is_fine = id < nodes && id != node && !ids(list(node)).take(place).any(|other| other == id);
            if !is_fine || (word & MARK != 0) != is_marked(node, id) || (word & MARK != 0 && !has(id, node)) {
                return None;
            }
            starts[id as usize + 1] += u32::from(id > node && !has(id, node));
        }
    }
    for node in 0..nodes as usize {
        starts[node + 1] += starts[node];
    }
    let mut ends = starts.clone();
    let mut only = vec![0u32; starts[nodes as usize] as usize];
    for node in 0..nodes {
        for id in ids(list(node)).filter(|&id| id > node && !has(id, node)) {
            only[ends[id as usize] as usize] = node;
            ends[id as usize] += 1;
        }
    }

    let mut out = Vec::new();
    let mut bits = BitWriter::new(&mut out);
    let mut smaller: Vec<(u32, Owner)> = Vec::new();
    for node in 0..nodes {
        smaller.clear();
        let own = ids(list(node)).filter(|&id| id < node);
        smaller.extend(own.map(|id| (id, if has(id, node) { Owner::Both } else { Owner::Larger })));
        let others = &only[starts[node as usize] as usize..ends[node as usize] as usize];
        smaller.extend(others.iter().map(|&id| (id, Owner::Smaller)));
        smaller.sort_unstable_by_key(|&(id, _)| id);
        let count = smaller.len() as u32;
        put_rice(&mut bits, count, COUNT_BITS);
        let low = step_bits(node, count);
        let mut next = 0;
        for &(id, owner) in &smaller {
            put_rice(&mut bits, id - next, low);
            match owner {
                Owner::Both => bits.put(0b0, 1),
                Owner::Larger => bits.put(0b01, 2),
                Owner::Smaller => bits.put(0b11, 2),
            }
            next = id + 1;
        }
        if form == AnchorForm::Edges {
            let mut both = smaller.iter().filter(|(_, owner)| matches!(owner, Owner::Both));
            let width = width_of(both.clone().count() as u32);
            let place = both.position(|&(id, _)| anchors[node as usize] == id + 1);
            bits.put(place.map_or(0, |place| place as u32 + 1), width);
            if place.is_some() {
                anchors[node as usize] = 0;
            }
        }
    }
    bits.finish();
    Some(out)
}

/// Bits of a number.
fn width_of(number: u32) -> u32 {
    32 - number.leading_zeros()
}

/// Whose list an edge is in.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Both,
    Larger,
    Smaller,
}

/// Unpacks what [`pack`] made into `lists`, `[nodes × places]`, as words of this machine, and into `anchors`, which has those that
/// `pack` left; `None` if the bytes are nothing that it makes (E2).
pub(crate) fn unpack(
    bytes: &[u8],
    places: usize,
    anchors: &mut [u32],
    form: AnchorForm,
    lists: &mut [u32],
) -> Option<()> {
    lists.fill(EMPTY);
    let mut filled = vec![0u32; anchors.len()];
    let mut add = |node: u32, other: u32, mark: u32| {
        let place = &mut filled[node as usize];
        let list = &mut lists[node as usize * places..][..places];
        *list.get_mut(*place as usize)? = other | mark;
        *place += 1;
        Some(())
    };
    let mut bits = BitReader::new(bytes);
    let mut smaller: Vec<(u32, Owner)> = Vec::new();
    for node in 0..anchors.len() as u32 {
        let count = take_rice(&mut bits, COUNT_BITS)?;
        if count > node {
            return None;
        }
        let low = step_bits(node, count);
        let mut next = 0u32;
        smaller.clear();
        for _ in 0..count {
            let id = next.checked_add(take_rice(&mut bits, low)?).filter(|&id| id < node)?;
            next = id + 1;
            let owner = match bits.take(1)? {
                0 => Owner::Both,
                _ if bits.take(1)? == 0 => Owner::Larger,
                _ => Owner::Smaller,
            };
            smaller.push((id, owner));
        }
        if form == AnchorForm::Edges {
            let mut both = smaller.iter().filter(|(_, owner)| matches!(owner, Owner::Both));
            let place = bits.take(width_of(both.clone().count() as u32))?;
            if let Some(place) = place.checked_sub(1) {
                let &(id, _) = both.nth(place as usize)?;
                // One anchor, in one place.
                let anchor = anchors.get_mut(node as usize).filter(|anchor| **anchor == 0)?;
                *anchor = id + 1;
            }
        }
        for &(id, owner) in &smaller {
            let is_marked = anchors[node as usize] == id + 1 || anchors[id as usize] == node + 1;
            let mark = if is_marked { MARK } else { 0 };
            if is_marked && !matches!(owner, Owner::Both) {
                return None;
            }
            if !matches!(owner, Owner::Smaller) {
                add(node, id, mark)?;
            }
            if !matches!(owner, Owner::Larger) {
                add(id, node, mark)?;
            }
        }
    }
    bits.is_over().then_some(())
}

fn put_rice(bits: &mut BitWriter<'_>, value: u32, low: u32) {
    let mut high = value >> low;
    while high >= 16 {
        bits.put(0xffff, 16);
        high -= 16;
    }
    bits.put((1 << high) - 1, high + 1);
    bits.put(value & ((1 << low) - 1), low);
}

fn take_rice(bits: &mut BitReader<'_>, low: u32) -> Option<u32> {
    let mut high = 0u32;
    while bits.take(1)? == 1 {
        high += 1;
    }
    let high = u64::from(high) << low;
    u32::try_from(high | u64::from(bits.take(low)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    /// Lists of a graph of so many nodes, each but the first with an anchor before it.
    fn graph(nodes: u32, places: usize, seed: u64) -> (Vec<u32>, Vec<u32>) {
        let mut state = seed;
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); nodes as usize];
        let mut anchors = vec![0; nodes as usize];
        for node in 1..nodes {
            let anchor = (random(&mut state) % u64::from(node)) as u32;
            if lists[anchor as usize].len() < places / 2 {
                lists[anchor as usize].push(node | MARK);
                lists[node as usize].push(anchor | MARK);
                anchors[node as usize] = anchor + 1;
            }
        }
        for node in 0..nodes {
            for _ in 0..places / 2 {
                let other = (random(&mut state) % u64::from(nodes)) as u32;
                let is_new = |a: u32, b: u32| !lists[a as usize].iter().any(|id| id & !MARK == b);
                let goes_back = random(&mut state).is_multiple_of(2);
                let (there, back) = (is_new(node, other), goes_back && is_new(other, node));
                if other != node && there && lists[node as usize].len() < places {
                    lists[node as usize].push(other);
                }
                if other != node && back && lists[other as usize].len() < places {
                    lists[other as usize].push(node);
                }
            }
        }
        let fill = |list: &Vec<u32>| {
            list.iter().copied().chain(std::iter::repeat(EMPTY)).take(places).collect::<Vec<_>>()
        };
        (lists.iter().flat_map(fill).collect(), anchors)
    }

    fn sorted(lists: &[u32], places: usize) -> Vec<u32> {
        let mut lists = lists.to_vec();
        lists
            .chunks_mut(places)
            .for_each(|list| list.sort_unstable_by_key(|&word| (word == EMPTY, word & !MARK)));
        lists
    }

    fn unpacked(bytes: &[u8], places: usize, left: &[u32], form: AnchorForm) -> Option<(Vec<u32>, Vec<u32>)> {
        let (mut lists, mut anchors) = (vec![7; left.len() * places], left.to_vec());
        unpack(bytes, places, &mut anchors, form, &mut lists).map(|()| (lists, anchors))
    }

    #[test]
    fn lists_come_back_as_sets() {
        for (nodes, places) in [(0, 16), (1, 16), (2, 16), (50, 16), (3000, 32)] {
            for form in [AnchorForm::Table, AnchorForm::Edges] {
                let (lists, anchors) = graph(nodes, places, u64::from(nodes));
                let mut left = anchors.clone();
                let bytes = pack(&lists, places, &mut left, form).unwrap();
                match form {
                    AnchorForm::Table => assert_eq!(left, anchors),
                    AnchorForm::Edges => assert!(left.iter().all(|&anchor| anchor == 0)),
                }
                let whole = Some((sorted(&lists, places), anchors));
                assert_eq!(unpacked(&bytes, places, &left, form), whole, "{nodes}");
                if nodes > 1 {
                    assert_eq!(unpacked(&bytes[..bytes.len() - 1], places, &left, form), None);
                }
                assert_eq!(unpacked(&[&bytes[..], &[0]].concat(), places, &left, form), None);
            }
        }
    }

    #[test]
    fn anchors_of_larger_number_stay_in_their_table() {
        // 0 and 1 hang on 2, which hangs on nobody; 3 says that it hangs on 0 and has no edge to it.
        let list =
            |ids: &[u32]| ids.iter().copied().chain(std::iter::repeat(EMPTY)).take(16).collect::<Vec<_>>();
        let lists = [list(&[2 | MARK]), list(&[2 | MARK]), list(&[MARK, 1 | MARK, 3]), list(&[2])].concat();
        let anchors = vec![3, 3, 0, 1];
        let mut left = anchors.clone();
        let bytes = pack(&lists, 16, &mut left, AnchorForm::Edges).unwrap();
        assert_eq!(left, anchors);
        assert_eq!(unpacked(&bytes, 16, &left, AnchorForm::Edges), Some((sorted(&lists, 16), anchors)));
    }

    #[test]
    fn other_lists_are_not_packed() {
        let (lists, anchors) = graph(40, 16, 3);
        let packs = |change: &dyn Fn(&mut Vec<u32>)| {
            let mut lists = lists.clone();
            change(&mut lists);
            pack(&lists, 16, &mut anchors.clone(), AnchorForm::Edges).is_some()
        };
        assert!(packs(&|_| ()));
        let list = 7 * 16;
        assert!(!packs(&|lists| lists[list] ^= MARK));
        assert!(!packs(&|lists| lists[list] = 7), "an edge to itself");
        assert!(!packs(&|lists| lists[list] = 40), "a node that is not there");
        assert!(!packs(&|lists| lists[list + 1] = lists[list]), "twice");
        assert!(!packs(&|lists| lists[list] = EMPTY), "a hole");
    }

    #[test]
    fn made_up_bytes_are_lists_or_nothing() {
        let (lists, mut left) = graph(60, 16, 9);
        let bytes = pack(&lists, 16, &mut left, AnchorForm::Edges).unwrap();
        let mut state = 5;
        let mut changed = 0;
        for _ in 0..20_000 {
            let mut bytes = bytes.clone();
            for _ in 0..random(&mut state) % 3 + 1 {
                let place = random(&mut state) as usize % bytes.len();
                bytes[place] ^= 1 << (random(&mut state) % 8);
            }
            bytes.truncate(bytes.len() - (random(&mut state) % 9 / 8) as usize);
            if let Some((lists, anchors)) = unpacked(&bytes, 16, &left, AnchorForm::Edges) {
                changed += 1;
                assert!(anchors.iter().all(|&anchor| anchor <= 60));
                assert!(lists.iter().all(|&word| word == EMPTY || word & !MARK < 60));
            }
        }
        assert!(changed > 0);
    }

    #[test]
    fn edges_take_little() {
        let (lists, mut anchors) = graph(20_000, 32, 1);
        let edges = lists.iter().filter(|&&word| word != EMPTY).count();
        let bytes = pack(&lists, 32, &mut anchors, AnchorForm::Edges).unwrap();
        // 15 bits for each id of a list by itself, and its mark.
        assert!(bytes.len() * 8 < edges * 12, "{} bytes of {edges} edges", bytes.len());
    }
}
