//! Places: latitude and longitude as numbers for the box around a circle, then the exact distance.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::slices::Slices;
use crate::filter::float_order;
use crate::values::earth_distance;

/// Meters of one degree of latitude, a little less than anywhere on the sphere: boxes come out too large, never too
/// small.
const METERS_PER_DEGREE: f64 = 111_000.0;

/// Places of rows.
#[derive(Debug, Clone, Default)]
pub(super) struct GeoIndex {
    latitudes: Slices,
    longitudes: Slices,
    places: HashMap<u32, (f64, f64)>,
}

impl GeoIndex {
    pub(super) fn insert(&mut self, row: u32, lat: f64, lon: f64) {
        self.latitudes.insert(row, float_order(lat));
        self.longitudes.insert(row, float_order(lon));
        self.places.insert(row, (lat, lon));
    }

    pub(super) fn remove_all(&mut self, rows: &RoaringBitmap) {
        self.latitudes.remove_all(rows);
        self.longitudes.remove_all(rows);
        for row in rows {
            self.places.remove(&row);
        }
    }

    pub(super) fn within(&self, lat: f64, lon: f64, meters: f64, live: &RoaringBitmap) -> RoaringBitmap {
        let up = meters / METERS_PER_DEGREE;
        let band = (float_order((lat - up).max(-90.0)), float_order((lat + up).min(90.0)));
        let mut set = self.latitudes.between(band.0, band.1, live);
        // Near a pole, or around the date line, longitude says little: the exact test is enough.
        let widest = (lat.abs() + up).to_radians().cos();
        let aside = if lat.abs() + up < 89.0 && widest > 0.0 { up / widest } else { 360.0 };
        if lon - aside >= -180.0 && lon + aside <= 180.0 {
            set = self.longitudes.between(float_order(lon - aside), float_order(lon + aside), &set);
        }
        set.retain(|row| {
            self.places.get(&row).is_some_and(|&place| earth_distance((lat, lon), place) <= meters)
        });
        set
    }

    pub(super) fn bytes(&self) -> usize {
        self.latitudes.bytes() + self.longitudes.bytes() + self.places.len() * 32
    }
}
