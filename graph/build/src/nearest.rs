//! Exact nearest rows of a few points, for checking what a build is worth.
//!
//! Cost: every row is packed and compared with every point once.

use orthant_kernels::{IsaError, TileKernel};
use orthant_quant::Executor;

use crate::grid::Codes;
use crate::keys::{KeyTable, Packing};
use crate::parallel::Spares;
use crate::reservoir::{OfferScratch, Reservoirs, id_of};

/// Rows per task: packed they fit the second-level cache, and their distances to hundreds of points too.
const CHUNK: usize = 1024;

/// What tasks reuse.
#[derive(Default)]
struct Scratch {
    ids: Vec<u32>,
    packed: Vec<u8>,
    norms: Vec<i32>,
    distances: Vec<i32>,
    offer: OfferScratch,
}

/// The `count` nearest rows of `codes` to each of `points`, nearest first by (distance of codes, id); fewer if there are
/// fewer rows.
///
/// # Errors
/// The environment forces an instruction set that is unknown or missing.
/// # Panics
/// If `points` have another dimension.
pub fn nearest(
    codes: &Codes,
    points: &Codes,
    count: usize,
    executor: &dyn Executor,
) -> Result<Vec<Vec<u32>>, IsaError> {
    assert_eq!(codes.dim(), points.dim(), "rows and points have one dimension");
    let kernel = TileKernel::new(codes.dim())?;
    let mut keys = KeyTable::new(Packing::of_codes(codes.len(), codes.dim()), points.len(), count);
    if count > 0 {
        let reservoirs = Reservoirs::over(&mut keys);
        let spares = Spares::<Scratch>::new();
        executor.run(codes.len().div_ceil(CHUNK), &|chunk| {
            spares.with(|scratch| {
                let Scratch { ids, packed, norms, distances, offer } = scratch;
                let (from, to) = (chunk * CHUNK, codes.len().min((chunk + 1) * CHUNK));
                ids.clear();
                ids.extend(from as u32..to as u32);
                norms.clear();
                norms.extend_from_slice(&codes.norms()[from..to]);
                packed.resize(kernel.packed_bytes(ids.len()), 0);
                kernel.pack(&codes.bytes()[from * codes.stride()..], codes.stride(), ids.len(), packed);
                distances.resize(points.len() * ids.len(), 0);
                let (left, left_norms) = (points.bytes(), points.norms());
                kernel.squared_distances(
                    left,
                    points.stride(),
                    left_norms,
                    packed,
                    norms,
                    distances,
                    ids.len(),
                );
                for (point, distances) in distances.chunks_exact(ids.len()).enumerate() {
                    reservoirs.offer(&kernel, point as u32, None, ids, distances, offer);
                }
            });
        });
    }
    Ok((0..points.len()).map(|point| keys.row(point).map(id_of).collect()).collect())
}
