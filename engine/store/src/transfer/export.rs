//! Writing a collection into a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orthant_engine::Key;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::{EXPORT_VERSION, GROUP_ROWS, Item, MANIFEST_KEY, Manifest, RowsSum, TransferError, columns};
use crate::catalog::ROWS;
use crate::entry_keys::{parts, prefix_end};
use crate::error::{ReadError, WriteError};
use crate::record::Record;
use crate::rows::SEGMENT_ROWS;
use crate::schema::Schema;
use crate::segment::Segment;
use crate::tenant::Collection;

type Writer = SerializedFileWriter<BufWriter<File>>;

impl Collection {
    /// Writes the collection as it is at this moment into the file `path`, which is replaced if it is there. Readers and writers go
    /// on meanwhile. Snapshots are not in it.
    ///
    /// # Errors
    /// [`TransferError`]; [`ReadError::RowDamaged`] with the first damaged row. `path` is as it was then.
    pub fn export(&self, path: impl AsRef<Path>) -> Result<Manifest, TransferError> {
        let path = path.as_ref();
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let done = self.export_to(path, &unfinished);
        if done.is_err() {
            // Half of a file is of no use; that it cannot be removed changes nothing about the error.
            let _ = std::fs::remove_file(&unfinished);
        }
        done
    }

    fn export_to(&self, path: &Path, unfinished: &Path) -> Result<Manifest, TransferError> {
        let io = |source| TransferError::Io { path: path.to_path_buf(), source };
        let parquet = |source| TransferError::Parquet { path: path.to_path_buf(), source };
        let moment = Moment::take(self)?;
        let schema = moment.schema.clone();
        let file = File::create(unfinished).map_err(io)?;
        let whole = file.try_clone().map_err(io)?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(true);
        for vector in &schema.vectors {
            // Elements of vectors rarely repeat and hardly shrink.
            let parts = [format!("vector:{}", vector.name), "list".to_owned(), "element".to_owned()];
            let column = ColumnPath::new(parts.to_vec());
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column.clone(), Encoding::PLAIN)
                .set_column_compression(column, Compression::UNCOMPRESSED);
        }
        let columns = columns(&schema).map_err(parquet)?;
        let mut writer: Writer =
            SerializedFileWriter::new(BufWriter::new(file), columns, Arc::new(properties.build()))
                .map_err(parquet)?;

        let (mut rows, mut sum) = (0, RowsSum::default());
        let mut group = Vec::with_capacity(GROUP_ROWS);
        moment.for_each(|item| {
            sum.add(&item);
            rows += 1;
            group.push(item);
            if group.len() == GROUP_ROWS {
                write_group(&mut writer, &group, &schema).map_err(parquet)?;
                group.clear();
            }
            Ok(())
        })?;
        if !group.is_empty() {
            write_group(&mut writer, &group, &schema).map_err(parquet)?;
        }
        let manifest = Manifest {
            format: EXPORT_VERSION,
            collection: self.name().into(),
            sequence: moment.sequence,
            rows,
            checksum: sum.text(),
            schema: (*schema).clone(),
        };
        // A struct of texts and numbers always has a text.
        let text = serde_json::to_string(&manifest).unwrap_or_default();
        writer.append_key_value_metadata(KeyValue::new(MANIFEST_KEY.to_owned(), text));
        let mut buffer = writer.into_inner().map_err(parquet)?;
        buffer.flush().map_err(io)?;
        whole.sync_all().map_err(io)?;
        std::fs::rename(unfinished, path).map_err(io)?;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        }
        Ok(manifest)
    }
}

/// A collection as it was at one moment (T1).
struct Moment<'a> {
    collection: &'a Collection,
    schema: Arc<Schema>,
    sequence: u64,
    read: redb::ReadTransaction,
    /// The row files, held so that compaction cannot take them away: by vector, by number.
    segments: Vec<Vec<Option<Arc<Segment>>>>,
}

impl<'a> Moment<'a> {
    fn take(collection: &'a Collection) -> Result<Self, TransferError> {
        let core = collection.core.clone();
        // On the committing thread: nobody commits, adds a field or removes a file meanwhile.
        let (read, segments, schema, sequence) = collection.database.task(move |committer| {
            let read = core.shared.catalog.read().map_err(|error| WriteError::Storage(Arc::new(error)))?;
            let segments = core.rows.iter().map(|rows| rows.segments()).collect();
            Ok::<_, WriteError>((read, segments, core.schema(), committer.sequence))
        })??;
        Ok(Self { collection, schema, sequence, read, segments })
    }

    /// Calls `each` for every row: by tenant, by key.
    fn for_each(&self, mut each: impl FnMut(Item) -> Result<(), TransferError>) -> Result<(), TransferError> {
        let core = &self.collection.core;
        let catalog = &core.shared.catalog;
        let failed = |error: redb::StorageError| TransferError::Read(Arc::new(catalog.error(error)).into());
        let names: std::collections::HashMap<u32, Box<str>> = core
            .tenant_names()
            .map_err(|error| ReadError::from(Arc::new(error)))?
            .into_iter()
            .map(|(name, id)| (id, name))
            .collect();
        let table = self.read.open_table(ROWS);
        let table = table.map_err(|error| ReadError::from(Arc::new(catalog.error(error))))?;
        let damaged = || TransferError::Read(Arc::new(catalog.damaged("a row")).into());
        let prefix = core.entry_keys.all();
        let end = prefix_end(&prefix);
        for entry in table.range(&prefix[..]..&end[..]).map_err(failed)? {
            let (place, value) = entry.map_err(failed)?;
            let (place, value) = (place.value(), value.value());
            let record = Record::decode(place, value).ok_or_else(damaged)?;
            let parts = parts(place).ok_or_else(damaged)?;
            let tenant = names.get(&parts.tenant).ok_or_else(damaged)?.clone();
            let key = parts.key().ok_or_else(damaged)?;
            let mut vectors = vec![Vec::new(); self.schema.vectors.len()];
            for placed in &record.vectors {
                let number = usize::from(placed.vector);
                let (vector, segments) =
                    vectors.get_mut(number).zip(self.segments.get(number)).ok_or_else(damaged)?;
                for position in placed.start..placed.start.saturating_add(placed.count) {
                    let segment = segments.get(position as usize / SEGMENT_ROWS).and_then(Option::as_ref);
                    let row = segment.and_then(|segment| segment.row(position as usize % SEGMENT_ROWS).ok());
                    let Some(row) = row else {
                        let vector = self.schema.vectors[number].name.clone();
                        return Err(ReadError::RowDamaged { key, vector }.into());
                    };
                    vector.extend_from_slice(row);
                }
            }
            each(Item { tenant, key, payload: record.payload, vectors })?;
        }
        Ok(())
    }
}

/// Writes rows as one row group.
fn write_group(writer: &mut Writer, rows: &[Item], schema: &Schema) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    let missing = || ParquetError::General("a column is missing".to_owned());
    let texts = |bytes: &[u8]| ByteArray::from(bytes.to_vec());

    let mut column = group.next_column()?.ok_or_else(missing)?;
    let tenants: Vec<ByteArray> = rows.iter().map(|row| texts(row.tenant.as_bytes())).collect();
    column.typed::<ByteArrayType>().write_batch(&tenants, None, None)?;
    column.close()?;

    let number = |row: &Item| if let Key::Int(number) = row.key { Some(number as i64) } else { None };
    let mut column = group.next_column()?.ok_or_else(missing)?;
    let numbers: Vec<i64> = rows.iter().filter_map(number).collect();
    let levels: Vec<i16> = rows.iter().map(|row| i16::from(number(row).is_some())).collect();
    column.typed::<Int64Type>().write_batch(&numbers, Some(&levels), None)?;
    column.close()?;

    let text = |row: &Item| if let Key::Str(text) = &row.key { Some(texts(text.as_bytes())) } else { None };
    let mut column = group.next_column()?.ok_or_else(missing)?;
    let keys: Vec<ByteArray> = rows.iter().filter_map(text).collect();
    let levels: Vec<i16> = rows.iter().map(|row| i16::from(text(row).is_some())).collect();
    column.typed::<ByteArrayType>().write_batch(&keys, Some(&levels), None)?;
    column.close()?;

    let mut column = group.next_column()?.ok_or_else(missing)?;
    let payload = |row: &Item| if row.payload.is_empty() { texts(b"{}") } else { texts(&row.payload) };
    let payloads: Vec<ByteArray> = rows.iter().map(payload).collect();
    column.typed::<ByteArrayType>().write_batch(&payloads, None, None)?;
    column.close()?;

    for vector in 0..schema.vectors.len() {
        let mut column = group.next_column()?.ok_or_else(missing)?;
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let elements = &row.vectors[vector];
            // 0: no list; 2: an element. An empty list, 1, is never written. The first element starts the row's list.
            defined.push(if elements.is_empty() { 0 } else { 2 });
            repeated.push(0);
            defined.extend(std::iter::repeat_n(2, elements.len().saturating_sub(1)));
            repeated.extend(std::iter::repeat_n(1, elements.len().saturating_sub(1)));
            values.extend_from_slice(elements);
        }
        column.typed::<FloatType>().write_batch(&values, Some(&defined), Some(&repeated))?;
        column.close()?;
    }
    group.close()?;
    Ok(())
}
