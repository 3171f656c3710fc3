//! Numbers: one set of rows per bit of their values (bit-sliced, O'Neil and Quass 1997).

use roaring::RoaringBitmap;

use super::Facet;

/// Values of rows as 64 sets: row r is in set b when bit b of its value is set.
#[derive(Debug, Clone)]
pub(super) struct Slices {
    bits: Box<[RoaringBitmap; 64]>,
    present: RoaringBitmap,
}

impl Default for Slices {
    fn default() -> Self {
        Self { bits: Box::new(std::array::from_fn(|_| RoaringBitmap::new())), present: RoaringBitmap::new() }
    }
}

impl Slices {
    pub(super) fn insert(&mut self, row: u32, value: u64) {
        self.present.insert(row);
        let mut rest = value;
        while rest != 0 {
            self.bits[rest.trailing_zeros() as usize].insert(row);
            rest &= rest - 1;
        }
    }

    pub(super) fn remove_all(&mut self, rows: &RoaringBitmap) {
        self.present -= rows;
        self.bits.iter_mut().filter(|set| !set.is_empty()).for_each(|set| *set -= rows);
    }

    /// Rows of `live` whose value lies in `low..=high`.
    pub(super) fn between(&self, low: u64, high: u64, live: &RoaringBitmap) -> RoaringBitmap {
        let mut set = &self.present & live;
        if low > high {
            set.clear();
        } else if low == high {
            self.keep_equal(&mut set, low);
        } else {
            if high < u64::MAX {
                set = self.up_to(set, high);
            }
            if low > 0 {
                set -= self.up_to(set.clone(), low - 1);
            }
        }
        set
    }

    fn keep_equal(&self, set: &mut RoaringBitmap, value: u64) {
        for bit in (0..64).rev() {
            if set.is_empty() {
                return;
            }
            let ones = &self.bits[bit];
            if value >> bit & 1 == 1 {
                *set &= ones
            } else if !ones.is_empty() {
                *set -= ones
            }
        }
    }

    /// Rows of `set` whose value is at most `limit`.
    fn up_to(&self, set: RoaringBitmap, limit: u64) -> RoaringBitmap {
        let mut less = RoaringBitmap::new();
        // Rows that agree with `limit` in all bits looked at.
        let mut equal = set;
        for bit in (0..64).rev() {
            if equal.is_empty() {
                break;
            }
            let ones = &self.bits[bit];
            if limit >> bit & 1 == 1 {
                less |= &equal - ones;
                equal &= ones;
            } else if !ones.is_empty() {
                equal -= ones;
            }
        }
        less |= equal;
        less
    }

    fn value(&self, row: u32) -> u64 {
        self.bits.iter().rev().fold(0, |value, set| value << 1 | u64::from(set.contains(row)))
    }

    /// Rows of `rows` per value, for values made by `integer_order`.
    pub(super) fn counts(&self, rows: &RoaringBitmap) -> Vec<Facet> {
        let mut counts = std::collections::BTreeMap::<u64, u64>::new();
        for row in rows {
            *counts.entry(self.value(row)).or_default() += 1;
        }
        let facet = |(value, count): (u64, u64)| Facet { value: ((value ^ 1 << 63) as i64).into(), count };
        counts.into_iter().map(facet).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.present.serialized_size() + self.bits.iter().map(RoaringBitmap::serialized_size).sum::<usize>()
    }
}
