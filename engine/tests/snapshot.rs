//! Saving and opening: same results, same bytes, and no damage that goes unseen.

use orthant_engine::{Index, Key, KeyRef, Metric, OpenError, OpenOptions, Quantization, RowId, SearchParams};

mod support;
use support::clustered;

fn index(count: usize, quantization: Quantization, keys: bool) -> Index {
    let dim = 12;
    let rows = clustered(count, dim, 1);
    let mut index = Index::builder(dim, Metric::Cosine)
        .quantization(quantization)
        .threads(1)
        .ef_construction(48)
        .build()
        .unwrap();
    let names: Vec<Key> = (0..count)
        .map(|i| if i % 3 == 0 { Key::Int(i as u64 * 7) } else { format!("k{i}").into() })
        .collect();
    index.insert_batch(&rows, keys.then_some(&names[..])).unwrap();
    index.train().unwrap();
    index
}

fn same_results(a: &Index, b: &Index) {
    let queries = clustered(50, a.dim(), 2);
    for params in [SearchParams::new(10, 16), SearchParams::new(3, 100)] {
        assert_eq!(a.search_batch(&queries, params).unwrap(), b.search_batch(&queries, params).unwrap());
    }
}

#[test]
fn an_opened_index_is_the_saved_one_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    for quantization in [Quantization::None, Quantization::Sq8] {
        for keys in [false, true] {
            for load in [false, true] {
                let path = directory.path().join(format!("{quantization}-{keys}-{load}"));
                let before = index(800, quantization, keys);
                before.save(&path).unwrap();
                let options = OpenOptions { load, threads: 1, ..OpenOptions::default() };
                let after = Index::open(&path, &options).unwrap();
                assert_eq!(after.len(), 800);
                assert!(after.validate().is_ok());
                same_results(&before, &after);
                for node in 0..800 {
                    let row = RowId { node, generation: 0 };
                    let key = before.key(row).unwrap();
                    assert_eq!((after.key(row), after.id(&key)), (Some(key), Some(row)));
                }
                // Both take the same new rows in the same way, and then give the same file.
                let more = clustered(100, 12, 3);
                for index in [&before, &after] {
                    for (place, row) in more.chunks_exact(12).enumerate() {
                        match keys {
                            true => index.insert(format!("new {place}"), row).map(|_| ()).unwrap(),
                            false => index.insert_batch(row, None).map(|_| ()).unwrap(),
                        }
                    }
                }
                assert!(after.validate().is_ok());
                same_results(&before, &after);
                let (a, b) = (directory.path().join("a"), directory.path().join("b"));
                before.save(&a).unwrap();
                after.save(&b).unwrap();
                assert!(
                    std::fs::read(a).unwrap() == std::fs::read(b).unwrap(),
                    "the same index, the same bytes"
                );
            }
        }
    }
}

#[test]
fn one_seed_and_one_thread_give_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let path = directory.path().join(name);
        index(1500, Quantization::Sq8, true).save(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(bytes("a") == bytes("b"));
}

#[test]
fn empty_and_tiny_indexes_are_files_too() {
    let directory = tempfile::tempdir().unwrap();
    for count in [0, 1, 2] {
        let path = directory.path().join(format!("{count}"));
        let before = index(count, Quantization::Sq8, false);
        before.save(&path).unwrap();
        let after = Index::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(after.len(), count);
        same_results(&before, &after);
        after.insert_batch(&clustered(5, 12, 8), None).unwrap();
        assert_eq!(after.len(), count + 5);
    }
}

#[test]
fn every_flipped_byte_and_every_truncation_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let index = index(6, Quantization::Sq8, true);
    let options = OpenOptions::default();
    index.save(&path).unwrap();
    damages_are_found(&path, |bad| Index::open(bad, &options).map(|_| ()));
    index.save_without_rows(&path).unwrap();
    damages_are_found(&path, |bad| {
        Index::open_with_rows(bad, &options, 12, &mut rows_of(&index)).map(|_| ())
    });
}

fn damages_are_found(path: &std::path::Path, open: impl Fn(&std::path::Path) -> Result<(), OpenError>) {
    let good = std::fs::read(path).unwrap();
    let bad = path.with_file_name("bad");
    let is_refused = |bytes: &[u8]| {
        std::fs::write(&bad, bytes).unwrap();
        match open(&bad) {
            Ok(()) => false,
            Err(error) => {
                let text = format!("{error}");
                assert!(text.contains("bad"), "the error names the file: {text}");
                true
            }
        }
    };
    // All bytes that are not padding of zeros, and every 61st of those that are.
    let mut flips = 0;
    for place in 0..good.len() {
        if good[place] == 0 && place % 61 != 0 {
            continue;
        }
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 8);
        assert!(is_refused(&bytes), "byte {place}");
        flips += 1;
    }
    assert!(flips > 1000);
    for length in (0..good.len()).step_by(997).chain([good.len() - 1]) {
        assert!(is_refused(&good[..length]), "cut at {length}");
    }
}

/// A reader of the rows that `index` was filled with: of unit length or not, they are what was inserted.
fn rows_of(index: &Index) -> impl FnMut(KeyRef<'_>, &mut [f32]) -> bool {
    |key, row| {
        index.row(&key.to_key()).is_some_and(|found| {
            // Another length is another row of the same direction: the index makes them one.
            found.iter().zip(row).for_each(|(&from, to)| *to = from * 2.0);
            true
        })
    }
}

#[test]
fn an_index_without_rows_is_the_saved_one_once_it_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let options = OpenOptions { threads: 1, ..OpenOptions::default() };
    for quantization in [Quantization::None, Quantization::Sq8] {
        for (count, keys) in [(0, true), (1, false), (2, true), (900, false), (900, true)] {
            let before = index(count, quantization, keys);
            if count > 10 {
                // Rows are numbered anew in a file, and a key's number is not its row's.
                for key in (0..count).step_by(5) {
                    before.remove(&if keys { format!("k{key}").into() } else { Key::Int(key as u64) });
                }
            }
            let (a, b) = (directory.path().join("a"), directory.path().join("b"));
            before.save_without_rows(&a).unwrap();
            let (after, missing) = Index::open_with_rows(&a, &options, 12, &mut rows_of(&before)).unwrap();
            assert_eq!((after.len(), missing.len()), (before.len(), 0));
            assert!(after.validate().is_ok());
            let queries = clustered(50, 12, 2);
            for query in queries.chunks_exact(12) {
                let (a, b) = (before.search(query, 10, 64).unwrap(), after.search(query, 10, 64).unwrap());
                assert_eq!(
                    a.iter().map(|hit| &hit.key).collect::<Vec<_>>(),
                    b.iter().map(|hit| &hit.key).collect::<Vec<_>>()
                );
            }
            // Both take the same rows in the same way.
            after.save_without_rows(&b).unwrap();
            assert!(
                std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(),
                "the same lists, the same bytes"
            );
            for (place, row) in clustered(100, 12, 3).chunks_exact(12).enumerate() {
                match keys {
                    true => after.insert(format!("new {place}"), row).map(|_| ()).unwrap(),
                    false => after.insert_batch(row, None).map(|_| ()).unwrap(),
                }
            }
            assert!(after.validate().is_ok() && after.len() == before.len() + 100);
            // Neither form is taken for the other.
            assert!(Index::open(&a, &options).is_err());
            before.save(&b).unwrap();
            assert!(Index::open_with_rows(&b, &options, 12, &mut rows_of(&before)).is_err());
            assert!(Index::open_with_rows(&a, &options, 13, &mut rows_of(&before)).is_err());
        }
    }
}

#[test]
fn rows_that_are_not_given_are_in_no_result() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let before = index(600, Quantization::None, true);
    before.save_without_rows(&path).unwrap();
    let mut read = rows_of(&before);
    let mut some = |key: KeyRef<'_>, row: &mut [f32]| match key {
        KeyRef::Int(number) if number.is_multiple_of(2) => false,
        KeyRef::Int(number) if number.is_multiple_of(5) => {
            row.fill(f32::NAN);
            true
        }
        key => read(key, row),
    };
    let (after, missing) = Index::open_with_rows(&path, &OpenOptions::default(), 12, &mut some).unwrap();
    assert!(missing.len() > 100 && missing.len() + after.len() == 600);
    assert!(after.validate().is_ok());
    let mut found_itself = 0;
    for row in 0..600 {
        let row = RowId { node: row, generation: 0 };
        let key = before.key(row).unwrap();
        let vector = before.row(&key).unwrap();
        let found = after.search(&vector, 10, 64).unwrap();
        assert!(found.len() == 10 && found.iter().all(|hit| !missing.contains(&hit.key)));
        found_itself += usize::from(found.iter().any(|hit| hit.key == key));
    }
    assert!(found_itself >= after.len() - 3, "{found_itself} of {}", after.len());
}

#[test]
fn an_unwritable_place_leaves_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("index");
    let error = index(5, Quantization::None, false).save(&path).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    // A directory in the way of the file.
    let taken = directory.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(index(5, Quantization::None, false).save(&taken).is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
}
