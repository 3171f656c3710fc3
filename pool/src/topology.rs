//! Topology: which cores there are, which share a physical core, and on which memory node they lie.
//!
//! Read from `/sys/devices/system` on Linux. What cannot be read is taken to be flat: every core its own
//! physical core, all on node 0. Only cores this process may use are listed.

use std::{fs, path::Path};

/// One hardware thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Core {
    /// The system's number.
    pub(crate) id: usize,
    /// The memory node.
    pub(crate) node: usize,
    /// The lowest number among the hardware threads of the same physical core.
    pub(crate) physical: usize,
}

/// The cores of this machine that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topology {
    cores: Vec<Core>,
}

impl Topology {
    pub(crate) fn new(cores: Vec<Core>) -> Self {
        Self { cores }
    }

    /// Reads the topology of this machine.
    pub(crate) fn read(allowed: &[usize]) -> Self {
        Self::read_from(Path::new("/sys/devices/system"), allowed)
    }

    fn read_from(system: &Path, allowed: &[usize]) -> Self {
        let nodes = node_lists(system);
        let cores = allowed.iter().map(|&id| {
            let siblings = system.join(format!("cpu/cpu{id}/topology/thread_siblings_list"));
            let physical = read_list(&siblings).first().copied().unwrap_or(id);
            let node = nodes.iter().find(|(_, cores)| cores.contains(&id)).map_or(0, |&(node, _)| node);
            Core { id, node, physical }
        });
        Self::new(cores.collect())
    }

    /// All cores in the order in which workers are placed: first one hardware thread of each physical
    /// core, node by node, then the second ones, and so on.
    pub(crate) fn spread(&self) -> Vec<usize> {
        let mut order: Vec<(usize, usize, usize)> = Vec::with_capacity(self.cores.len());
        for core in &self.cores {
            let turn = self
                .cores
                .iter()
                .filter(|other| other.physical == core.physical && other.id < core.id)
                .count();
            order.push((turn, core.node, core.id));
        }
        order.sort_unstable();
        order.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The memory node of a core; 0 for a core that is not listed.
    pub(crate) fn node_of(&self, core: usize) -> usize {
        self.cores.iter().find(|listed| listed.id == core).map_or(0, |listed| listed.node)
    }
}

/// The cores of each memory node.
fn node_lists(system: &Path) -> Vec<(usize, Vec<usize>)> {
    let Ok(entries) = fs::read_dir(system.join("node")) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            Some((node, read_list(&entry.path().join("cpulist"))))
        })
        .collect()
}

/// Reads a list as the kernel writes it; empty when there is none.
fn read_list(path: &Path) -> Vec<usize> {
    fs::read_to_string(path).map(|text| parse_list(&text)).unwrap_or_default()
}

/// Parses `0-2,8`; parts that are no numbers are left out.
fn parse_list(text: &str) -> Vec<usize> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(parse_list("\n"), []);
        assert_eq!(parse_list("3,x,5-"), [3]);
    }

    #[test]
    fn nodes_and_siblings_are_read_from_the_tree() {
        let root = std::env::temp_dir().join(format!("orthant-topology-{}", std::process::id()));
        for (path, text) in [
            ("cpu/cpu0/topology/thread_siblings_list", "0,2"),
            ("cpu/cpu1/topology/thread_siblings_list", "1,3"),
            ("cpu/cpu2/topology/thread_siblings_list", "0,2"),
            ("cpu/cpu3/topology/thread_siblings_list", "1,3"),
            ("node/node0/cpulist", "0,2"),
            ("node/node1/cpulist", "1,3"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let topology = Topology::read_from(&root, &[0, 1, 2, 3]);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(topology.spread(), [0, 1, 2, 3]);
        assert_eq!([0, 1, 2, 3].map(|core| topology.node_of(core)), [0, 1, 0, 1]);
        assert_eq!([0, 1, 2, 3].map(|core| topology.cores[core].physical), [0, 1, 0, 1]);
    }

    #[test]
    fn a_machine_that_says_nothing_is_flat() {
        let topology = Topology::read_from(Path::new("/nonexistent"), &[4, 2]);
        assert_eq!(topology.spread(), [2, 4]);
        assert_eq!(topology.node_of(4), 0);
    }
}
