//! Affinity: the plan worker -> core, and the system call that carries it out.
//!
//! A plan is made once, when the pool is built. Pinning is done by each worker on itself before it takes
//! its first task; a core the system refuses is an error of [`build`](crate::PoolBuilder::build).

use crate::topology::Topology;

/// Where the workers may run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affinity {
    /// Wherever the operating system puts them.
    #[default]
    None,
    /// Worker `i` on the `i`-th of these cores (the system's numbers), from the start again when there are
    /// more workers than cores.
    Cores(Vec<usize>),
    /// On all cores this process may use, physical cores first: a second hardware thread of a core gets a
    /// worker only when every core has one. Nodes are filled one after the other.
    Spread,
}

/// A worker's place: the core it is pinned to, if any, and the node it steals on first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) core: Option<usize>,
    pub(crate) node: usize,
}

/// The places of `threads` workers.
pub(crate) fn plan(affinity: &Affinity, threads: usize, topology: &Topology) -> Vec<Place> {
    let cores = match affinity {
        Affinity::None => Vec::new(),
        Affinity::Cores(cores) => cores.clone(),
        Affinity::Spread => topology.spread(),
    };
    if cores.is_empty() {
        return vec![Place { core: None, node: 0 }; threads];
    }
    cores
        .iter()
        .cycle()
        .take(threads)
        .map(|&core| Place { core: Some(core), node: topology.node_of(core) })
        .collect()
}

/// Pins the calling thread to `core`.
///
/// # Errors
/// What the system says: no such core, or one that this process may not use.
#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) fn pin(core: usize) -> std::io::Result<()> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // The set has a fixed size, and CPU_SET would write past it.
    if core >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: `core` is a bit inside the set, checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: 0 is the calling thread; the set is valid for its stated size.
    let code = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Pinning is not offered here.
///
/// # Errors
/// Always.
#[cfg(not(all(target_os = "linux", not(loom))))]
pub(crate) fn pin(_core: usize) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The cores the calling thread may run on, ascending; empty where the system does not say.
pub(crate) fn allowed_cores() -> Vec<usize> {
    #[cfg(all(target_os = "linux", not(loom)))]
    {
        // SAFETY: an all-zero `cpu_set_t` is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: 0 is the calling thread; the set is valid for its stated size.
        let code = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
        if code == 0 {
            let bits = 8 * size_of::<libc::cpu_set_t>();
            // SAFETY: `core` is a bit inside the set.
            return (0..bits).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect();
        }
    }
    Vec::new()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::topology::Core;

    fn topology() -> Topology {
        // Two nodes with two cores of two hardware threads each, numbered as Linux often does.
        let core = |id, node, physical| Core { id, node, physical };
        Topology::new((0..8).map(|id| core(id, id % 4 / 2, id % 4)).collect())
    }

    #[test]
    fn spread_takes_physical_cores_first() {
        let places = plan(&Affinity::Spread, 9, &topology());
        let cores: Vec<_> = places.iter().map(|place| place.core.unwrap()).collect();
        assert_eq!(cores, [0, 1, 2, 3, 4, 5, 6, 7, 0]);
        let nodes: Vec<_> = places.iter().map(|place| place.node).collect();
        assert_eq!(nodes, [0, 0, 1, 1, 0, 0, 1, 1, 0]);
    }

    #[test]
    fn listed_cores_are_taken_in_turn() {
        let places = plan(&Affinity::Cores(vec![6, 1]), 3, &topology());
        assert_eq!(places[0], Place { core: Some(6), node: 1 });
        assert_eq!(places[1], Place { core: Some(1), node: 0 });
        assert_eq!(places[2], places[0]);
    }

    #[test]
    fn no_affinity_pins_nobody() {
        assert!(plan(&Affinity::None, 3, &topology()).iter().all(|place| place.core.is_none()));
    }

    #[test]
    fn pinning_to_a_core_that_is_not_there_is_an_error() {
        assert!(pin(1 << 20).is_err());
        assert!(pin(1023).is_err());
    }
}
