//! Memory nodes: which there are, and on which of them a region is to lie.
//!
//! On a machine with several sockets a core reads the memory of its own node faster than that of the
//! others. [`Topology`] says which cores belong to which node, [`Placement`] is a wish for a
//! region ([`MemoryOptions::placement`](crate::MemoryOptions)), and
//! [`ShardedArena`](crate::ShardedArena) puts one arena on each node.
//!
//! * **N1** A placement is advice: where the system refuses it (no such node, or a container without
//!   the right) the memory is ordinary memory, and [`PageReport`](crate::PageReport) says so.
//! * **N2** A machine without nodes is a machine with one, and runs the same code.
//!
//! Cost: one system call per region.

use std::path::{Path, PathBuf};

/// Where a region's memory should come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Placement {
    /// Wherever the thread that touches a page first runs; the system's default.
    #[default]
    Any,
    /// This node and no other: when it is full, the kernel kills rather than look elsewhere.
    Bind(u32),
    /// This node while it has room, then the others.
    Preferred(u32),
    /// Page by page over these nodes: equal bandwidth from everywhere, for what all nodes read.
    Interleave(Vec<u32>),
}

/// A memory node and the cores beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The system's number for it.
    pub id: u32,
    /// The system's numbers for its cores, ascending. Empty for memory without cores.
    pub cores: Vec<u32>,
    /// Its memory in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Relative cost to reach each node of the topology from here, in its order: 10 is local. Empty
    /// if unknown.
    pub distances: Vec<u32>,
}

/// The memory nodes of a machine, or of an imagined one.
///
/// # Examples
/// ```
/// use orthant_storage::numa::Topology;
///
/// let here = Topology::detect();
/// assert!(here.nodes().iter().any(|node| !node.cores.is_empty()));
///
/// let two_sockets = Topology::synthetic(2, 8);
/// assert_eq!(two_sockets.node_of_core(11), Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
}

/// Why a topology could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// A file could not be read.
    #[error("{}: cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file says something else than expected.
    #[error("{}: expected {expected}", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// hwloc refused.
    #[cfg(feature = "hwloc")]
    #[error("hwloc cannot tell the topology: {0}")]
    Hwloc(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Topology {
    /// This machine's nodes, from `/sys`; one node of all available cores where there is nothing to
    /// read (N2).
    pub fn detect() -> Topology {
        Self::from_sys(Path::new("/sys/devices/system/node")).unwrap_or_else(|_| {
            let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
            Self::synthetic(1, cores)
        })
    }

    /// Nodes as Linux describes them in a directory like `/sys/devices/system/node`.
    ///
    /// # Errors
    /// [`TopologyError::Io`] if `online` or a node's `cpulist` is missing,
    /// [`TopologyError::Unexpected`] if they are not lists of numbers, or if no node has a core.
    /// Memory sizes and distances are optional.
    pub fn from_sys(root: &Path) -> Result<Topology, TopologyError> {
        let online = read_list(&root.join("online"))?;
        let mut nodes = Vec::with_capacity(online.len());
        for id in online {
            let directory = root.join(format!("node{id}"));
            let optional = |name| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
            let distances = optional("distance");
            nodes.push(Node {
                id,
                cores: read_list(&directory.join("cpulist"))?,
                memory_bytes: memory_of(&optional("meminfo")),
                distances: distances.split_whitespace().map_while(|number| number.parse().ok()).collect(),
            });
        }
        if nodes.iter().all(|node| node.cores.is_empty()) {
            let expected = "at least one node with cores";
            return Err(TopologyError::Unexpected { path: root.to_path_buf(), expected });
        }
        Ok(Topology { nodes })
    }

    /// An imagined machine: `nodes` nodes with `cores` cores each, numbered through.
    ///
    /// # Panics
    /// If either is 0.
    pub fn synthetic(nodes: u32, cores: u32) -> Topology {
        assert!(nodes > 0 && cores > 0, "a machine has at least one node and one core");
        let node = |id: u32| Node {
            id,
            cores: (id * cores..(id + 1) * cores).collect(),
            memory_bytes: 0,
            distances: (0..nodes).map(|other| if other == id { 10 } else { 20 }).collect(),
        };
        Topology { nodes: (0..nodes).map(node).collect() }
    }

    /// The same from hwloc, which knows machines that `/sys` describes poorly or not at all.
    ///
    /// # Errors
    /// [`TopologyError::Hwloc`] if hwloc refuses.
    #[cfg(feature = "hwloc")]
    pub fn from_hwloc() -> Result<Topology, TopologyError> {
        let topology = hwlocality::Topology::new().map_err(|error| TopologyError::Hwloc(Box::new(error)))?;
        let mut nodes: Vec<Node> = topology
            .objects_with_type(hwlocality::object::types::ObjectType::NUMANode)
            .filter_map(|object| {
                // An owned copy: the set belongs to the object.
                let cores = object.cpuset().map(|cores| cores.clone_target()).unwrap_or_default();
                Some(Node {
                    id: u32::try_from(object.os_index()?).ok()?,
                    cores: cores
                        .iter_set()
                        .filter_map(|core| u32::try_from(usize::from(core)).ok())
                        .collect(),
                    memory_bytes: object.total_memory(),
                    distances: Vec::new(),
                })
            })
            .collect();
        nodes.sort_by_key(|node| node.id);
        Ok(Topology { nodes })
    }

    /// The nodes, by ascending id; at least one, and at least one with cores.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The id of the node a core belongs to.
    pub fn node_of_core(&self, core: u32) -> Option<u32> {
        self.nodes.iter().find(|node| node.cores.contains(&core)).map(|node| node.id)
    }

    /// Relative cost of reaching node `to` from node `from` (ids); `None` if unknown.
    pub fn distance(&self, from: u32, to: u32) -> Option<u32> {
        let place = |id| self.nodes.iter().position(|node| node.id == id);
        self.nodes[place(from)?].distances.get(place(to)?).copied()
    }
}

/// Reads a list like `0-3,8,10-11`; an empty file is an empty list.
fn read_list(path: &Path) -> Result<Vec<u32>, TopologyError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TopologyError::Io { path: path.to_path_buf(), source })?;
    parse_list(text.trim()).ok_or_else(|| TopologyError::Unexpected {
        path: path.to_path_buf(),
        expected: "a list of numbers and ranges",
    })
}

fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // No machine has more; a range of four billion is a broken file.
        if last < first || last - first > 1 << 16 {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// The bytes in `Node 0 MemTotal: 24684084 kB`; 0 if there is no such line.
fn memory_of(meminfo: &str) -> u64 {
    let line = meminfo.lines().find(|line| line.contains("MemTotal:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().rev().nth(1)).and_then(|n| n.parse().ok());
    kilobytes.unwrap_or(0u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_list(""), Some(vec![]));
        for broken in ["a", "3-1", "0-", "1,,x", "0-4294967295"] {
            assert_eq!(parse_list(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_directory_like_that_of_the_kernel_is_read() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("room");
            std::fs::write(path, text).expect("room");
        };
        let read = || Topology::from_sys(root.path());
        assert!(matches!(read(), Err(TopologyError::Io { .. })));
        put("online", "0,2-3\n");
        put("node0/cpulist", "0-1\n");
        put("node0/meminfo", "Node 0 MemTotal:       1024 kB\nNode 0 MemFree: 12 kB\n");
        put("node0/distance", "10 21 31\n");
        put("node2/cpulist", "2-3\n");
        put("node2/distance", "21 10 31\n");
        assert!(matches!(read(), Err(TopologyError::Io { path, .. }) if path.ends_with("node3/cpulist")));
        put("node3/cpulist", "\n"); // memory without cores
        let topology = read().expect("a complete description");
        assert_eq!(topology.nodes().len(), 3);
        assert_eq!((topology.nodes()[1].id, &topology.nodes()[1].cores[..]), (2, &[2, 3][..]));
        assert_eq!((topology.nodes()[0].memory_bytes, topology.nodes()[1].memory_bytes), (1 << 20, 0));
        assert_eq!((topology.node_of_core(3), topology.node_of_core(4)), (Some(2), None));
        assert_eq!((topology.distance(0, 3), topology.distance(2, 0)), (Some(31), Some(21)));
        assert_eq!((topology.distance(3, 0), topology.distance(0, 1)), (None, None));
        put("node0/cpulist", "zero\n");
        assert!(matches!(read(), Err(TopologyError::Unexpected { .. })));
        put("node0/cpulist", "");
        put("node2/cpulist", "");
        assert!(matches!(read(), Err(TopologyError::Unexpected { .. })), "no cores anywhere");
    }

    #[cfg(feature = "hwloc")]
    #[test]
    fn hwloc_and_sys_agree_on_nodes_and_cores() {
        let shape = |topology: Topology| -> Vec<(u32, Vec<u32>)> {
            topology.nodes.into_iter().map(|node| (node.id, node.cores)).collect()
        };
        let hwloc = shape(Topology::from_hwloc().expect("hwloc knows this machine"));
        assert_eq!(hwloc, shape(Topology::detect()));
    }
}
