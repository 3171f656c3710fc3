//! Reading a collection from a file.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use orthant_engine::Key;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};

use super::headers::{are_pages_honest, is_footer_honest};
use super::{EXPORT_VERSION, GROUP_ROWS, Item, MANIFEST_KEY, Manifest, RowsSum, TransferError, columns};
use crate::database::Database;
use crate::row::Row;
use crate::schema::Schema;
use crate::tenant::Collection;
use crate::values::Payload;

impl Database {
    /// Makes a collection of what [`Collection::export`] wrote. It is whole when this returns; other collections go on meanwhile.
    ///
    /// # Errors
    /// [`TransferError`]; the collection is not there then. [`WriteError::Name`](crate::WriteError::Name) if the name is taken.
    pub fn import_collection(&self, name: &str, path: impl AsRef<Path>) -> Result<Collection, TransferError> {
        let path = path.as_ref();
        let failed = |source| TransferError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        let again = file.try_clone().map_err(failed)?;
        let guarded = Guarded { path };
        let source = guarded.run(|| ImportFile::open(path, file, &again))?;
        let collection = self.create_collection(name, source.manifest.schema.clone())?;
        let done = guarded.run(|| {
            source.for_each_batch(|tenant, rows| {
                collection.tenant(tenant)?.upsert_batch(rows)?;
                Ok(())
            })
        });
        match done.and_then(|()| Ok(self.flush()?)) {
            Ok(()) => Ok(collection),
            Err(error) => {
                // The first error is the one to tell.
                let _ = self.drop_collection(name);
                Err(error)
            }
        }
    }
}

/// Reads the manifest of an exported collection from `bytes`, and every row; for the fuzzer, which has no files.
///
/// # Errors
/// [`TransferError`].
#[doc(hidden)]
pub fn check_export(bytes: Vec<u8>) -> Result<Manifest, TransferError> {
    let path = Path::new("memory");
    Guarded { path }.run(|| {
        let file = bytes::Bytes::from(bytes);
        let source = ImportFile::open(path, file.clone(), &file)?;
        source.for_each_batch(|_, _| Ok(()))?;
        Ok(source.manifest)
    })
}

/// Work with a reader that is not ours, and whose panics on damaged files must not be ours either.
struct Guarded<'a> {
    path: &'a Path,
}

impl Guarded<'_> {
    fn run<R>(&self, work: impl FnOnce() -> Result<R, TransferError>) -> Result<R, TransferError> {
        // Whatever the reader was doing is thrown away with it.
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(TransferError::GaveUp { path: self.path.to_path_buf() }))
    }
}

/// An exported collection.
struct ImportFile<'a, R: ChunkReader + 'static> {
    path: &'a Path,
    reader: SerializedFileReader<R>,
    manifest: Manifest,
}

impl<'a, R: ChunkReader + 'static> ImportFile<'a, R> {
    /// Opens `file`; `again` reads the same.
    fn open(path: &'a Path, file: R, again: &R) -> Result<Self, TransferError> {
        let parquet = |source| TransferError::Parquet { path: path.to_path_buf(), source };
        let refuse = |problem| TransferError::Manifest { path: path.to_path_buf(), problem };
        if !is_footer_honest(&file) {
            return Err(refuse("the footer claims more than there is"));
        }
        let reader = SerializedFileReader::new(file).map_err(parquet)?;
        let footer = reader.metadata().file_metadata();
        let pairs = footer.key_value_metadata().into_iter().flatten();
        let text = pairs.filter(|pair| pair.key == MANIFEST_KEY).find_map(|pair| pair.value.as_deref());
        let text = text.ok_or_else(|| refuse("there is no manifest"))?;
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_str(text).map_err(|_| refuse("the manifest is no JSON"))?;
        if version.format > EXPORT_VERSION {
            return Err(TransferError::Newer { path: path.to_path_buf(), found: version.format });
        }
        let manifest: Manifest =
            serde_json::from_str(text).map_err(|_| refuse("the manifest is not what it should be"))?;
        manifest.schema.check().map_err(|_| refuse("the manifest's schema is refused"))?;
        let expected = columns(&manifest.schema).map_err(parquet)?;
        if footer.schema_descr().root_schema().get_fields() != expected.get_fields() {
            return Err(refuse("the columns are not those of the manifest's schema"));
        }
        if !are_pages_honest(&reader, again) {
            return Err(refuse("a page claims more than there is"));
        }
        Ok(Self { path, reader, manifest })
    }

    /// Calls `each` with some rows of one tenant, again and again; an error at the end if the rows were not those exported.
    fn for_each_batch(
        &self,
        mut each: impl FnMut(&str, Vec<Row>) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let parquet = |source| TransferError::Parquet { path: self.path.to_path_buf(), source };
        let (mut count, mut sum) = (0u64, RowsSum::default());
        for number in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(number).map_err(parquet)?;
            let mut columns = Columns::open(&*group, &self.manifest.schema).map_err(parquet)?;
            loop {
                let items = columns.items().map_err(|error| match error {
                    ItemsError::Parquet(source) => parquet(source),
                    ItemsError::Row(row, problem) => {
                        TransferError::Row { path: self.path.to_path_buf(), row: count + row as u64, problem }
                    }
                })?;
                if items.is_empty() {
                    break;
                }
                for batch in items.chunk_by(|a, b| a.tenant == b.tenant) {
                    let mut rows = Vec::with_capacity(batch.len());
                    for item in batch {
                        sum.add(item);
                        rows.push(self.row(count, item)?);
                        count += 1;
                    }
                    each(&batch[0].tenant, rows)?;
                }
            }
        }
        if count != self.manifest.rows || sum.text() != self.manifest.checksum {
            return Err(TransferError::Checksum { path: self.path.to_path_buf() });
        }
        Ok(())
    }

    fn row(&self, number: u64, item: &Item) -> Result<Row, TransferError> {
        let mut row = Row::without_vector(item.key.clone());
        if !item.payload.is_empty() {
            row.payload = serde_json::from_slice::<Payload>(&item.payload).map_err(|_| {
                let problem = "the payload is no JSON object";
                TransferError::Row { path: self.path.to_path_buf(), row: number, problem }
            })?;
        }
        for (field, elements) in self.manifest.schema.vectors.iter().zip(&item.vectors) {
            if !elements.is_empty() {
                row.vectors.push((field.name.clone(), elements.clone()));
            }
        }
        Ok(row)
    }
}

/// The columns of a row group, read side by side.
struct Columns {
    tenant: ColumnReaderImpl<ByteArrayType>,
    number: ColumnReaderImpl<Int64Type>,
    text: ColumnReaderImpl<ByteArrayType>,
    payload: ColumnReaderImpl<ByteArrayType>,
    vectors: Vec<ColumnReaderImpl<FloatType>>,
}

enum ItemsError {
    Parquet(ParquetError),
    Row(usize, &'static str),
}

impl From<ParquetError> for ItemsError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

fn other_type() -> ParquetError {
    ParquetError::General("a column has another type".to_owned())
}

fn bytes_column(
    group: &dyn RowGroupReader,
    number: usize,
) -> Result<ColumnReaderImpl<ByteArrayType>, ParquetError> {
    match group.get_column_reader(number)? {
        ColumnReader::ByteArrayColumnReader(column) => Ok(column),
        _ => Err(other_type()),
    }
}

impl Columns {
    fn open(group: &dyn RowGroupReader, schema: &Schema) -> Result<Self, ParquetError> {
        let number = match group.get_column_reader(1)? {
            ColumnReader::Int64ColumnReader(column) => column,
            _ => return Err(other_type()),
        };
        let vectors = (0..schema.vectors.len()).map(|vector| match group.get_column_reader(4 + vector)? {
            ColumnReader::FloatColumnReader(column) => Ok(column),
            _ => Err(other_type()),
        });
        Ok(Self {
            tenant: bytes_column(group, 0)?,
            number,
            text: bytes_column(group, 2)?,
            payload: bytes_column(group, 3)?,
            vectors: vectors.collect::<Result<_, _>>()?,
        })
    }

    /// The next rows; none at the end.
    fn items(&mut self) -> Result<Vec<Item>, ItemsError> {
        let text = |bytes: &ByteArray, row, problem| {
            std::str::from_utf8(bytes.data()).map(Box::from).map_err(|_| ItemsError::Row(row, problem))
        };
        let (mut tenants, mut payloads) = (Vec::new(), Vec::new());
        let (count, ..) = self.tenant.read_records(GROUP_ROWS, None, None, &mut tenants)?;
        self.payload.read_records(GROUP_ROWS, None, None, &mut payloads)?;
        let (mut numbers, mut has_number) = (Vec::new(), Vec::new());
        self.number.read_records(GROUP_ROWS, Some(&mut has_number), None, &mut numbers)?;
        let (mut texts, mut has_text) = (Vec::new(), Vec::new());
        self.text.read_records(GROUP_ROWS, Some(&mut has_text), None, &mut texts)?;
        if [payloads.len(), has_number.len(), has_text.len()] != [count; 3] || tenants.len() != count {
            return Err(ItemsError::Row(count, "the columns have different numbers of rows"));
        }
        let mut items = Vec::with_capacity(count);
        let (mut numbers, mut texts) = (numbers.into_iter(), texts.into_iter());
        for row in 0..count {
            let number = numbers.by_ref().take(usize::from(has_number[row] == 1)).next();
            let name = texts.by_ref().take(usize::from(has_text[row] == 1)).next();
            let key = match (number, name) {
                (Some(number), None) => Key::Int(number as u64),
                (None, Some(name)) => Key::Str(text(&name, row, "the key is no text")?),
                _ => return Err(ItemsError::Row(row, "there has to be one key")),
            };
            let payload = payloads[row].data();
            items.push(Item {
                tenant: text(&tenants[row], row, "the tenant is no text")?,
                key,
                // As the rows are kept: nothing for an empty object.
                payload: if payload == b"{}" { Box::default() } else { payload.into() },
                vectors: Vec::with_capacity(self.vectors.len()),
            });
        }
        for column in &mut self.vectors {
            let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
            let (rows, ..) =
                column.read_records(GROUP_ROWS, Some(&mut defined), Some(&mut repeated), &mut values)?;
            if rows != count {
                return Err(ItemsError::Row(rows, "the columns have different numbers of rows"));
            }
            let (mut row, mut values) = (0, values.into_iter());
            for (defined, repeated) in defined.into_iter().zip(repeated) {
                if repeated == 0 {
                    row += 1;
                    if let Some(item) = items.get_mut(row - 1) {
                        item.vectors.push(Vec::new());
                    }
                }
                if defined == 2
                    && let Some(value) = values.next()
                {
                    let place = row.checked_sub(1).and_then(|row| items.get_mut(row));
                    let place = place.and_then(|item| item.vectors.last_mut());
                    place.ok_or(ItemsError::Row(row, "a vector starts nowhere"))?.push(value);
                }
            }
            if row != count {
                return Err(ItemsError::Row(row, "the columns have different numbers of rows"));
            }
        }
        Ok(items)
    }
}
