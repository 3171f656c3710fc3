//! How vectors come in: the graph knows ids and asks these traits for distances.

use crate::NodeId;

/// Distances from one fixed point (a query, or a node being linked). Smaller is nearer.
///
/// The same calls must give the same distances: results are deterministic because of it.
pub trait Scorer {
    /// Distances to the nodes `ids`, in order. `out.len() == ids.len()`; both may be empty.
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]);

    /// Distances as [`score_batch`](Self::score_batch) gives them, except that a node farther than `bound`
    /// may get any distance above it: the search has no use for such a node, and a scorer that can tell
    /// early need not look further. `bound` may be infinite.
    fn score_near(&self, ids: &[NodeId], bound: f32, out: &mut [f32]) {
        let _ = bound;
        self.score_batch(ids, out);
    }

    /// Distance to one node.
    fn score(&self, id: NodeId) -> f32 {
        let mut out = [0.0];
        self.score_batch(&[id], &mut out);
        out[0]
    }

    /// Says that `id` will be scored soon. A hint.
    fn prefetch(&self, id: NodeId) {
        let _ = id;
    }
}

/// A space in which nodes have distances to each other: what inserting needs.
pub trait Space: Sync {
    /// Distances from one node.
    type Scorer<'a>: Scorer
    where
        Self: 'a;

    /// The scorer of node `id`, whose vector is in place. Called a few hundred times per insert: cheap.
    fn scorer(&self, id: NodeId) -> Self::Scorer<'_>;

    /// Bytes behind the ids of each level-0 list that [`fill_payload`](Self::fill_payload) fills. Must be
    /// what the graph was configured with ([`GraphConfig::with_payload_bytes`](crate::GraphConfig)).
    fn payload_bytes(&self) -> usize {
        0
    }

    /// Fills the payload of a level-0 list of `node` before it is published. Only called when
    /// [`payload_bytes`](Self::payload_bytes) is not 0, and perhaps for a list that is then not published
    /// because another writer was faster.
    ///
    /// # Shapes
    /// `ids`: the list's words, M0 rounded up to whole cache lines. A word is a neighbor's id in its low 31 bits
    /// (bit 31 is the graph's own); the list ends at the first `u32::MAX`, and all words after it are that.
    /// `old`: words and payload of the list that this one replaces, in the same form, if there is one.
    /// `payload`: `payload_bytes` bytes, 64-byte aligned, with arbitrary contents.
    fn fill_payload(&self, node: NodeId, ids: &[u32], old: Option<(&[u32], &[u8])>, payload: &mut [u8]) {
        let _ = (node, ids, old, payload);
    }
}
