//! The next numbers of a collection: of rows, tenants and positions. They are part of each commit that takes some.

use crate::catalog::{Put, put_meta};
use crate::collection::Shared;
use crate::error::StorageError;
use crate::schema::Schema;

/// The next numbers of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) row: u32,
    pub(crate) tenant: u32,
    /// The next position of each vector; for plain vectors unused.
    pub(crate) positions: Vec<u32>,
}

impl Counters {
    pub(crate) fn new(schema: &Schema) -> Self {
        Self { row: 0, tenant: 0, positions: vec![0; schema.vectors.len()] }
    }

    pub(crate) fn put(&self, collection: u32) -> Put {
        let words = [self.row, self.tenant].into_iter().chain(self.positions.iter().copied());
        put_meta(&counters_name(collection), &words.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
    }

    pub(crate) fn read(shared: &Shared, collection: u32, schema: &Schema) -> Result<Self, StorageError> {
        let Some(bytes) = shared.catalog.meta(&counters_name(collection))? else {
            return Ok(Self::new(schema));
        };
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect();
        match &words[..] {
            [row, tenant, positions @ ..] if positions.len() == schema.vectors.len() => {
                Ok(Self { row: *row, tenant: *tenant, positions: positions.to_vec() })
            }
            _ => Err(shared.catalog.damaged("a collection's counters")),
        }
    }
}

fn counters_name(collection: u32) -> String {
    format!("counters/{collection}")
}
