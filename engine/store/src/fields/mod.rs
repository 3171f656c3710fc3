//! Indexes over the declared fields of a tenant's rows: from a condition to the set of rows that fulfil it.
//!
//! Rows are named by their numbers. A row number stands for one version of a row for ever, so its values never change:
//! an index only learns of new rows and, much later, forgets rows that no reader can see. Sets computed here may hold
//! rows that are deleted or newer than the reader's version; who asks intersects with the rows that it sees (**X1**).
//!
//! Cost: a keyword or tag is one set per value; numbers are 64 slices, one per bit, of which constant ones cost
//! nothing; a range is at most two set operations per slice.

mod geo;
mod slices;
mod terms;

use roaring::RoaringBitmap;

use crate::filter::{Condition, Test, float_order, integer_order};
use crate::schema::{FieldType, Schema};
use crate::values::FieldValue;
use geo::GeoIndex;
use slices::Slices;
use terms::Terms;

/// The index of one field.
#[derive(Debug, Clone)]
struct FieldIndex {
    /// Rows that have the field.
    present: RoaringBitmap,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Terms(Terms),
    Numbers(Slices),
    /// Rows where the flag is set.
    Flags(RoaringBitmap),
    Geo(GeoIndex),
}

/// The indexes of all declared fields, in the schema's order.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldIndexes {
    fields: Vec<FieldIndex>,
}

/// One value of a field and how many rows have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Facet {
    /// The value.
    pub value: crate::Literal,
    /// Rows.
    pub count: u64,
}

impl FieldIndexes {
    /// Empty indexes for the fields of `schema`.
    pub(crate) fn new(schema: &Schema) -> Self {
        let mut indexes = Self::default();
        indexes.extend(schema);
        indexes
    }

    /// How many fields are indexed.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Adds empty indexes for the fields that `schema` has beyond those known.
    pub(crate) fn extend(&mut self, schema: &Schema) {
        for field in &schema.fields[self.fields.len()..] {
            let values = match field.kind {
                FieldType::Keyword | FieldType::Tags => Values::Terms(Terms::default()),
                FieldType::Integer | FieldType::Float | FieldType::Datetime => {
                    Values::Numbers(Slices::default())
                }
                FieldType::Bool => Values::Flags(RoaringBitmap::new()),
                FieldType::Geo => Values::Geo(GeoIndex::default()),
            };
            self.fields.push(FieldIndex { present: RoaringBitmap::new(), values });
        }
    }

    /// Learns of a row and its values.
    pub(crate) fn insert(&mut self, row: u32, values: &[Option<FieldValue>]) {
        self.insert_from(0, row, values);
    }

    /// Learns of the values that a row has in the fields from number `first` on.
    pub(crate) fn insert_from(&mut self, first: usize, row: u32, values: &[Option<FieldValue>]) {
        for (index, value) in self.fields.iter_mut().skip(first).zip(values) {
            let Some(value) = value else { continue };
            index.present.insert(row);
            match (&mut index.values, value) {
                (Values::Terms(terms), FieldValue::Keyword(text)) => terms.insert(text, row),
                (Values::Terms(terms), FieldValue::Tags(tags)) => {
                    tags.iter().for_each(|tag| terms.insert(tag, row))
                }
                (Values::Numbers(slices), FieldValue::Integer(number)) => {
                    slices.insert(row, integer_order(*number))
                }
                (Values::Numbers(slices), FieldValue::Float(number)) => {
                    slices.insert(row, float_order(*number))
                }
                (Values::Flags(set), FieldValue::Bool(true)) => {
                    set.insert(row);
                }
                (Values::Geo(places), FieldValue::Geo(lat, lon)) => places.insert(row, *lat, *lon),
                // `Field::value` gives values of the field's type, or this flag is not set.
                _ => {}
            }
        }
    }

    /// Forgets rows.
    pub(crate) fn remove_all(&mut self, rows: &RoaringBitmap) {
        for index in &mut self.fields {
            index.present -= rows;
            match &mut index.values {
                Values::Terms(terms) => terms.remove_all(rows),
                Values::Numbers(slices) => slices.remove_all(rows),
                Values::Flags(set) => *set -= rows,
                Values::Geo(places) => places.remove_all(rows),
            }
        }
    }

    /// The rows that fulfil `condition`, among `live` (X1).
    pub(crate) fn select(&self, condition: &Condition, live: &RoaringBitmap) -> RoaringBitmap {
        match condition {
            Condition::And(parts) => {
                let mut set = live.clone();
                for part in parts {
                    if set.is_empty() {
                        break;
                    }
                    set = self.select(part, &set);
                }
                set
            }
            Condition::Or(parts) => {
                let mut set = RoaringBitmap::new();
                for part in parts {
                    set |= self.select(part, live);
                }
                set
            }
            Condition::IsNull { field, expected } => match (self.fields.get(*field), *expected) {
                (Some(index), true) => live - &index.present,
                (Some(index), false) => live & &index.present,
                // A field that is being added right now.
                (None, true) => live.clone(),
                (None, false) => RoaringBitmap::new(),
            },
            Condition::Test { field, test, expected } => {
                let Some(index) = self.fields.get(*field) else { return RoaringBitmap::new() };
                if *expected {
                    return index.values.select(test, live);
                }
                let mut set = live & &index.present;
                let matching = index.values.select(test, &set);
                set -= matching;
                set
            }
        }
    }

    /// The values of a field among `live`, most frequent first, at most `limit`; `None` for a type without facets.
    pub(crate) fn facets(
        &self,
        field: usize,
        kind: FieldType,
        live: &RoaringBitmap,
        limit: usize,
    ) -> Option<Vec<Facet>> {
        let index = self.fields.get(field)?;
        let mut facets = match &index.values {
            Values::Terms(terms) => terms.counts(live),
            Values::Flags(set) => {
                let (all, set) = (index.present.intersection_len(live), set.intersection_len(live));
                let facet = |value: bool, count| Facet { value: value.into(), count };
                vec![facet(true, set), facet(false, all - set)]
            }
            Values::Numbers(slices) if kind == FieldType::Integer => slices.counts(&(live & &index.present)),
            _ => return None,
        };
        facets.retain(|facet| facet.count > 0);
        facets.sort_by_key(|facet| std::cmp::Reverse(facet.count));
        facets.truncate(limit);
        Some(facets)
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let sets = |index: &FieldIndex| match &index.values {
            Values::Terms(terms) => terms.bytes(),
            Values::Numbers(slices) => slices.bytes(),
            Values::Flags(set) => set.serialized_size(),
            Values::Geo(places) => places.bytes(),
        };
        self.fields.iter().map(|index| index.present.serialized_size() + sets(index)).sum()
    }
}

impl Values {
    fn select(&self, test: &Test, live: &RoaringBitmap) -> RoaringBitmap {
        match (self, test) {
            (Self::Terms(terms), Test::Terms(wanted)) => terms.any_of(wanted, live),
            (Self::Terms(terms), Test::Prefix(prefix)) => terms.with_prefix(prefix, live),
            (Self::Terms(terms), Test::TermOrder { than, is_less, or_equal }) => {
                terms.ordered(than, *is_less, *or_equal, live)
            }
            (Self::Terms(terms), Test::TermsBetween(low, high)) => terms.between(low, high, live),
            (Self::Numbers(slices), Test::Ranges(ranges)) => {
                let mut set = RoaringBitmap::new();
                for &(low, high) in ranges {
                    set |= slices.between(low, high, live);
                }
                set
            }
            (Self::Flags(set), Test::IsTrue) => set & live,
            (Self::Geo(places), &Test::Near { lat, lon, meters }) => places.within(lat, lon, meters, live),
            // `resolve` pairs tests with types.
            _ => RoaringBitmap::new(),
        }
    }
}

#[cfg(test)]
mod tests;
