//! Keywords and tags: a set of rows per term, in the order of the terms.

use std::collections::BTreeMap;
use std::ops::Bound;

use roaring::RoaringBitmap;

use super::Facet;
use crate::filter::Literal;

/// Rows by term.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    sets: BTreeMap<Box<str>, RoaringBitmap>,
}

impl Terms {
    pub(super) fn insert(&mut self, term: &str, row: u32) {
        match self.sets.get_mut(term) {
            Some(set) => {
                set.insert(row);
            }
            None => {
                self.sets.insert(term.into(), RoaringBitmap::from_iter([row]));
            }
        }
    }

    pub(super) fn remove_all(&mut self, rows: &RoaringBitmap) {
        self.sets.retain(|_, set| {
            *set -= rows;
            !set.is_empty()
        });
    }

    pub(super) fn any_of(&self, terms: &[Box<str>], live: &RoaringBitmap) -> RoaringBitmap {
        union(terms.iter().filter_map(|term| self.sets.get(term)), live)
    }

    pub(super) fn with_prefix(&self, prefix: &str, live: &RoaringBitmap) -> RoaringBitmap {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let sets = self.sets.range::<str, _>(from).take_while(|(term, _)| term.starts_with(prefix));
        union(sets.map(|(_, set)| set), live)
    }

    pub(super) fn ordered(
        &self,
        than: &str,
        is_less: bool,
        or_equal: bool,
        live: &RoaringBitmap,
    ) -> RoaringBitmap {
        let end = if or_equal { Bound::Included(than) } else { Bound::Excluded(than) };
        let range = if is_less { (Bound::Unbounded, end) } else { (end, Bound::Unbounded) };
        union(self.sets.range::<str, _>(range).map(|(_, set)| set), live)
    }

    pub(super) fn between(&self, low: &str, high: &str, live: &RoaringBitmap) -> RoaringBitmap {
        // `range` panics when its ends are the wrong way round.
        if low > high {
            return RoaringBitmap::new();
        }
        let range = (Bound::Included(low), Bound::Included(high));
        union(self.sets.range::<str, _>(range).map(|(_, set)| set), live)
    }

    pub(super) fn counts(&self, live: &RoaringBitmap) -> Vec<Facet> {
        let sets = self.sets.iter();
        sets.map(|(term, set)| Facet {
            value: Literal::Text(term.clone()),
            count: set.intersection_len(live),
        })
        .collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.sets.iter().map(|(term, set)| term.len() + 64 + set.serialized_size()).sum()
    }
}

fn union<'a>(sets: impl Iterator<Item = &'a RoaringBitmap>, live: &RoaringBitmap) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    for set in sets {
        all |= set & live;
    }
    all
}
