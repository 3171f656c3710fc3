//! The journal: every commit since the catalog was last made safe, in order.
//!
//! A commit is acknowledged when it is here (and flushed, as the policy has it). The catalog learns of it in a transaction that
//! is not flushed by itself; from time to time the catalog is flushed as a whole and the journal starts anew. Opening replays
//! what the catalog does not have.
//!
//! # Layout (version 3, little endian; version 2 had its header once, version 1 its magic alone)
//! ```text
//! 0     header: magic "ORTHJRN3", sequence u64 of the catalog when the journal was begun, CRC-64/NVME over both
//! 24    the header once more
//! 48    records: magic u32, bytes of content u32, sequence u64, flushed u64, content, CRC-64/NVME over all before it
//! ```
//! * **J1** Sequences count up by one. A record that the catalog has already is skipped.
//! * **J2** `flushed` is the newest sequence that was known to be safe, rows included, when the record was written. A bad record
//!   with a later one that vouches for it is damage; one that nobody vouches for is the tail that a crash tore.
//! * **J3** A commit's rows are flushed before its record is, or together with it by an interval; the flag
//!   [`ROWS_FLUSHED`] in a record says which, so that a row that is missing can be told from a torn one.
//! * **J4** The header's sequence is written after the catalog that has it was flushed. A catalog with an older one went back to
//!   what it was before, as redb does where its newest commit is damaged: that is told, for no record here would show it.
//! * **J5** Both headers lie in one sector, which a crash leaves old or new (files D1), and a write that is cut short leaves one of them
//!   whole: where neither matches its checksum, that is damage.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::checksum::Checksum;
use crate::files::{FileHandle, Files};

const MAGIC: [u8; 8] = *b"ORTHJRN3";
/// Of version 2, with one header of [`SLOT`] bytes.
const SINGLE_MAGIC: [u8; 8] = *b"ORTHJRN2";
/// Of version 1, without the rest of a header.
const OLD_MAGIC: [u8; 8] = *b"ORTHJRN1";
const RECORD_MAGIC: u32 = 0x6a72_6e6c;
const SLOT: usize = 24;
const HEADER: u64 = 2 * SLOT as u64;
const RECORD_HEADER: usize = 24;
const SUM: usize = 8;

/// In the highest bit of `flushed`: the rows of this very record were flushed before it was written (J3).
const ROWS_FLUSHED: u64 = 1 << 63;

/// The open journal, written by the committing thread alone.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Arc<dyn FileHandle>,
    end: u64,
}

/// A commit found in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) sequence: u64,
    /// The newest sequence known to be safe when it was written.
    pub(crate) flushed: u64,
    pub(crate) are_rows_flushed: bool,
    pub(crate) content: Vec<u8>,
    /// Where it ends in the file.
    pub(crate) end: u64,
}

/// What reading a journal found.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) records: Vec<Record>,
    /// Where a record that was flushed is damaged; what follows it is not in `records`.
    pub(crate) damaged_at: Option<u64>,
    /// Bytes behind the last record that hold nothing that was safe.
    pub(crate) torn_bytes: u64,
    /// The sequence that the catalog had when the journal was begun (J4); 0 where that is not known.
    pub(crate) base: u64,
    /// The header is damaged (J5): whether the catalog has what it had is not known.
    pub(crate) is_header_damaged: bool,
    /// There was no journal, or less than its header.
    pub(crate) is_new: bool,
    /// Where records begin.
    pub(crate) start: u64,
}

fn slot(magic: [u8; 8], sequence: u64) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let sum = Checksum::of(&[&bytes]);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn header(sequence: u64) -> Vec<u8> {
    slot(MAGIC, sequence).repeat(2)
}

/// The sequence of the slot at the beginning of `bytes`, if it is whole.
fn sequence_of(magic: [u8; 8], bytes: &[u8]) -> Option<u64> {
    let sequence = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    bytes.starts_with(&slot(magic, sequence)).then_some(sequence)
}

/// Where records begin, and the sequence that the catalog had; `None` for a header that is damaged.
fn read_header(bytes: &[u8]) -> (usize, Option<u64>) {
    let slots = [sequence_of(MAGIC, bytes), bytes.get(SLOT..).and_then(|rest| sequence_of(MAGIC, rest))];
    if let Some(sequence) = slots.into_iter().flatten().max() {
        (HEADER as usize, Some(sequence))
    } else if bytes.starts_with(&SINGLE_MAGIC) {
        // A write that was cut short left it torn, and says nothing.
        (SLOT, Some(sequence_of(SINGLE_MAGIC, bytes).unwrap_or(0)))
    } else if bytes.starts_with(&OLD_MAGIC) {
        (OLD_MAGIC.len(), Some(0))
    } else {
        (HEADER as usize, None)
    }
}

impl Journal {
    /// Opens the journal at `path` and reads the commits after `sequence`, which the catalog has.
    pub(crate) fn open(files: &dyn Files, path: &Path, sequence: u64) -> io::Result<(Self, Replay)> {
        let file = files.create(path)?;
        let length = file.len()?;
        let mut bytes = vec![0; length as usize];
        file.read_at(0, &mut bytes)?;
        let shortest = match bytes.get(..8) {
            Some(magic) if magic == OLD_MAGIC => OLD_MAGIC.len(),
            Some(magic) if magic == SINGLE_MAGIC => SLOT,
            _ => HEADER as usize,
        };
        if bytes.len() < shortest {
            // Never used: a record is only written behind a flushed header, which is never cut.
            file.set_len(0)?;
            file.write_at(0, &header(sequence))?;
            file.sync()?;
            if let Some(dir) = path.parent() {
                files.sync_dir(dir)?;
            }
            let replay = Replay {
                records: Vec::new(),
                damaged_at: None,
                torn_bytes: 0,
                base: sequence,
                is_header_damaged: false,
                is_new: true,
                start: HEADER,
            };
            return Ok((Self { file, end: HEADER }, replay));
        }
        let replay = replay(&bytes, sequence);
        let end = replay.records.last().map_or(replay.start, |record| record.end);
        Ok((Self { file, end }, replay))
    }

    /// Appends a commit. After an error the journal is as before, or the error of cutting it back is given as well.
    pub(crate) fn append(
        &mut self,
        sequence: u64,
        flushed: u64,
        are_rows_flushed: bool,
        content: &[u8],
    ) -> Result<(), AppendError> {
        if u32::try_from(content.len()).is_err() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "a commit of 4 GiB and more");
            return Err(AppendError { source, is_cut: true });
        }
        let flags = if are_rows_flushed { ROWS_FLUSHED } else { 0 };
        let mut record = Vec::with_capacity(RECORD_HEADER + content.len() + SUM);
        record.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
        record.extend_from_slice(&(content.len() as u32).to_le_bytes());
        record.extend_from_slice(&sequence.to_le_bytes());
        record.extend_from_slice(&(flushed | flags).to_le_bytes());
        record.extend_from_slice(content);
        let sum = Checksum::of(&[&record]);
        record.extend_from_slice(&sum.to_le_bytes());
        if let Err(source) = self.file.write_at(self.end, &record) {
            let is_cut = self.file.set_len(self.end).is_ok();
            return Err(AppendError { source, is_cut });
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// The file, for who flushes it beside the committing thread.
    pub(crate) fn handle(&self) -> Arc<dyn FileHandle> {
        self.file.clone()
    }

    /// Makes all records safe.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Forgets all records: the catalog has them, safely, up to `sequence`.
    pub(crate) fn restart(&mut self, sequence: u64) -> io::Result<()> {
        // Not flushed: should the old records or the old header be there again after a crash, the catalog has what they say (J1, J4).
        self.file.write_at(0, &header(sequence))?;
        self.file.set_len(HEADER)?;
        self.end = HEADER;
        Ok(())
    }

    /// Bytes of records.
    pub(crate) fn bytes(&self) -> u64 {
        self.end.saturating_sub(HEADER)
    }

    /// Cuts off everything behind `end`, the end of a record or of the header.
    pub(crate) fn cut(&mut self, end: u64) -> io::Result<()> {
        self.end = end;
        self.file.set_len(self.end)
    }
}

/// A record was not written.
#[derive(Debug)]
pub(crate) struct AppendError {
    pub(crate) source: io::Error,
    /// What was half written is gone.
    pub(crate) is_cut: bool,
}

fn replay(bytes: &[u8], sequence: u64) -> Replay {
    let mut records = Vec::new();
    let (start, base) = read_header(bytes);
    let is_header_damaged = base.is_none();
    let mut at = start;
    let mut expected = sequence + 1;
    while let Some(record) = record_at(bytes, at) {
        if record.sequence > expected {
            break;
        }
        at = record.end as usize;
        if record.sequence == expected {
            expected += 1;
            records.push(record);
        }
    }
    // Is there a record further on that vouches for the one that is bad here?
    let is_vouched = (at..bytes.len())
        .filter_map(|at| record_at(bytes, at))
        .any(|record| record.sequence > sequence && record.flushed >= expected);
    let is_damaged =
        is_vouched || (is_header_damaged && (at..bytes.len()).any(|at| record_at(bytes, at).is_some()));
    let (damaged_at, torn_bytes) = (is_damaged.then_some(at as u64), (bytes.len() - at) as u64);
    let (base, start) = (base.unwrap_or(0), start as u64);
    Replay { records, damaged_at, torn_bytes, base, is_header_damaged, is_new: false, start }
}

fn record_at(bytes: &[u8], at: usize) -> Option<Record> {
    let rest = bytes.get(at..)?;
    let head = rest.get(..RECORD_HEADER)?;
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap_or_default());
    let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
    if word(0) != RECORD_MAGIC {
        return None;
    }
    let end = RECORD_HEADER + word(4) as usize;
    let sum = rest.get(end..end + SUM)?;
    if Checksum::of(&[&rest[..end]]).to_le_bytes() != sum {
        return None;
    }
    Some(Record {
        sequence: long(8),
        flushed: long(16) & !ROWS_FLUSHED,
        are_rows_flushed: long(16) & ROWS_FLUSHED != 0,
        content: rest[RECORD_HEADER..end].to_vec(),
        end: (at + end + SUM) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Simulated;

    fn written(flushed: impl Fn(u64) -> u64) -> (Simulated, Vec<u64>) {
        let disk = Simulated::new();
        let (mut journal, _) = Journal::open(&disk, Path::new("/j"), 0).unwrap();
        let mut ends = vec![journal.end];
        for sequence in 1..=4 {
            journal.append(sequence, flushed(sequence), false, &[sequence as u8; 20]).unwrap();
            ends.push(journal.end);
        }
        (disk, ends)
    }

    fn open(disk: &Simulated, sequence: u64) -> (Vec<u64>, Option<u64>, u64) {
        let (_, replay) = Journal::open(disk, Path::new("/j"), sequence).unwrap();
        let sequences = replay.records.iter().map(|record| record.sequence).collect();
        (sequences, replay.damaged_at, replay.torn_bytes)
    }

    #[test]
    fn records_come_back_from_where_the_catalog_is() {
        let (disk, _) = written(|_| 0);
        assert_eq!(open(&disk, 0), (vec![1, 2, 3, 4], None, 0));
        assert_eq!(open(&disk, 2), (vec![3, 4], None, 0));
        assert_eq!(open(&disk, 9), (vec![], None, 0));
    }

    #[test]
    fn a_torn_tail_is_cut_and_damage_is_told() {
        for (is_flushed, bad) in [(false, 1), (false, 3), (true, 1), (true, 3)] {
            let (disk, ends) = written(|sequence| if is_flushed { sequence - 1 } else { 0 });
            disk.open(Path::new("/j")).unwrap().write_at(ends[bad] + 30, &[77]).unwrap();
            let (sequences, damaged, torn) = open(&disk, 0);
            assert_eq!(sequences, (1..=bad as u64).collect::<Vec<_>>());
            assert_eq!(damaged, (is_flushed && bad < 3).then_some(ends[bad]));
            assert_eq!(torn, ends[4] - ends[bad]);
        }
    }

    #[test]
    fn records_from_before_a_restart_are_not_taken_again() {
        let (disk, _) = written(|_| 0);
        let old = disk.contents();
        let (mut journal, _) = Journal::open(&disk, Path::new("/j"), 4).unwrap();
        journal.restart(4).unwrap();
        journal.append(5, 4, false, &[5; 10]).unwrap();
        assert_eq!(open(&disk, 4).0, [5]);
        assert_eq!(
            open(&Simulated::with_contents(old), 4),
            (vec![], None, 0),
            "the restart did not reach the disk"
        );
    }

    #[test]
    fn a_journal_knows_what_the_catalog_had() {
        let (disk, _) = written(|_| 0);
        let base = |disk: &Simulated| {
            let (_, replay) = Journal::open(disk, Path::new("/j"), 4).unwrap();
            (replay.base, replay.is_header_damaged)
        };
        assert_eq!(base(&disk), (0, false));
        Journal::open(&disk, Path::new("/j"), 4).unwrap().0.restart(4).unwrap();
        assert_eq!(base(&disk), (4, false));
        let file = disk.open(Path::new("/j")).unwrap();
        let flip = |place: u64| {
            let mut byte = [0];
            file.read_at(place, &mut byte).unwrap();
            file.write_at(place, &[byte[0] ^ 4]).unwrap();
        };
        for place in 0..SLOT as u64 {
            flip(place);
            assert_eq!(base(&disk), (4, false), "byte {place}: there is another");
            flip(place + SLOT as u64);
            assert_eq!(base(&disk), (0, true), "byte {place} of both");
            flip(place);
            assert_eq!(base(&disk), (4, false));
            flip(place + SLOT as u64);
        }
        // Cut short anywhere, a new header leaves the old one or itself.
        for length in 0..HEADER as usize {
            file.write_at(0, &header(4)).unwrap();
            file.write_at(0, &header(9)[..length]).unwrap();
            let (base, is_damaged) = base(&disk);
            assert!((base == 4 || base == 9) && !is_damaged, "{length} bytes");
        }
    }

    #[test]
    fn journals_of_earlier_versions_are_read() {
        for old in [OLD_MAGIC.to_vec(), slot(SINGLE_MAGIC, 1)] {
            read_of(&old);
        }
    }

    fn read_of(old: &[u8]) {
        let (disk, _) = written(|_| 0);
        let mut files = disk.contents();
        let (_, bytes) = files.iter_mut().find(|(path, _)| path == Path::new("/j")).unwrap();
        let records = bytes.split_off(HEADER as usize);
        *bytes = [old, &records].concat();
        let disk = Simulated::with_contents(files);
        assert_eq!(open(&disk, 1), (vec![2, 3, 4], None, 0));
        let (mut journal, replay) = Journal::open(&disk, Path::new("/j"), 4).unwrap();
        assert_eq!((replay.is_header_damaged, replay.base), (false, u64::from(old.len() == SLOT)));
        journal.restart(4).unwrap();
        journal.append(5, 4, false, &[5; 10]).unwrap();
        assert_eq!(open(&disk, 4), (vec![5], None, 0));
    }
}
