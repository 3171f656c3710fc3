//! What a simulated file holds: the bytes that readers see, those that the disk has, and the changes between them.

use std::collections::BTreeMap;

use crate::files::SECTOR;

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) seen: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }
}

impl Inode {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    pub(super) fn flush(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        // How often a write of one sector was overtaken by others is of no interest: per sector, a prefix of the changes.
        let mut bytes = self.durable.clone();
        let mut length = self.durable.len();
        let kept_lengths = random.below(self.pending.len() + 1);
        let longest = self.pending.iter().fold(length, |longest, change| match change {
            Change::Write(at, data) => longest.max(at + data.len()),
            Change::Length(new) => longest.max(*new),
        });
        for (place, change) in self.pending.iter().enumerate().take(kept_lengths) {
            let _ = place;
            match change {
                Change::Write(at, data) => length = length.max(at + data.len()),
                Change::Length(new) => length = *new,
            }
        }
        bytes.resize(longest, 0);
        let mut kept = BTreeMap::<usize, usize>::new();
        for (place, change) in self.pending.iter().enumerate() {
            let (start, end) = match change {
                Change::Write(at, data) => (*at, at + data.len()),
                Change::Length(new) => (*new, longest),
            };
            let mut at = start;
            while at < end {
                let sector = at / SECTOR;
                let stop = ((sector + 1) * SECTOR).min(end);
                let limit = *kept.entry(sector).or_insert_with(|| random.below(self.pending.len() + 1));
                if place < limit {
                    match change {
                        Change::Write(from, data) => {
                            bytes[at..stop].copy_from_slice(&data[at - from..stop - from]);
                        }
                        Change::Length(_) => bytes[at..stop].fill(0),
                    }
                }
                at = stop;
            }
        }
        bytes.truncate(length);
        bytes
    }
}

/// A seeded sequence (splitmix64, Steele et al. 2014): faults have to repeat.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }
}
