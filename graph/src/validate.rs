//! Checks what the graph promises, node by node.
//!
//! Meant for a graph that nobody writes to: beside writers it may report a node that is half linked, or one
//! that is being taken out. Cost: every list is read a few times; about the time of a few searches per thousand nodes.

use std::fmt;

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::graph::Graph;
use crate::lists::{EMPTY, is_anchored, names, node_of};
use crate::slots::{CLOSED, PRESENT};

/// What [`Graph::validate`] found.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Nodes in the graph, without removed ones.
    pub nodes: usize,
    /// Removed nodes that some list still names.
    pub waiting: usize,
    /// Places below the bound that no node has.
    pub empty: usize,
    /// Edges that lead to removed nodes.
    pub stale_edges: usize,
    /// Parts of level 0 that no edge in any direction connects; 1 for a graph with nodes.
    pub components: usize,
    /// Most steps in the anchor tree from a node to the root.
    pub tree_depth: usize,
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
    /// The anchors of a node lead to no root, or to another root than those of the others.
    Tree {
        /// The node.
        node: NodeId,
    },
    /// The count of a node is not the number of lists that name it.
    Count {
        /// The node.
        node: NodeId,
        /// What the graph counts.
        counted: u32,
        /// How many lists name it (one more for the entry point).
        exact: u32,
    },
    /// An anchored edge leads to a node that was taken out.
    AnchoredToRemoved {
        /// Whose list.
        node: NodeId,
        /// The removed node.
        neighbor: NodeId,
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

/// What the walk over all lists counts up.
struct Tally {
    /// Level-0 edges from live nodes to each node.
    in_degree: Vec<u32>,
    /// Lists that name each node.
    exact: Vec<u32>,
}

impl Graph {
    /// Checks levels, degrees, edges, counts, anchors and that every node can be reached.
    pub fn validate(&self) -> Report {
        let guard = crossbeam_epoch::pin();
        let mut report = Report::default();
        let bound = self.node_bound();
        let mut tally = Tally { in_degree: vec![0; bound], exact: vec![0; bound] };
        for node in 0..bound as NodeId {
            if !self.is_named(node, &guard) {
                report.empty += 1;
                continue;
            }
            let is_live = self.is_open(node);
            let top = self.level_of(node);
            if is_live {
                report.nodes += 1;
                report.level_counts.resize(report.level_counts.len().max(top as usize + 1), 0);
                report.level_counts[top as usize] += 1;
                self.check_anchors(node, &mut report, &guard);
            } else {
                report.waiting += 1;
            }
            for level in 0..=top {
                self.check_list(node, level, is_live, &mut report, &mut tally, &guard);
            }
        }
        if let Some(entry) = self.entry.load().filter(|entry| (entry.node as usize) < bound) {
            tally.exact[entry.node as usize] += 1;
        }
        self.check_counts(&mut report, &tally.exact, &guard);
        if report.nodes > 0 {
            self.check_reach(&mut report, &guard);
            self.check_tree(&mut report);
            self.count_components(&mut report, &guard);
            self.count_in_degrees(&mut report, &tally.in_degree);
        }
        report
    }

    /// Whether a place has a node that some list may name.
    fn is_named(&self, node: NodeId, guard: &Guard) -> bool {
        self.list(node, 0, guard).is_some() && !self.slots.is_ripe(node)
    }

    /// Whether a node is in the graph and not taken out (hidden or not).
    fn is_open(&self, node: NodeId) -> bool {
        let state = self.slots.state(node);
        state & PRESENT != 0 && state & CLOSED == 0
    }

    fn check_list(
        &self,
        node: NodeId,
        level: u8,
        is_live: bool,
        report: &mut Report,
        tally: &mut Tally,
        guard: &Guard,
    ) {
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
            let exists = (neighbor as usize) < tally.exact.len()
                && self.is_named(neighbor, guard)
                && self.list(neighbor, level, guard).is_some();
            if !exists {
                report.fault(Fault::Dangling { node, level, neighbor });
                continue;
            }
            if neighbor == node || names(&words[..place], neighbor) {
                report.fault(Fault::Repeated { node, level, neighbor });
            }
            tally.exact[neighbor as usize] += 1;
            let leads_on = self.is_open(neighbor);
            report.stale_edges += usize::from(!leads_on);
            if is_live && is_anchored(word) && !leads_on {
                report.fault(Fault::AnchoredToRemoved { node, neighbor });
            }
            if is_live && level == 0 {
                tally.in_degree[neighbor as usize] += 1;
            }
        }
        if is_live && level == 0 {
            report.base_edges += degree;
        } else if is_live {
            report.upper_edges += degree;
        }
    }

    fn check_counts(&self, report: &mut Report, exact: &[u32], guard: &Guard) {
        for (node, &exact) in exact.iter().enumerate() {
            let node = node as NodeId;
            let counted = self.slots.count(node);
            if self.is_named(node, guard) && counted != exact {
                report.fault(Fault::Count { node, counted, exact });
            }
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
        let anchored = words.iter().filter(|&&word| is_anchored(word)).count();
        if !both_ways
            || anchored > self.config.anchor_limit()
            || anchor.is_some_and(|anchor| !has(node, anchor))
        {
            report.fault(Fault::Anchor { node });
        }
    }

    /// Every node's anchors lead up to one root.
    fn check_tree(&self, report: &mut Report) {
        let bound = self.node_bound();
        // Steps to the root + 1; 0: not known yet.
        let mut depths = vec![0usize; bound];
        let mut root = None;
        let mut path = Vec::new();
        for start in (0..bound as NodeId).filter(|&node| self.is_open(node)) {
            path.clear();
            let mut place = start;
            let depth = loop {
                if depths[place as usize] > 0 {
                    break depths[place as usize];
                }
                path.push(place);
                match self.anchor_of(place).filter(|&above| (above as usize) < bound && self.is_open(above)) {
                    Some(above) if path.len() <= report.nodes => place = above,
                    // A ring, or an anchor that is gone.
                    _ if self.anchor_of(place).is_some() => break 0,
                    _ => {
                        let first = *root.get_or_insert(place);
                        break if first == place {
                            path.pop().map_or(0, |_| {
                                depths[place as usize] = 1;
                                1
                            })
                        } else {
                            0
                        };
                    }
                }
            };
            if depth == 0 {
                report.fault(Fault::Tree { node: start });
                continue;
            }
            for (steps, &node) in path.iter().rev().enumerate() {
                depths[node as usize] = depth + steps + 1;
            }
            report.tree_depth = report.tree_depth.max(depths[start as usize] - 1);
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
        if !self.is_open(entry.node) || self.level_of(entry.node) != entry.level {
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
            if !met && self.is_open(node as NodeId) {
                report.unreachable += 1;
                report.fault(Fault::Unreachable { node: node as NodeId });
            }
        }
    }

    /// Parts of level 0, edges taken both ways.
    fn count_components(&self, report: &mut Report, guard: &Guard) {
        let mut parts: Vec<NodeId> = (0..self.node_bound() as NodeId).collect();
        fn part_of(parts: &mut [NodeId], mut node: NodeId) -> NodeId {
            while parts[node as usize] != node {
                parts[node as usize] = parts[parts[node as usize] as usize];
                node = parts[node as usize];
            }
            node
        }
        let mut count = report.nodes;
        for node in (0..self.node_bound() as NodeId).filter(|&node| self.is_open(node)) {
            for &word in self.list(node, 0, guard).map_or(&[][..], |list| list.words()) {
                let neighbor = node_of(word);
                if (neighbor as usize) < parts.len() && self.is_open(neighbor) {
                    let (a, b) = (part_of(&mut parts, node), part_of(&mut parts, neighbor));
                    count -= usize::from(a != b);
                    parts[a as usize] = b;
                }
            }
        }
        report.components = count;
    }

    fn count_in_degrees(&self, report: &mut Report, in_degree: &[u32]) {
        let (mut fewest, mut most) = (usize::MAX, 0);
        for (node, &degree) in in_degree.iter().enumerate() {
            if self.is_open(node as NodeId) {
                let degree = degree as usize;
                (fewest, most) = (fewest.min(degree), most.max(degree));
                report.in_degree_histogram[degree.min(16)] += 1;
            }
        }
        report.in_degree = (fewest, most);
    }
}
