//! Which places hold a row: until the graph removes nodes, all that it contains, for ever.

use orthant_graph::{Graph, NodeId};

/// Keeps what a reader has seen where it is.
pub(crate) struct Pin;

/// What the engine asks the graph about its places.
pub(crate) trait Places {
    fn pin(&self) -> Pin;
    fn is_live(&self, node: NodeId) -> bool;
    fn generation(&self, node: NodeId) -> u32;
    fn take_slot(&self) -> Option<NodeId>;
    fn give_slot_back(&self, node: NodeId);
}

impl Places for Graph {
    fn pin(&self) -> Pin {
        Pin
    }

    fn is_live(&self, node: NodeId) -> bool {
        self.contains(node)
    }

    fn generation(&self, _node: NodeId) -> u32 {
        0
    }

    fn take_slot(&self) -> Option<NodeId> {
        None
    }

    fn give_slot_back(&self, _node: NodeId) {}
}
