//! Checks what the graph promises, node by node.
//!
//! Meant for a graph that nobody writes to: beside writers it may report a node that is half linked.
//! Cost: every list is read twice; about the time of a few searches per thousand nodes.

use std::fmt;

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::graph::Graph;
use crate::lists::{EMPTY, is_anchored, node_of};

/// What [`Graph::validate`] found.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Nodes in the graph.
    pub nodes: usize,
    /// Edges on level 0.
    pub base_edges: usize,
    /// Edges on the levels >= 1.
    pub upper_edges: usize,
    /// Level of the entry point.
    pub top_level: u8,
    /// Nodes per level that have this level as their highest.
    pub level_counts: Vec<usize>,
    /// Nodes that no path on level 0 leads to, from where a descent ends.
    pub unreachable: usize,
    /// Fewest and most level-0 edges that lead to one node.
    pub in_degree: (usize, usize),
    /// Nodes to which exactly `i` level-0 edges lead, for `i` up to 15; the last entry counts the rest.
    pub in_degree_histogram: [usize; 17],
    /// The first broken promises, at most 16.
    pub faults: Vec<Fault>,
    /// All broken promises.
    pub fault_count: usize,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// There are nodes but no entry point, or the entry point is not in the graph.
    Entry,
    /// A list holds more neighbors than it may.
    Degree {
        /// Whose list.
        node: NodeId,
        /// On which level.
        level: u8,
        /// How many.
        degree: usize,
    },
    /// An edge leads to a node that is not in the graph or lacks this level.
    Dangling {
        /// Whose list.
        node: NodeId,
        /// On which level.
        level: u8,
        /// Where the edge leads.
        neighbor: NodeId,
    },
    /// A node is its own neighbor, or is in a list twice.
    Repeated {
        /// Whose list.
        node: NodeId,
        /// On which level.
        level: u8,
        /// The repeated node.
        neighbor: NodeId,
    },
    /// The anchored edges of a node do not go both ways.
    Anchor {
        /// The node.
        node: NodeId,
    },
    /// A node has a level without a list.
    MissingList {
        /// The node.
        node: NodeId,
        /// The level.
        level: u8,
    },
    /// No path leads to a node.
    Unreachable {
        /// The node.
        node: NodeId,
    },
}

impl Report {
    /// Whether every promise holds.
    pub fn is_ok(&self) -> bool {
        self.fault_count == 0
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < 16 {
            self.faults.push(fault);
        }
        self.fault_count += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return write!(f, "ok");
        }
        write!(f, "{} faults, {} nodes unreachable; first: ", self.fault_count, self.unreachable)?;
        self.faults.iter().take(3).try_for_each(|fault| write!(f, "{fault:?} "))
    }
}

impl Graph {
    /// Checks levels, degrees, edges, anchors and that every node can be reached.
    pub fn validate(&self) -> Report {
        let guard = crossbeam_epoch::pin();
        let mut report = Report::default();
        let bound = self.node_bound();
        let mut in_degree = vec![0u32; bound];
        for node in 0..bound as NodeId {
            if self.list(node, 0, &guard).is_none() {
                continue;
            }
            report.nodes += 1;
            let top = self.level_of(node);
            report.level_counts.resize(report.level_counts.len().max(top as usize + 1), 0);
            report.level_counts[top as usize] += 1;
            for level in 0..=top {
                self.check_list(node, level, &mut report, &mut in_degree, &guard);
            }
            self.check_anchors(node, &mut report, &guard);
        }
        if report.nodes > 0 {
            self.check_reach(&mut report, &guard);
            self.count_in_degrees(&mut report, &in_degree, &guard);
        }
        report
    }

    fn check_list(&self, node: NodeId, level: u8, report: &mut Report, in_degree: &mut [u32], guard: &Guard) {
        let Some(list) = self.list(node, level, guard) else {
            report.fault(Fault::MissingList { node, level });
            return;
        };
        let words = list.words();
        let degree = words.len();
        if degree > self.config.limit(level)
            || self.words(node, level, guard)[degree..].iter().any(|&w| w != EMPTY)
        {
            report.fault(Fault::Degree { node, level, degree });
        }
        for (place, &word) in words.iter().enumerate() {
            let neighbor = node_of(word);
            let exists = (neighbor as usize) < in_degree.len() && self.list(neighbor, level, guard).is_some();
            if !exists {
                report.fault(Fault::Dangling { node, level, neighbor });
                continue;
            }
            if neighbor == node || words[..place].iter().any(|&other| node_of(other) == neighbor) {
                report.fault(Fault::Repeated { node, level, neighbor });
            }
            if level == 0 {
                in_degree[neighbor as usize] += 1;
            }
        }
        if level == 0 {
            report.base_edges += degree;
        } else {
            report.upper_edges += degree;
        }
    }

    /// Each anchored edge goes both ways; a node's own anchor is one of them.
    fn check_anchors(&self, node: NodeId, report: &mut Report, guard: &Guard) {
        let has = |from: NodeId, to: NodeId| {
            let words = self.list(from, 0, guard).map_or(&[][..], |list| list.words());
            words.iter().any(|&word| is_anchored(word) && node_of(word) == to)
        };
        let words = self.list(node, 0, guard).map_or(&[][..], |list| list.words());
        let anchor = self.anchor_of(node);
        let both_ways = words
            .iter()
            .filter(|&&word| is_anchored(word))
            .all(|&word| (node_of(word) as usize) < self.node_bound() && has(node_of(word), node));
        if !both_ways || anchor.is_some_and(|anchor| !has(node, anchor)) {
            report.fault(Fault::Anchor { node });
        }
    }

    /// Breadth first from the entry point over level 0.
    fn check_reach(&self, report: &mut Report, guard: &Guard) {
        let bound = self.node_bound();
        let Some(entry) = self.entry.load().filter(|entry| (entry.node as usize) < bound) else {
            report.unreachable = report.nodes;
            report.fault(Fault::Entry);
            return;
        };
        report.top_level = entry.level;
        if self.list(entry.node, 0, guard).is_none() || self.level_of(entry.node) != entry.level {
            report.fault(Fault::Entry);
        }
        let mut met = vec![false; bound];
        let mut queue = vec![entry.node];
        met[entry.node as usize] = true;
        while let Some(node) = queue.pop() {
            for &word in self.list(node, 0, guard).map_or(&[][..], |list| list.words()) {
                let neighbor = node_of(word) as usize;
                if neighbor < bound && !met[neighbor] {
                    met[neighbor] = true;
                    queue.push(neighbor as NodeId);
                }
            }
        }
        for (node, met) in met.into_iter().enumerate() {
            if !met && self.list(node as NodeId, 0, guard).is_some() {
                report.unreachable += 1;
                report.fault(Fault::Unreachable { node: node as NodeId });
            }
        }
    }

    fn count_in_degrees(&self, report: &mut Report, in_degree: &[u32], guard: &Guard) {
        let (mut fewest, mut most) = (usize::MAX, 0);
        for (node, &degree) in in_degree.iter().enumerate() {
            if self.list(node as NodeId, 0, guard).is_some() {
                let degree = degree as usize;
                (fewest, most) = (fewest.min(degree), most.max(degree));
                report.in_degree_histogram[degree.min(16)] += 1;
            }
        }
        report.in_degree = (fewest, most);
    }
}
