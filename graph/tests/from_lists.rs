//! Graphs made of lists at once keep every promise, whatever the lists.

use orthant_graph::{Graph, GraphConfig, GraphMemory, LevelDraw, LevelLists, NodeId, Scorer, Scratch, Space};
use proptest::prelude::*;

/// Points on a line.
struct Line(Vec<f32>);
struct From<'a>(&'a [f32], f32);

impl Scorer for From<'_> {
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        out.iter_mut().zip(ids).for_each(|(out, &id)| *out = (self.0[id as usize] - self.1).powi(2));
    }
}
impl Space for Line {
    type Scorer<'a> = From<'a>;
    fn scorer(&self, id: NodeId) -> From<'_> {
        From(&self.0, self.0[id as usize])
    }
}

/// Lists of at most `width` of `nodes`, drawn from `edges`.
fn lists(nodes: &[NodeId], width: usize, edges: &[(u32, u32)]) -> Vec<u32> {
    let mut words = vec![u32::MAX; nodes.len() * width];
    for &(from, to) in edges {
        let place = from as usize % nodes.len();
        let to = nodes[to as usize % nodes.len()];
        let list = &mut words[place * width..][..width];
        if let Some(free) = list.iter().position(|&word| word == u32::MAX)
            && to != nodes[place]
            && !list.contains(&to)
        {
            list[free] = to;
        }
    }
    words
}

fn graph_of(line: &Line, m: usize, edges: &[(u32, u32)]) -> Graph {
    let config = GraphConfig::new(m, 20).unwrap();
    let count = line.0.len();
    let draw = LevelDraw::new(3, m);
    let levels: Vec<u8> = (0..count as NodeId).map(|id| draw.level(id)).collect();
    let all: Vec<NodeId> = (0..count as NodeId).collect();
    let upper: Vec<LevelLists> = (1..=levels.iter().copied().max().unwrap_or(0))
        .map(|level| {
            let nodes: Vec<NodeId> = all.iter().copied().filter(|&id| levels[id as usize] >= level).collect();
            let words = lists(&nodes, m, edges);
            LevelLists { nodes, words }
        })
        .collect();
    let base = if count == 0 { Vec::new() } else { lists(&all, 2 * m, edges) };
    Graph::from_lists(config, GraphMemory::heap_for(2 * count + 8, &config), &levels, base, &upper, line)
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_lists_make_a_whole_graph(
        count in 0usize..120,
        m in 2usize..6,
        edges in prop::collection::vec((0u32..1000, 0u32..1000), 0..900),
    ) {
        let line = Line((0..count).map(|i| (i as f32 * 0.7).sin()).collect());
        let graph = graph_of(&line, m, &edges);
        prop_assert!(graph.validate().is_ok(), "{}", graph.validate());
        prop_assert_eq!(graph.len(), count);
        let found = graph.search(&From(&line.0, 0.3), count.max(1), &mut Scratch::new()).len();
        prop_assert_eq!(found, count, "all can be reached");
    }

    #[test]
    fn inserts_and_removals_go_on(count in 1usize..80, edges in prop::collection::vec((0u32..1000, 0u32..1000), 0..400)) {
        let line = Line((0..count + 40).map(|i| (i as f32 * 0.7).sin()).collect());
        let graph = graph_of(&Line(line.0[..count].to_vec()), 3, &edges);
        let mut scratch = Scratch::new();
        for id in count as NodeId..count as NodeId + 8 {
            graph.insert(id, 0, &line, &mut scratch).unwrap();
        }
        for id in (0..count as NodeId).step_by(2) {
            graph.remove(id, 0, &line, &mut scratch).unwrap();
        }
        prop_assert!(graph.validate().is_ok(), "{}", graph.validate());
        prop_assert_eq!(graph.len(), count / 2 + 8);
    }
}

#[test]
#[should_panic(expected = "no node twice")]
fn a_list_with_its_own_node_is_refused() {
    let config = GraphConfig::new(2, 10).unwrap();
    let base = vec![0, u32::MAX, u32::MAX, u32::MAX];
    let _ = Graph::from_lists(config, GraphMemory::heap(4, 4), &[0], base, &[], &Line(vec![0.0]));
}
