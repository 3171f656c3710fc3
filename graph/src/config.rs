//! What shapes a graph, checked once.

use crate::NodeId;

/// Most neighbors that a list may be configured to hold: a block stays within eight cache lines.
pub const MAX_M0: usize = 128;

/// Widest beam while inserting: a bound against nonsense; a beam of it takes less than a megabyte.
pub const MAX_EF_CONSTRUCTION: usize = 100_000;

/// Largest payload of a list: a bound against nonsense; the codes of 128 neighbors of 4,000 bits each fit.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 16;

/// Highest level a node can have. With M = 2, the smallest allowed, 2^15 nodes share each node of this
/// level on average, and a taller hierarchy would only add hops.
pub const MAX_LEVEL: u8 = 15;

/// Largest node id: one bit of an id's word marks anchored edges, and the all-ones word an empty place.
pub const MAX_NODE: NodeId = (1 << 31) - 2;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `m` is outside its range.
    #[error("m = {m} is outside 2..={max}", max = MAX_M0 / 2)]
    M {
        /// The refused value.
        m: usize,
    },
    /// `m0` is outside its range.
    #[error("m0 = {m0} is outside m..={max} (m = {m})", max = MAX_M0)]
    M0 {
        /// The refused value.
        m0: usize,
        /// The `m` it was given with.
        m: usize,
    },
    /// `ef_construction` is outside its range.
    #[error("ef_construction = {ef_construction} is outside 1..={max}", max = MAX_EF_CONSTRUCTION)]
    EfConstruction {
        /// The refused value.
        ef_construction: usize,
    },
    /// `payload_bytes` is outside its range.
    #[error("a payload of {payload_bytes} bytes is larger than {max}", max = MAX_PAYLOAD_BYTES)]
    Payload {
        /// The refused value.
        payload_bytes: usize,
    },
}

/// Shape and effort of a graph. Made by [`GraphConfig::new`], which checks it.
///
/// ```
/// use orthant_graph::GraphConfig;
/// let config = GraphConfig::new(16, 200)?;
/// assert_eq!((config.m(), config.m0(), config.ef_construction()), (16, 32, 200));
/// assert!(GraphConfig::new(1, 200).is_err());
/// # Ok::<(), orthant_graph::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraphConfig {
    m: usize,
    m0: usize,
    ef_construction: usize,
    keep_pruned: bool,
    extend_candidates: bool,
    payload_bytes: usize,
}

impl GraphConfig {
    /// `m` neighbors on levels >= 1, `2 m` on level 0, and a beam of `ef_construction` while inserting.
    ///
    /// # Errors
    /// `m` outside `2..=64`, or `ef_construction` outside `1..=100,000`.
    pub fn new(m: usize, ef_construction: usize) -> Result<Self, ConfigError> {
        if !(2..=MAX_M0 / 2).contains(&m) {
            return Err(ConfigError::M { m });
        }
        if !(1..=MAX_EF_CONSTRUCTION).contains(&ef_construction) {
            return Err(ConfigError::EfConstruction { ef_construction });
        }
        // m0 = 2 m is the choice of Malkov and Yashunin (2018, section 4.1): less costs recall, more memory.
        Ok(Self {
            m,
            m0: 2 * m,
            ef_construction,
            keep_pruned: false,
            extend_candidates: false,
            payload_bytes: 0,
        })
    }

    /// Another number of neighbors on level 0.
    ///
    /// # Errors
    /// `m0` outside `m..=128`.
    pub fn with_m0(mut self, m0: usize) -> Result<Self, ConfigError> {
        if m0 < self.m || m0 > MAX_M0 {
            return Err(ConfigError::M0 { m0, m: self.m });
        }
        self.m0 = m0;
        Ok(self)
    }

    /// Whether lists are kept full: a new node chooses as many neighbors as a list holds, not half as many, and what
    /// the selection heuristic leaves free goes to the nearest candidates that it turned down, in the list of a new node and in
    /// one that is pruned because an edge more does not fit. Off by default: the edges it adds are the least useful
    /// ones, and each costs a distance per visit. On where lists are blocks, which are looked at whole.
    pub fn with_keep_pruned(mut self, keep_pruned: bool) -> Self {
        self.keep_pruned = keep_pruned;
        self
    }

    /// Whether the neighbors of all candidates are candidates too (Malkov and Yashunin 2018, algorithm 4). Off by
    /// default: it costs several times the distances of an insert, and helps data in tight clusters
    /// alone.
    pub fn with_extend_candidates(mut self, extend_candidates: bool) -> Self {
        self.extend_candidates = extend_candidates;
        self
    }

    /// Bytes that each level-0 list carries behind its ids, filled by
    /// [`Space::fill_payload`](crate::Space::fill_payload): 0 by default, at most 64 KiB.
    ///
    /// # Errors
    /// More than 65,536.
    pub fn with_payload_bytes(mut self, payload_bytes: usize) -> Result<Self, ConfigError> {
        if payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(ConfigError::Payload { payload_bytes });
        }
        self.payload_bytes = payload_bytes;
        Ok(self)
    }

    /// Most neighbors of a node on levels >= 1.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Most neighbors of a node on level 0.
    pub fn m0(&self) -> usize {
        self.m0
    }

    /// Beam width while inserting.
    pub fn ef_construction(&self) -> usize {
        self.ef_construction
    }

    /// Whether lists are filled up with turned-down candidates.
    pub fn keep_pruned(&self) -> bool {
        self.keep_pruned
    }

    /// Whether neighbors of candidates are candidates.
    pub fn extend_candidates(&self) -> bool {
        self.extend_candidates
    }

    /// Bytes of payload behind the ids of a level-0 list.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Most neighbors on `level`.
    pub(crate) fn limit(&self, level: u8) -> usize {
        if level == 0 { self.m0 } else { self.m }
    }

    /// Neighbors that a new node chooses on `level`. M, not M0, on level 0 too: the other half of the list is for nodes that
    /// come later (Malkov and Yashunin 2018, section 4.1).
    ///
    /// A quarter more for one that takes the place of a removed node: fewer come after it than after one of a graph that grows, and
    /// mending does not make up for all of them. After ten turnovers of 50,000 rows recall@10 at ef 64 was 0.12 points below that of
    /// a fresh build on sift-128 (any rows removed; 0.41 with M) and 0.37 on text-384 (the oldest removed; 0.56 with M).
    ///
    /// M0 where lists are kept full: half would be filled with what was turned down until others come. After five
    /// turnovers of 10,000 rows of text-384 in blocks recall@10 at ef 64 was 0.4 points below that of a fresh index, and 2 with M.
    pub(crate) fn own_limit(&self, level: u8, takes_place: bool) -> usize {
        if self.keep_pruned {
            return self.limit(level);
        }
        let more = if takes_place { self.m / 4 } else { 0 };
        (self.m + more).min(self.limit(level))
    }

    /// Most anchored edges that may leave one node: half its list, so that at least the other half is
    /// free for the selection heuristic. One of them leads to the node's own anchor.
    pub(crate) fn anchor_limit(&self) -> usize {
        (self.m0 / 2).max(2)
    }
}
