//! Opening after whatever happened: what the journal has and the catalog has not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use redb::Durability;

use crate::catalog::{Put, Table, decode_puts, put_meta};
use crate::collection::{CollectionCore, Shared};
use crate::commit::journal_path;
use crate::entry_keys::parts;
use crate::error::StorageError;
use crate::journal::Journal;
use crate::record::Record;
use crate::rows::SEGMENT_ROWS;

/// What opening found amiss. All zero after an orderly end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Commits that the journal had and the catalog had not.
    pub replayed: usize,
    /// Bytes at the journal's end that a crash tore; nothing in them had been safe.
    pub torn_bytes: u64,
    /// Rows named by replayed commits whose vectors are damaged.
    pub damaged_rows: usize,
    /// Where the journal is damaged although it had been safe, if it is; commits behind it are lost. 0: its header; then nobody
    /// knows whether the catalog has all that it had, and `replayed` commits were whole all the same.
    pub journal_damaged_at: Option<u64>,
    /// Commits that had been safe, and that the catalog does not have any more: it was damaged and went back to what it was before.
    pub lost_commits: u64,
    /// Row files whose headers were damaged or torn, and written anew; their rows carry their own checksums.
    pub mended_headers: Vec<PathBuf>,
}

/// Replays the journal into the catalog; the journal, the newest sequence, what was found.
pub(crate) fn recover(
    shared: &Shared,
    collections: &BTreeMap<Box<str>, Arc<CollectionCore>>,
) -> Result<(Journal, u64, Recovery), StorageError> {
    let path = journal_path(&shared.dir);
    let failed = |source| StorageError::Io { path: path.clone(), source };
    let mut sequence = shared.catalog.number("sequence")?.unwrap_or(0);
    let (mut journal, replay) = Journal::open(&*shared.files, &path, sequence).map_err(failed)?;
    let mut recovery = Recovery {
        torn_bytes: replay.torn_bytes,
        // Once there is a collection, there is a journal.
        journal_damaged_at: replay
            .damaged_at
            .or(((replay.is_new || replay.is_header_damaged) && !collections.is_empty()).then_some(0)),
        lost_commits: replay.base.saturating_sub(sequence),
        ..Recovery::default()
    };
    let flushed = replay.records.iter().map(|record| record.flushed).max().unwrap_or(0);
    let mut good_end = replay.start;
    for record in &replay.records {
        let Some(puts) = decode_puts(&record.content) else {
            return Err(StorageError::Journal { path: path.clone(), offset: record.end });
        };
        let damaged = damaged_rows(collections, &puts);
        if damaged > 0 && !record.are_rows_flushed && record.sequence > flushed {
            // Its rows did not reach the disk: the power went before anybody flushed them.
            recovery.torn_bytes += replay.records.last().map_or(0, |last| last.end) - good_end;
            break;
        }
        recovery.damaged_rows += damaged;
        shared.catalog.apply(&puts, Durability::None)?;
        sequence = record.sequence;
        good_end = record.end;
        recovery.replayed += 1;
    }
    if recovery.replayed > 0 {
        for rows in collections.values().flat_map(|core| &core.rows) {
            rows.sync().map_err(|source| StorageError::Io { path: shared.dir.join("rows"), source })?;
        }
        shared.catalog.apply(&[put_meta("sequence", &sequence.to_le_bytes())], Durability::Immediate)?;
    }
    if recovery.journal_damaged_at.is_none() {
        journal.restart(sequence).map_err(failed)?;
    } else {
        // Kept for who wants to look: the next checkpoint starts it anew.
        journal.cut(good_end).map_err(failed)?;
    }
    Ok((journal, sequence, recovery))
}

/// Rows named by these changes whose vectors are not in their files.
fn damaged_rows(collections: &BTreeMap<Box<str>, Arc<CollectionCore>>, puts: &[Put]) -> usize {
    let is_damaged = |put: &&Put| {
        let Some(value) = put.value.as_ref().filter(|_| put.table == Table::Rows) else { return false };
        let Some(record) = Record::decode(&put.key, value) else { return true };
        let Some(parts) = parts(&put.key) else { return true };
        let Some(core) = collections.values().find(|core| core.id == parts.collection) else { return false };
        record.vectors.iter().any(|placed| {
            let Some(rows) = core.rows.get(usize::from(placed.vector)) else { return true };
            (placed.start..placed.start.saturating_add(placed.count)).any(|position| {
                let segment = rows.segment(position as usize / SEGMENT_ROWS);
                segment.is_none_or(|segment| segment.check(position as usize % SEGMENT_ROWS).is_err())
            })
        })
    };
    puts.iter().filter(is_damaged).count()
}
