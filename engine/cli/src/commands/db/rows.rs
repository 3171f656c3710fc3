//! Single rows: write, delete, find, list.

use anyhow::Context;
use orthant_store::{Found, Group, Literal, Page, Row, ScrollRequest, SearchRequest};
use serde_json::{Value, json};

use super::{filter, key, note_if_empty, tenant};
use crate::args::{DeleteArgs, FindArgs, ScrollArgs, UpsertArgs};
use crate::output::{Output, plural};

pub(super) fn upsert(args: &UpsertArgs) -> anyhow::Result<()> {
    let (database, _, tenant) = tenant(&args.rows)?;
    let payload: Value = serde_json::from_str(&args.payload).context("--payload is no JSON")?;
    let row = match args.vector.is_empty() {
        true => Row::without_vector(key(&args.key)),
        false => Row::new(key(&args.key), args.vector.clone()),
    };
    tenant.upsert(row.with_payload(payload).context("--payload")?)?;
    done(args.rows.place.json, 1)?;
    Ok(database.close()?)
}

pub(super) fn delete(args: &DeleteArgs) -> anyhow::Result<()> {
    let (database, collection, tenant) = tenant(&args.rows)?;
    let deleted = match filter(args.filter.as_deref())? {
        Some(filter) => tenant.delete_where(&filter)?,
        None => tenant.delete_batch(args.key.iter().map(|text| key(text)))?,
    };
    done(args.rows.place.json, deleted.rows)?;
    if deleted.rows == 0 {
        note_if_empty(&tenant, &collection)?;
    }
    Ok(database.close()?)
}

fn done(is_json: bool, rows: usize) -> anyhow::Result<()> {
    let output = Output::new(is_json);
    output.line(format_args!("{}", plural(rows, "row", "rows")))?;
    if is_json {
        output.object(&json!({"rows": rows}))?;
    }
    Ok(())
}

pub(super) fn search(args: &FindArgs) -> anyhow::Result<()> {
    let (_database, collection, tenant) = tenant(&args.rows)?;
    let mut request = SearchRequest::new(args.vector.clone(), args.k).ef(args.ef).with_payload();
    request.vector = args.on.as_deref().map(Into::into);
    request.filter = filter(args.filter.as_deref())?;
    request.radius = args.radius;
    request.diversity = args.diverse;
    request.exact = args.exact;
    if let Some(field) = &args.group_by {
        let groups = tenant.search_groups(&request, field, args.group_size)?;
        if groups.is_empty() {
            note_if_empty(&tenant, &collection)?;
        }
        return show_groups(args.rows.place.json, &groups);
    }
    let keys = |texts: &[String]| texts.iter().map(|text| key(text)).collect::<Vec<_>>();
    let found = match &args.at {
        Some(snapshot) => tenant.at(snapshot)?.search(&request)?,
        None if !args.like.is_empty() => {
            tenant.recommend(&keys(&args.like), &keys(&args.unlike), &request)?
        }
        None => tenant.search(&request)?,
    };
    if found.is_empty() {
        note_if_empty(&tenant, &collection)?;
    }
    let output = Output::new(args.rows.place.json);
    let text = |found: &Found| {
        let [key, distance, payload] = shown(found);
        vec![key, distance, payload]
    };
    output.table(&["key", "distance", "payload"], &found.iter().map(text).collect::<Vec<_>>())?;
    if args.rows.place.json {
        output.object(&json!({"found": found.iter().map(object).collect::<Vec<_>>()}))?;
    }
    Ok(())
}

/// A result as text: key, distance, payload.
fn shown(found: &Found) -> [String; 3] {
    let payload = found.payload.as_ref().map(|payload| json!(payload).to_string()).unwrap_or_default();
    [found.key.to_string(), format!("{:.6}", found.distance), payload]
}

fn object(found: &Found) -> Value {
    json!({"key": found.key.to_string(), "distance": found.distance, "payload": found.payload})
}

fn show_groups(is_json: bool, groups: &[Group]) -> anyhow::Result<()> {
    let value = |group: &Group| match &group.value {
        Literal::Text(text) => json!(text),
        Literal::Integer(number) => json!(number),
        Literal::Bool(flag) => json!(flag),
        _ => Value::Null,
    };
    let output = Output::new(is_json);
    let lines = groups.iter().flat_map(|group| {
        let value = value(group);
        group.hits.iter().map(move |found| {
            let [key, distance, payload] = shown(found);
            vec![value.to_string(), key, distance, payload]
        })
    });
    output.table(&["value", "key", "distance", "payload"], &lines.collect::<Vec<_>>())?;
    if is_json {
        let one = |group: &Group| {
            let found: Vec<Value> = group.hits.iter().map(object).collect();
            json!({"value": value(group), "found": found})
        };
        output.object(&json!({"groups": groups.iter().map(one).collect::<Vec<_>>()}))?;
    }
    Ok(())
}

pub(super) fn scroll(args: &ScrollArgs) -> anyhow::Result<()> {
    let (_database, collection, tenant) = tenant(&args.rows)?;
    let request = ScrollRequest {
        after: args.after.as_deref().map(key),
        limit: args.limit,
        filter: filter(args.filter.as_deref())?,
        with_vectors: false,
    };
    let Page { rows, next, .. } = match &args.at {
        Some(snapshot) => tenant.at(snapshot)?.scroll(&request)?,
        None => tenant.scroll(&request)?,
    };
    if rows.is_empty() && args.after.is_none() {
        note_if_empty(&tenant, &collection)?;
    }
    let output = Output::new(args.rows.place.json);
    let text = |row: &Row| vec![row.key.to_string(), json!(row.payload).to_string()];
    output.table(&["key", "payload"], &rows.iter().map(text).collect::<Vec<_>>())?;
    if let Some(next) = &next {
        output.line(format_args!("more: --after {next}"))?;
    }
    if args.rows.place.json {
        let one = |row: &Row| json!({"key": row.key.to_string(), "payload": row.payload});
        let next = next.map(|next| next.to_string());
        output.object(&json!({"rows": rows.iter().map(one).collect::<Vec<_>>(), "next": next}))?;
    }
    Ok(())
}
