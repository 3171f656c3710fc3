//! What is written comes back, in every format and element type; damaged files are errors, not panics.

use orthant_formats::{Element, Format, FormatError, GroundTruth, VectorFile, VectorWriter, WriteError};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// Every pair of format and element that goes together.
fn kinds() -> impl Strategy<Value = (Format, Element)> {
    let kinds: Vec<_> = Format::ALL
        .into_iter()
        .flat_map(|format| Element::ALL.map(|element| (format, element)))
        .filter(|(format, element)| format.element().is_none_or(|only| only == *element))
        .collect();
    prop::sample::select(kinds)
}

/// A value that `element` can hold, made of any bits.
fn value(element: Element, bits: u32) -> f32 {
    match element {
        Element::U8 => (bits % 256) as f32,
        Element::I8 => (bits % 256) as f32 - 128.0,
        // What f32 holds exactly.
        Element::I32 => (bits % (1 << 25)) as f32 - (1 << 24) as f32,
        Element::F16 => (bits % 4096) as f32 / 8.0 - 256.0,
        Element::F32 | Element::F64 => {
            let value = f32::from_bits(bits);
            if value.is_finite() { value } else { 1.5 }
        }
    }
}

fn write(path: &Path, element: Element, dim: usize, rows: &[Vec<f32>]) -> Result<(), WriteError> {
    let mut writer = VectorWriter::create(path, element, rows.len(), dim)?;
    rows.iter().try_for_each(|row| writer.write_row(row))?;
    writer.finish()
}

/// Opens and reads everything there is; whatever comes of it, it must not panic.
fn read_all(path: &PathBuf) -> Result<usize, FormatError> {
    let _ = GroundTruth::read(path);
    let file = VectorFile::open(path)?;
    let mut rows = vec![0.0; file.rows() * file.dim()];
    let _ = (file.as_f32(), file.as_f32_strided(), file.as_u8());
    file.read_rows(0..file.rows(), &mut rows)?;
    Ok(rows.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_come_back((format, element) in kinds(), dim in 1usize..40, rows in 1usize..20, seed in any::<u64>()) {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(format!("file.{}", format.extension()));
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let rows: Vec<Vec<f32>> =
            (0..rows).map(|_| (0..dim).map(|_| value(element, next())).collect()).collect();
        write(&path, element, dim, &rows)?;

        let file = VectorFile::open(&path)?;
        prop_assert_eq!((file.format(), file.element()), (format, element));
        prop_assert_eq!((file.rows(), file.dim(), file.path()), (rows.len(), dim, path.as_path()));
        let mut all = vec![0.0; rows.len() * dim];
        file.read_rows(0..rows.len(), &mut all)?;
        prop_assert_eq!(&all, &rows.concat());
        let mut row = vec![0.0; dim];
        for (index, expected) in rows.iter().enumerate() {
            file.read_row(index, &mut row)?;
            prop_assert_eq!(&row, expected);
            prop_assert_eq!(file.row_bytes(index).len(), dim * element.bytes());
        }
        let is_packed = !matches!(format, Format::Fvecs | Format::Bvecs | Format::Ivecs);
        prop_assert_eq!(file.as_f32().is_some(), element == Element::F32 && is_packed);
        prop_assert_eq!(file.as_u8().is_some(), element == Element::U8 && is_packed);
        if let Some((elements, stride)) = file.as_f32_strided() {
            for (index, expected) in rows.iter().enumerate() {
                prop_assert_eq!(&elements[index * stride..][..dim], &expected[..]);
            }
        }
    }

    #[test]
    fn damaged_files_never_panic(
        (format, element) in kinds(),
        dim in 1usize..6,
        rows in 1usize..5,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(format!("file.{}", format.extension()));
        write(&path, element, dim, &vec![vec![3.0; dim]; rows])?;
        let mut bytes = std::fs::read(&path)?;
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let whole = bytes.len();
        if let Some(cut) = cut {
            bytes.truncate(cut.index(whole));
        }
        std::fs::write(&path, &bytes)?;
        if let Err(error) = read_all(&path) {
            prop_assert!(error.to_string().contains(&format!("file.{}: ", format.extension())), "{}", error);
        } else {
            prop_assert!(bytes.len() <= whole);
        }
    }

    #[test]
    fn any_bytes_never_panic(format in prop::sample::select(Format::ALL.to_vec()), mut bytes in prop::collection::vec(any::<u8>(), 0..200), is_npy: bool) {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(format!("file.{}", format.extension()));
        if is_npy {
            bytes.splice(0..0, *b"\x93NUMPY\x01\x00\x20\x00{'descr'");
        }
        std::fs::write(&path, &bytes)?;
        let _ = read_all(&path);
    }

    #[test]
    fn ground_truth_comes_back(queries in 0usize..8, k in 1usize..12, seed in any::<u32>(), has_distances: bool) {
        let directory = tempfile::tempdir()?;
        let ids: Vec<u32> = (0..queries * k).map(|n| seed.wrapping_mul(n as u32 + 1) >> 1).collect();
        let distances = (has_distances && queries > 0).then(|| ids.iter().map(|&id| id as f32 / 7.0).collect());
        let truth = GroundTruth { queries, k, ids, distances };
        let path = directory.path().join("truth.ibin");
        truth.write(&path)?;
        prop_assert_eq!(GroundTruth::read(&path)?, truth.clone());
        if queries > 0 {
            let path = directory.path().join("truth.ivecs");
            truth.write(&path)?;
            prop_assert_eq!(GroundTruth::read(&path)?, GroundTruth { distances: None, ..truth });
        }
    }
}
