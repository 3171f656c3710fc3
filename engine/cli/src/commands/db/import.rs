//! `orthant db import`: vectors from one file, payloads from another, row by row.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use orthant_formats::VectorFile;
use orthant_store::{Collection, FieldType, Payload, Row, Schema};
use parquet::file::reader::SerializedFileReader;
use parquet::record::Field;
use parquet::record::reader::RowIter;
use serde_json::{Value, json};

use super::{collection, key};
use crate::args::ImportArgs;
use crate::failure::WithHint;
use crate::output::{Output, plural, rate, seconds};
use crate::progress::Progress;
use crate::vectors;

type Payloads = Box<dyn Iterator<Item = anyhow::Result<Payload>>>;

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    if let Some(from) = &args.from {
        return super::export::back(&args.rows.place, from);
    }
    let (database, collection) = collection(&args.rows.place)?;
    let schema = collection.schema();
    let file = args.vectors.as_deref().map(vectors::open).transpose()?;
    let payloads = args.payload.as_deref().map(|path| payloads(path, &schema)).transpose()?;
    let total = file.as_ref().map_or(0, |file| file.rows());
    let progress = Progress::start("importing", total);
    let started = Instant::now();
    let mut written = 0;
    let imported = import(args, &collection, file.as_ref(), payloads, &progress, &mut written);
    let count = match imported {
        Err(error) if written > 0 => Err(error).hint(format!(
            "the first {} are written; importing again replaces those of the same key",
            plural(written, "row", "rows")
        ))?,
        other => other?,
    };
    progress.finish();
    let took = started.elapsed().as_secs_f64();
    database.close()?;
    let output = Output::new(args.rows.place.json);
    let rows = plural(count, "row", "rows");
    output.line(format_args!("imported {rows} in {}: {} rows/s", seconds(took), rate(count, took)))?;
    if args.rows.place.json {
        output.object(&json!({"rows": count, "seconds": took}))?;
    }
    Ok(())
}

/// Writes all rows; how many. `written`: those that are, whether or not all went well.
fn import(
    args: &ImportArgs,
    collection: &Collection,
    file: Option<&VectorFile>,
    mut payloads: Option<Payloads>,
    progress: &Progress,
    written: &mut usize,
) -> anyhow::Result<usize> {
    let total = file.map_or(0, VectorFile::rows);
    let mut batches: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let mut waiting = 0;
    let mut count = 0;
    loop {
        if file.is_some() && count == total {
            if let Some(payload) = payloads.as_mut().and_then(Iterator::next) {
                payload?;
                bail!("there are more payloads than the {total} vectors");
            }
            break;
        }
        let mut payload = match payloads.as_mut().map(Iterator::next) {
            None => Payload::new(),
            Some(Some(payload)) => payload?,
            Some(None) if file.is_none() => break,
            Some(None) => bail!("there are {count} payloads for {total} vectors"),
        };
        let name = match &args.key {
            None => count.to_string(),
            Some(field) => {
                text(payload.get(field)).with_context(|| format!("row {count}: no key in {field:?}"))?
            }
        };
        let tenant = match &args.tenant_field {
            None => args.rows.tenant.clone(),
            Some(field) => {
                text(payload.get(field)).with_context(|| format!("row {count}: no tenant in {field:?}"))?
            }
        };
        let mut row = Row::without_vector(key(&name));
        if let Some(file) = file {
            let mut elements = vec![0.0; file.dim()];
            file.read_row(count, &mut elements)?;
            row = Row::new(key(&name), elements);
        }
        if let Some(field) = &args.vector_column {
            let elements =
                payload.remove(field).with_context(|| format!("row {count}: no vector in {field:?}"))?;
            let elements: Vec<f32> = serde_json::from_value(elements)
                .with_context(|| format!("row {count}: {field:?} is no list of numbers"))?;
            row = Row::new(key(&name), elements);
        }
        row.payload = payload;
        batches.entry(tenant).or_default().push(row);
        waiting += 1;
        count += 1;
        if waiting == args.batch {
            write(collection, &mut batches)?;
            *written = count;
            waiting = 0;
            progress.set(count);
        }
    }
    write(collection, &mut batches)?;
    Ok(count)
}

fn write(collection: &Collection, batches: &mut BTreeMap<String, Vec<Row>>) -> anyhow::Result<()> {
    for (tenant, rows) in std::mem::take(batches) {
        collection.tenant(&tenant)?.upsert_batch(rows)?;
    }
    Ok(())
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The payloads of a file, one per row.
fn payloads(path: &Path, schema: &Schema) -> anyhow::Result<Payloads> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let shown = path.display().to_string();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("jsonl" | "ndjson") => {
            let lines = BufReader::new(file).lines().enumerate();
            // Blank lines hold no row: many files end with one.
            let lines = lines.filter(|(_, line)| !line.as_ref().is_ok_and(|line| line.trim().is_empty()));
            let parsed = lines.map(move |(number, line)| {
                let line = line.with_context(|| shown.clone())?;
                let value =
                    serde_json::from_str(&line).with_context(|| format!("{shown}: line {}", number + 1))?;
                Ok(value)
            });
            Ok(Box::new(parsed))
        }
        Some("csv") => {
            let mut reader = csv::Reader::from_reader(BufReader::new(file));
            let header = reader.headers().with_context(|| shown.clone())?.clone();
            let schema = schema.clone();
            let rows = reader.into_records().enumerate().map(move |(number, record)| {
                let record = record.with_context(|| format!("{shown}: row {}", number + 1))?;
                ensure!(
                    record.len() == header.len(),
                    "{shown}: row {} has another number of columns",
                    number + 1
                );
                Ok(header
                    .iter()
                    .zip(&record)
                    .filter_map(|(name, text)| csv_value(&schema, name, text))
                    .collect())
            });
            Ok(Box::new(rows))
        }
        Some("parquet") => {
            let reader = SerializedFileReader::new(file).with_context(|| shown.clone())?;
            let rows = RowIter::from_file_into(Box::new(reader)).enumerate().map(move |(number, row)| {
                let row = row.with_context(|| format!("{shown}: row {number}"))?;
                let fields = row.into_columns().into_iter();
                Ok(fields
                    .map(|(name, field)| (name, parquet_value(&field)))
                    .filter(|(_, value)| !value.is_null())
                    .collect())
            });
            Ok(Box::new(rows))
        }
        _ => bail!("{}: payloads are .jsonl, .csv or .parquet", path.display()),
    }
}

/// A value of Parquet as JSON. Moments become RFC 3339; bytes that are no text, and numbers that JSON lacks, are missing.
fn parquet_value(field: &Field) -> Value {
    match field {
        Field::Float16(number) => json!(f32::from(*number)),
        Field::Float(number) => json!(number),
        Field::Double(number) => json!(number),
        Field::Bool(flag) => json!(flag),
        Field::Byte(number) => json!(number),
        Field::Short(number) => json!(number),
        Field::Int(number) => json!(number),
        Field::Long(number) => json!(number),
        Field::UByte(number) => json!(number),
        Field::UShort(number) => json!(number),
        Field::UInt(number) => json!(number),
        Field::ULong(number) => json!(number),
        Field::Str(text) => json!(text),
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, |text| json!(text)),
        // Shown as `2026-01-31 12:00:00.000 +00:00`.
        Field::TimestampMillis(_) | Field::TimestampMicros(_) => {
            let shown = field.to_string();
            let mut parts = shown.split(' ');
            let (day, time, offset) = (parts.next(), parts.next(), parts.next());
            json!(format!(
                "{}T{}{}",
                day.unwrap_or_default(),
                time.unwrap_or_default(),
                offset.unwrap_or("Z")
            ))
        }
        Field::Group(row) => {
            row.get_column_iter().map(|(name, field)| (name.clone(), parquet_value(field))).collect()
        }
        Field::ListInternal(list) => list.elements().iter().map(parquet_value).collect(),
        Field::MapInternal(map) => {
            let key = |field: &Field| match parquet_value(field) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.entries().iter().map(|(name, field)| (key(name), parquet_value(field))).collect()
        }
        Field::Null => Value::Null,
        // Decimals, dates, times and what is to come: as Parquet's own library shows them.
        other => json!(other.to_string()),
    }
}

/// A cell as the schema has the field; an empty one is missing. Tags are separated by semicolons.
fn csv_value(schema: &Schema, name: &str, text: &str) -> Option<(String, Value)> {
    if text.is_empty() {
        return None;
    }
    let kind = schema.field(name).map(|(_, field)| field.kind);
    let value = match kind {
        Some(FieldType::Tags) => json!(text.split(';').collect::<Vec<_>>()),
        Some(FieldType::Integer | FieldType::Float | FieldType::Bool | FieldType::Geo) => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        _ => json!(text),
    };
    Some((name.to_owned(), value))
}
