//! Words in memory of their own, for tables that are looked at as a whole while a file is written.
//!
//! Such a table is as large as the lists of a graph. From the heap it leaves a hole that stays with the process: a collection
//! of 100,000 rows kept 23 MB after its graph had been saved once. A region goes back to the system when it is dropped.

use std::io::{self, Write};

use orthant_storage::{MemoryOptions, Region};

/// Little-endian words that were written to it.
pub(crate) struct Words {
    region: Region,
    bytes: usize,
}

impl Words {
    pub(crate) fn new() -> io::Result<Self> {
        let region = Region::reserve(&MemoryOptions::default()).map_err(io::Error::other)?;
        Ok(Self { region, bytes: 0 })
    }

    /// The words, as those of this machine from now on: no more are written.
    pub(crate) fn finish(self) -> Finished {
        let count = self.bytes / 4;
        // SAFETY: `write` committed and filled `bytes`, a region starts on a page, and nobody else knows it.
        let words = unsafe { std::slice::from_raw_parts_mut(self.region.as_ptr().cast::<u32>(), count) };
        words.iter_mut().for_each(|word| *word = u32::from_le(*word));
        Finished { region: self.region, count }
    }
}

impl Write for Words {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.bytes + bytes.len();
        self.region.ensure(end).map_err(io::Error::other)?;
        let target = self.region.as_ptr().wrapping_add(self.bytes);
        // SAFETY: `ensure` committed the region up to `end`, and nobody else knows it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        self.bytes = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Words of this machine.
pub(crate) struct Finished {
    region: Region,
    count: usize,
}

impl std::ops::Deref for Finished {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        // SAFETY: `Words::finish` had so many words, aligned, in memory that this alone knows.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr().cast::<u32>(), self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        let mut words = Words::new().unwrap();
        assert_eq!(Words::new().unwrap().finish().len(), 0);
        let many: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for part in many.chunks(77_777) {
            words.write_all(part).unwrap();
        }
        assert!(words.finish().iter().copied().eq(0..100_000));
    }
}
