//! [`KeyTable`]: rows of keys in six bytes each.
//!
//! A key is a distance and an id; of most sets both fit into 48 bits, as 23 bits hold all distances of 128 bytes and 25 those
//! of 512. Where they do not fit, as many low bits of the distance are left out as are too many: of ten million rows of 384
//! dimensions one.
//!
//! * **T1** Keys come out as [`Packing::round`] makes them, whatever the order of writes.
//! * **T2** A row of keys is filled from the front; the rest is [`NOTHING`].

use crate::keep::{elements, starts};
use crate::reservoir::{NOTHING, id_of};

/// Bits of a packed key.
const BITS: u32 = 48;

/// A packed place without a row: no id has all its bits set.
const EMPTY: u64 = (1 << BITS) - 1;

/// How keys of one table are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packing {
    id_bits: u32,
    /// Low bits of distances that are left out.
    shift: u32,
}

impl Packing {
    /// For ids below `rows` and distances up to `largest`.
    pub(crate) fn of(rows: usize, largest: i32) -> Self {
        let id_bits = u32::BITS - (rows as u32).leading_zeros();
        let distance_bits = u32::BITS - (largest as u32).leading_zeros();
        Self { id_bits, shift: (distance_bits + id_bits).saturating_sub(BITS) }
    }

    /// For distances between codes of `dim` bytes.
    pub(crate) fn of_codes(rows: usize, dim: usize) -> Self {
        Self::of(rows, i32::try_from(dim * 255 * 255).unwrap_or(i32::MAX))
    }

    /// A distance without the bits that are left out.
    #[inline(always)]
    pub(crate) fn round(self, distance: i32) -> i32 {
        distance >> self.shift << self.shift
    }

    /// The largest distance that is rounded to the same.
    #[inline(always)]
    pub(crate) fn last_of(self, rounded: i32) -> i32 {
        rounded | ((1 << self.shift) - 1)
    }

    #[inline(always)]
    fn pack(self, full: u64) -> u64 {
        let packed = (full >> 32 >> self.shift) << self.id_bits | u64::from(id_of(full));
        if full == NOTHING { EMPTY } else { packed }
    }

    #[inline(always)]
    fn unpack(self, packed: u64) -> u64 {
        let full = packed >> self.id_bits << self.shift << 32 | packed & ((1 << self.id_bits) - 1);
        if packed == EMPTY { NOTHING } else { full }
    }
}

/// Rows of `width` keys.
pub(crate) struct KeyTable {
    packing: Packing,
    rows: usize,
    width: usize,
    low: Vec<u32>,
    high: Vec<u16>,
}

impl KeyTable {
    /// `rows` rows without a key.
    pub(crate) fn new(packing: Packing, rows: usize, width: usize) -> Self {
        Self { packing, rows, width, low: vec![u32::MAX; rows * width], high: vec![u16::MAX; rows * width] }
    }

    /// The table whose [`parts`](Self::parts) these are, if they are of one such.
    pub(crate) fn of_parts(
        packing: Packing,
        rows: usize,
        width: usize,
        [low, high]: [&[u8]; 2],
    ) -> Option<Self> {
        let table = Self { packing, rows, width, low: elements(low)?, high: elements(high)? };
        let places = rows * width;
        let is_sound = table.low.len() == places && table.high.len() == places;
        (is_sound && are_rows(&table.low, &table.high, packing, rows)).then_some(table)
    }

    /// All of it as bytes.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [bytemuck::cast_slice(&self.low), bytemuck::cast_slice(&self.high)]
    }

    /// Puts the keys of a row in `out`.
    pub(crate) fn read(&self, row: usize, out: &mut Vec<u64>) {
        out.clear();
        out.extend(self.row(row));
    }

    /// The keys of a row.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = u64> {
        let (places, packing) = (row * self.width..(row + 1) * self.width, self.packing);
        unpacked(&self.low[places.clone()], &self.high[places], packing).take_while(|&key| key != NOTHING)
    }

    /// Parts of at most `rows` rows.
    pub(crate) fn parts_mut(&mut self, rows: usize) -> Vec<KeyPart<'_>> {
        let (width, packing) = (self.width, self.packing);
        let (low, high) =
            (self.low.chunks_mut(rows * width.max(1)), self.high.chunks_mut(rows * width.max(1)));
        low.zip(high).map(|(low, high)| KeyPart { packing, width, low, high }).collect()
    }

    /// The same keys without empty places.
    pub(crate) fn compact(mut self) -> KeyLists {
        let mut starts = Vec::with_capacity(self.rows + 1);
        let mut end = 0;
        starts.push(0);
        for from in (0..self.rows).map(|row| row * self.width) {
            let count = unpacked(&self.low[from..from + self.width], &self.high[from..], self.packing)
                .take_while(|&key| key != NOTHING)
                .count();
            self.low.copy_within(from..from + count, end);
            self.high.copy_within(from..from + count, end);
            end += count;
            starts.push(end);
        }
        let Self { packing, mut low, mut high, .. } = self;
        low.truncate(end);
        low.shrink_to_fit();
        high.truncate(end);
        high.shrink_to_fit();
        KeyLists { packing, starts, low, high }
    }
}

#[inline(always)]
fn unpacked<'a>(low: &'a [u32], high: &'a [u16], packing: Packing) -> impl Iterator<Item = u64> + 'a {
    low.iter().zip(high).map(move |(&low, &high)| packing.unpack(u64::from(high) << 32 | u64::from(low)))
}

/// Whether all keys name one of `rows` rows.
fn are_rows(low: &[u32], high: &[u16], packing: Packing, rows: usize) -> bool {
    unpacked(low, high, packing).all(|key| key == NOTHING || (id_of(key) as usize) < rows)
}

/// Some rows of a table.
pub(crate) struct KeyPart<'a> {
    packing: Packing,
    width: usize,
    low: &'a mut [u32],
    high: &'a mut [u16],
}

impl KeyPart<'_> {
    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.low.len() / self.width.max(1)
    }

    /// The last key of a row, or [`NOTHING`].
    #[inline]
    pub(crate) fn last(&self, row: usize) -> u64 {
        let at = (row + 1) * self.width - 1;
        self.packing.unpack(u64::from(self.high[at]) << 32 | u64::from(self.low[at]))
    }

    /// Puts the keys of a row in `out`.
    pub(crate) fn read(&self, row: usize, out: &mut Vec<u64>) {
        let places = row * self.width..(row + 1) * self.width;
        out.clear();
        let all = unpacked(&self.low[places.clone()], &self.high[places], self.packing);
        out.extend(all.take_while(|&key| key != NOTHING));
    }

    /// Puts all places of a row in `out`, those without a key last.
    pub(crate) fn read_all(&self, row: usize, out: &mut Vec<u64>) {
        let places = row * self.width..(row + 1) * self.width;
        out.resize(self.width, NOTHING);
        let all = unpacked(&self.low[places.clone()], &self.high[places], self.packing);
        out.iter_mut().zip(all).for_each(|(out, key)| *out = key);
    }

    /// Replaces the keys of a row by as many others as it has places.
    pub(crate) fn write_all(&mut self, row: usize, keys: &[u64]) {
        let places = row * self.width..(row + 1) * self.width;
        let (low, high) = (&mut self.low[places.clone()], &mut self.high[places]);
        for ((low, high), &key) in low.iter_mut().zip(high).zip(keys) {
            let packed = self.packing.pack(key);
            (*low, *high) = (packed as u32, (packed >> 32) as u16);
        }
    }

    /// Replaces the keys of a row by at most `width` others.
    pub(crate) fn write(&mut self, row: usize, keys: &[u64]) {
        let places = row * self.width..(row + 1) * self.width;
        let (low, high) = (&mut self.low[places.clone()], &mut self.high[places]);
        let filled = keys.iter().copied().chain(std::iter::repeat(NOTHING));
        for ((low, high), key) in low.iter_mut().zip(high).zip(filled) {
            let packed = self.packing.pack(key);
            (*low, *high) = (packed as u32, (packed >> 32) as u16);
        }
    }
}

/// Keys row after row, without empty places.
pub(crate) struct KeyLists {
    packing: Packing,
    starts: Vec<usize>,
    low: Vec<u32>,
    high: Vec<u16>,
}

impl KeyLists {
    /// The lists whose [`parts`](Self::parts) these are, if they are those of `lists` lists that name `rows` rows.
    pub(crate) fn of_parts(
        packing: Packing,
        (lists, rows): (usize, usize),
        [from, low, high]: [&[u8]; 3],
    ) -> Option<Self> {
        let (low, high): (Vec<u32>, Vec<u16>) = (elements(low)?, elements(high)?);
        let is_sound = low.len() == high.len() && are_rows(&low, &high, packing, rows);
        is_sound.then_some(Self { packing, starts: starts(from, lists, low.len())?, low, high })
    }

    /// All of it as bytes.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        let Self { starts, low, high, .. } = self;
        [bytemuck::cast_slice(starts), bytemuck::cast_slice(low), bytemuck::cast_slice(high)]
    }

    /// The keys of a row.
    #[inline]
    pub(crate) fn of(&self, row: usize) -> impl Iterator<Item = u64> {
        let places = self.starts[row]..self.starts[row + 1];
        unpacked(&self.low[places.clone()], &self.high[places], self.packing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reservoir::key;

    #[test]
    fn keys_come_out_as_they_went_in() {
        for (rows, largest) in
            [(1, 0), (2, 7), (200_000, 128 * 65_025), (1 << 24, 384 * 65_025), (1 << 30, i32::MAX)]
        {
            let packing = Packing::of(rows, largest);
            for distance in [0, 1, largest / 3, largest - largest.min(1), largest] {
                for id in [0, rows as u32 / 2, rows as u32 - 1] {
                    let rounded = packing.round(distance);
                    assert_eq!(
                        packing.unpack(packing.pack(key(distance, id))),
                        key(rounded, id),
                        "{rows}, {largest}"
                    );
                    assert!(rounded <= distance && distance <= packing.last_of(rounded));
                }
            }
            assert_eq!(packing.unpack(packing.pack(NOTHING)), NOTHING);
        }
        assert_eq!(Packing::of_codes(10_000_000, 384).shift, 1);
        assert_eq!(Packing::of_codes(8_000_000, 128).shift, 0);
    }

    #[test]
    fn tables_are_read_as_they_were_written() {
        let mut table = KeyTable::new(Packing::of(100, 1000), 7, 3);
        let keys = |row: usize| (0..row % 4).map(|at| key(at as i32 * 10, row as u32)).collect::<Vec<_>>();
        for (part, mut rows) in table.parts_mut(2).into_iter().enumerate() {
            for row in 0..rows.rows() {
                assert_eq!(rows.last(row), NOTHING);
                rows.write(row, &[key(999, 99); 3]);
                rows.write(row, &keys(part * 2 + row));
            }
        }
        let mut out = Vec::new();
        for row in 0..7 {
            table.read(row, &mut out);
            assert_eq!(out, keys(row));
        }
        let lists = table.compact();
        (0..7).for_each(|row| assert_eq!(lists.of(row).collect::<Vec<_>>(), keys(row)));
    }
}
