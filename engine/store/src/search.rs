//! Searching a tenant: which rows match, how they are looked at, what is returned.
//!
//! A search takes a [`View`]: the version that is current when it begins, the rows that no graph holds, the graph. It sees
//! exactly the rows of that version (state V1, V2). Then, by how many rows match:
//!
//! | matches | way |
//! |---|---|
//! | no graph, or few | compare all of them, gathered from the row file |
//! | some (see [`is_scanned`]) | compare all of them: first their codes, then those rows that may be among the nearest (`codes.rs`); the answer is that of the way above |
//! | more | the graph, entering only rows that match; rows that no graph holds yet are compared as above |

use std::cmp::Ordering;
use std::sync::Arc;

use orthant_engine::kernels::Kernel;
use roaring::RoaringBitmap;

use crate::error::ReadError;
use crate::filter::Filter;
use crate::graph::{GraphPart, TWO_HOP_BELOW};
use crate::matches::{CodedMatches, Matches};
use crate::rows::{Damaged, RowFile};
use crate::schema::{Schema, VectorField};
use crate::state::{TenantState, Version};

/// So many matches are compared one by one rather than looked for in the graph, whatever the share.
const EXACT_BELOW: u64 = 4096;

/// Fewer matches than this are compared whole: going through codes first takes as long.
const CODES_FROM: u64 = 512;

/// So many matches per unit of the beam are compared in the time that a walk from match to match takes: 229 (128 dimensions) and 118
/// (384) were measured at a share of a quarter (200,000 and 100,000 rows, a beam of 192), and a walk also finds less.
const WALK_ROWS: u64 = 100;

/// … and in the time of a walk over rows that do not match, too: 2,600 and 1,500 at a share of 15 % where that has nothing to do with
/// the query, 280 and 210 where it lies near.
const FAR_WALK_ROWS: u64 = 600;

/// Whether `matches` of a graph's `rows` are compared one by one: where that takes less time than the graph, by the figures above.
fn is_scanned(matches: u64, rows: u64, ef: usize) -> bool {
    let is_near = matches as f64 >= TWO_HOP_BELOW * rows as f64;
    let each = if is_near { WALK_ROWS } else { FAR_WALK_ROWS };
    matches <= EXACT_BELOW.max(each.saturating_mul(ef as u64))
}

/// What a reader sees of one vector.
pub(crate) struct View {
    pub(crate) version: Arc<Version>,
    pub(crate) unlinked: Arc<RoaringBitmap>,
    pub(crate) graph: Option<Arc<GraphPart>>,
    /// Rows that match and have the vector.
    pub(crate) matches: Arc<Matches>,
}

/// A row of a result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) row: u32,
    pub(crate) distance: f32,
}

impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

/// The best so far, nearest first.
pub(crate) struct Best {
    limit: usize,
    items: Vec<Candidate>,
}

impl Best {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, items: Vec::with_capacity(limit.min(4096) + 1) }
    }

    pub(crate) fn add(&mut self, item: Candidate) {
        if self.items.len() == self.limit {
            match self.items.last() {
                Some(last) if item.order(last).is_lt() => {
                    self.items.pop();
                }
                _ => return,
            }
        }
        let place = self.items.partition_point(|other| other.order(&item).is_lt());
        self.items.insert(place, item);
    }

    pub(crate) fn into_items(self) -> Vec<Candidate> {
        self.items
    }
}

/// A search on its way.
pub(crate) struct Search<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) state: &'a TenantState,
    pub(crate) rows: &'a RowFile,
    pub(crate) vector: usize,
    /// Rows seen from outside the current version: a snapshot's.
    pub(crate) graph_allowed: bool,
}

impl Search<'_> {
    pub(crate) fn field(&self) -> &VectorField {
        &self.schema.vectors[self.vector]
    }

    /// Takes the view of a search with this filter.
    pub(crate) fn view(&self, filter: Option<&Filter>) -> Result<View, ReadError> {
        let condition = filter.map(|filter| filter.resolve(self.schema)).transpose()?;
        let inner = self.state.read();
        let vector = &inner.vectors[self.vector];
        let select = || {
            let rows = &inner.version.live & &vector.all;
            condition.map_or_else(|| rows.clone(), |condition| inner.fields.select(&condition, &rows))
        };
        let matches = self.state.cache.get(&inner.version, self.vector, filter, select);
        Ok(View {
            version: inner.version.clone(),
            unlinked: vector.unlinked.clone(),
            graph: vector.graph.clone().filter(|_| self.graph_allowed),
            matches,
        })
    }

    pub(crate) fn kernel(&self) -> Result<Kernel, ReadError> {
        Ok(Kernel::new(self.field().metric, self.field().dim)?)
    }

    /// Checks a query of `[n × dim]` elements.
    pub(crate) fn check(&self, query: &[f32]) -> Result<(), ReadError> {
        let field = self.field();
        let fits = if field.multi {
            !query.is_empty() && query.len().is_multiple_of(field.dim)
        } else {
            query.len() == field.dim
        };
        if !fits {
            let (vector, expected) = (field.name.clone(), field.dim);
            return Err(ReadError::Dimension { vector, found: query.len(), expected });
        }
        match query.iter().position(|value| !value.is_finite()) {
            Some(element) => Err(ReadError::NotFinite { element }),
            None => Ok(()),
        }
    }

    /// The `k` nearest of the matches, nearest first, with border distances.
    pub(crate) fn nearest(
        &self,
        view: &View,
        query: &[f32],
        k: usize,
        ef: usize,
        exact: bool,
    ) -> Result<Vec<Candidate>, ReadError> {
        let matches = &view.matches.rows;
        let count = view.matches.count;
        let graph = view.graph.as_ref().filter(|graph| !exact && !is_scanned(count, graph.len() as u64, ef));
        let Some(graph) = graph else {
            return if exact { self.scan(matches, query, k, None) } else { self.compare(view, query, k) };
        };
        // First the rows outside the graph as they were when the view was taken: what was linked since is found twice, what
        // was linked before is in the graph (graph G1).
        let outside = matches & &*view.unlinked;
        let inside = count - outside.len();
        let mut best = Best::new(k);
        let mut seen = outside.clone();
        self.scan(&outside, query, k, None)?.into_iter().for_each(|item| best.add(item));
        if inside > 0 {
            for (row, distance) in graph.search(query, k, ef, inside, &view.matches)? {
                if seen.insert(row) {
                    best.add(Candidate { row, distance });
                }
            }
        }
        Ok(best.into_items())
    }

    /// The `k` nearest of the matches, as [`scan`](Self::scan) finds them: those with codes by their codes first.
    fn compare(&self, view: &View, query: &[f32], k: usize) -> Result<Vec<Candidate>, ReadError> {
        let matches = &view.matches;
        if matches.count < CODES_FROM.max(4 * k as u64) {
            return self.scan(&matches.rows, query, k, None);
        }
        let CodedMatches { codes, coded, rest } = matches.coded(self.rows);
        let Some(near) = codes.candidates(self.field().metric, query, coded, k)? else {
            return self.scan(&matches.rows, query, k, None);
        };
        let wanted = near.len() + rest.len() as usize;
        let found = self.scan_each(near.into_iter().chain(rest), query, k, None)?;
        // One that is damaged may have kept others from being candidates.
        if found.len() < k.min(wanted) { self.scan(&matches.rows, query, k, None) } else { Ok(found) }
    }

    /// The `k` nearest of `rows`, by comparing them all; with a radius only those within it.
    pub(crate) fn scan(
        &self,
        rows: &RoaringBitmap,
        query: &[f32],
        k: usize,
        radius: Option<f32>,
    ) -> Result<Vec<Candidate>, ReadError> {
        self.scan_each(rows.iter(), query, k, radius)
    }

    /// As [`scan`](Self::scan), of any sequence of rows that names each once; those of a file lie best together, ascending.
    fn scan_each(
        &self,
        rows: impl Iterator<Item = u32>,
        query: &[f32],
        k: usize,
        radius: Option<f32>,
    ) -> Result<Vec<Candidate>, ReadError> {
        let kernel = self.kernel()?;
        let metric = self.field().metric;
        let limit = radius.map(|radius| metric.from_border(radius));
        let mut best = Best::new(k);
        let mut damaged = Vec::new();
        let found = |row, distance: f32| {
            if limit.is_none_or(|limit| distance <= limit) {
                best.add(Candidate { row, distance });
            }
        };
        self.rows.distances(&kernel, query, rows, found, |Damaged { position }| damaged.push(position));
        self.state.note_damaged(&damaged);
        let mut items = best.into_items();
        items.iter_mut().for_each(|item| item.distance = metric.to_border(item.distance));
        Ok(items)
    }

    /// All matches within `radius`, nearest first, at most `limit`.
    pub(crate) fn within(
        &self,
        view: &View,
        query: &[f32],
        radius: f32,
        limit: usize,
        exact: bool,
    ) -> Result<Vec<Candidate>, ReadError> {
        let mut k = 64.min(limit);
        if view.graph.is_some() && !exact {
            // As long as the farthest of the nearest lies inside, there may be more; beyond a share of the rows, comparing
            // them all is cheaper than going on.
            while (k as u64) < view.matches.count / 8 {
                let mut found = self.nearest(view, query, k, 2 * k, false)?;
                let is_all = found.last().is_none_or(|last| last.distance > radius) || k >= limit;
                if is_all {
                    found.retain(|item| item.distance <= radius);
                    return Ok(found);
                }
                k = (4 * k).min(limit);
            }
        }
        self.scan(&view.matches.rows, query, limit, Some(radius))
    }

    /// Picks `k` of `pool` that are near the query and unlike each other; the first is the nearest.
    pub(crate) fn diverse(
        &self,
        pool: Vec<Candidate>,
        k: usize,
        nearness: f32,
    ) -> Result<Vec<Candidate>, ReadError> {
        let kernel = self.kernel()?;
        let metric = self.field().metric;
        let mut rest: Vec<(Candidate, Vec<f32>, f32)> = Vec::with_capacity(pool.len());
        for item in pool {
            // A row that is damaged was not found, or became so meanwhile.
            if let Ok(elements) = self.rows.row(item.row) {
                rest.push((item, elements, f32::INFINITY));
            }
        }
        let mut picked = Vec::new();
        while picked.len() < k && !rest.is_empty() {
            let score = |(item, _, apart): &(Candidate, Vec<f32>, f32)| {
                let variety = if apart.is_finite() { (1.0 - nearness) * apart } else { 0.0 };
                nearness * item.distance - variety
            };
            let best = (0..rest.len()).min_by(|&a, &b| score(&rest[a]).total_cmp(&score(&rest[b])));
            let Some(best) = best else { break };
            // In order, so that ties fall to the nearer.
            let (item, elements, _) = rest.remove(best);
            for (_, other, apart) in &mut rest {
                *apart = apart.min(metric.to_border(kernel.pair(&elements, other)));
            }
            picked.push(item);
        }
        Ok(picked)
    }

    /// The `k` rows of greatest max-sim (Khattab and Zaharia 2020): for each vector of the query the distance of the nearest
    /// vector of the row, summed.
    pub(crate) fn max_sim(
        &self,
        view: &View,
        queries: &[f32],
        k: usize,
    ) -> Result<Vec<Candidate>, ReadError> {
        let kernel = self.kernel()?;
        let field = self.field();
        let placed: Vec<(u32, u32, u32)> = {
            let inner = self.state.read();
            let placed = &inner.vectors[self.vector].placed;
            // A row with exactly one vector at its own number is not in the map.
            view.matches
                .rows
                .iter()
                .map(|row| {
                    let (start, count) = placed.get(&row).copied().unwrap_or((row, 1));
                    (row, start, count)
                })
                .collect()
        };
        let mut best = Best::new(k);
        let mut damaged = Vec::new();
        for (row, start, count) in placed {
            let mut sum = 0.0;
            let mut is_damaged = count == 0;
            for query in queries.chunks_exact(field.dim) {
                let mut nearest = f32::INFINITY;
                self.rows.distances(
                    &kernel,
                    query,
                    start..start.saturating_add(count),
                    |_, distance| nearest = nearest.min(distance),
                    |_| is_damaged = true,
                );
                sum += field.metric.to_border(nearest);
            }
            if !is_damaged {
                best.add(Candidate { row, distance: sum });
            } else if count > 0 {
                damaged.push(row);
            }
        }
        self.state.note_damaged(&damaged);
        Ok(best.into_items())
    }
}
