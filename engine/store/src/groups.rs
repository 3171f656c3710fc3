//! Searching for groups: the values of a field whose rows are nearest, and a few rows of each.

use std::sync::Arc;

use crate::error::ReadError;
use crate::filter::{Filter, Literal, field};
use crate::find::candidates;
use crate::matches::Matches;
use crate::request::{Found, SearchRequest};
use crate::schema::FieldType;
use crate::tenant::Tenant;
use crate::values::FieldValue;

/// A value of a field and the nearest rows that have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The value.
    pub value: Literal,
    /// The rows, nearest first; one at least.
    pub hits: Vec<Found>,
}

/// So many candidates are looked at for one group that is wanted: of rows of equal size a few groups share the nearest. A choice,
/// not a measured one; groups that are still missing are searched for among the other values.
const LOOKED_AT: usize = 4;

impl Tenant {
    /// The `request.k` values of a field whose rows are nearest, the nearest first, each with its `each` nearest rows (or all, if
    /// they are fewer). Rows without a value of the field are in no group.
    ///
    /// Takes a search for each group, and one or more to find them.
    ///
    /// # Errors
    /// [`ReadError::UnknownField`], [`ReadError::NoGroups`] for other fields than keywords, integers and bools,
    /// [`ReadError::Request`] for a request with variety, [`ReadError`].
    ///
    /// # Examples
    /// ```
    /// use orthant_store::{Database, FieldType, Literal, Metric, Options, Row, Schema, SearchRequest};
    /// use serde_json::json;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let database = Database::create(dir.path().join("db"), Options::default())?;
    /// let schema = Schema::new(1, Metric::L2).with_field("book", FieldType::Keyword);
    /// let pages = database.create_collection("pages", schema)?.only();
    /// for (page, book) in ["a", "a", "a", "b"].into_iter().enumerate() {
    ///     pages.upsert(Row::new(page as u64, [page as f32]).with_payload(json!({"book": book}))?)?;
    /// }
    /// let books = pages.search_groups(&SearchRequest::new([0.0], 5), "book", 2)?;
    /// assert_eq!(books[0].value, Literal::from("a"));
    /// assert_eq!(books.iter().map(|book| book.hits.len()).collect::<Vec<_>>(), [2, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn search_groups(
        &self,
        request: &SearchRequest,
        by: &str,
        each: usize,
    ) -> Result<Vec<Group>, ReadError> {
        let schema = self.core.schema();
        let Some((_, declared)) = schema.field(by) else {
            return Err(ReadError::UnknownField { field: by.into() });
        };
        if !matches!(declared.kind, FieldType::Keyword | FieldType::Integer | FieldType::Bool) {
            return Err(ReadError::NoGroups { field: by.into(), kind: declared.kind });
        }
        let _reading = self.core.readers.enter();
        let Some((id, state)) = self.state()? else {
            // The request is checked all the same.
            return self.search(request).map(|_| Vec::new());
        };
        let search = self.search_on(&schema, &state, request.vector.as_deref())?;
        search.check(&request.query)?;
        if request.diversity.is_some() {
            let problem = "groups are of the nearest rows, without variety";
            return Err(ReadError::Request { vector: search.field().name.clone(), problem });
        }
        let mut view = search.view(request.filter.as_ref())?;
        let select = |filter: &Filter, rows: &roaring::RoaringBitmap| -> Result<_, ReadError> {
            let condition = filter.resolve(&schema)?;
            Ok(state.read().fields.select(&condition, rows))
        };
        let all = select(&!field(by).is_null(), &view.matches.rows)?;
        let mut rest = all.clone();
        let mut groups: Vec<Group> = Vec::new();
        let wanted = request.k.max(1);
        while groups.len() < wanted && !rest.is_empty() {
            view.matches = Arc::new(Matches::new(rest.clone(), true));
            let k = LOOKED_AT * (wanted - groups.len());
            let items = candidates(&search, &view, &SearchRequest { k, ..request.clone() })?;
            if items.is_empty() {
                break;
            }
            // One that was replaced since belongs to no value any more.
            let (found, _) = self.found(id, &state, &view, &items, true)?;
            rest -= items.iter().map(|item| item.row).collect::<roaring::RoaringBitmap>();
            for payload in found.iter().filter_map(|found| found.payload.as_ref()) {
                let value = match declared.value(payload) {
                    Ok(Some(FieldValue::Keyword(text))) => Literal::Text(text),
                    Ok(Some(FieldValue::Integer(number))) => Literal::Integer(number),
                    Ok(Some(FieldValue::Bool(flag))) => Literal::Bool(flag),
                    _ => continue,
                };
                if groups.len() == wanted || groups.iter().any(|group| group.value == value) {
                    continue;
                }
                let rows = select(&field(by).eq(value.clone()), &all)?;
                rest -= &rows;
                view.matches = Arc::new(Matches::new(rows, true));
                let items = candidates(&search, &view, &SearchRequest { k: each, ..request.clone() })?;
                let (hits, _) = self.found(id, &state, &view, &items, request.with_payload)?;
                if !hits.is_empty() {
                    groups.push(Group { value, hits });
                }
            }
        }
        // A graph may have found the nearest row of a group only when it searched for that group.
        let nearest = |group: &Group| group.hits.first().map_or(f32::INFINITY, |hit| hit.distance);
        groups.sort_by(|a, b| nearest(a).total_cmp(&nearest(b)));
        Ok(groups)
    }
}
