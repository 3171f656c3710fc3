//! Whatever is pushed comes back, padded and in order; columns and regions keep what was put.

use orthant_storage::persist::{FileWriter, MappedFile, Verify};
use orthant_storage::{Column, MemoryOptions, RowArena, RowLayout};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_come_back_as_pushed(dim in 1usize..70, padded: bool, values in prop::collection::vec(any::<u16>(), 0..4000)) {
        let layout = if padded { RowLayout::new::<u16>(dim) } else { RowLayout::with_stride(dim, dim) };
        let arena = RowArena::<u16>::new(layout, &MemoryOptions::default())?;
        let rows: Vec<&[u16]> = values.chunks_exact(dim).collect();
        for (id, row) in rows.iter().enumerate() {
            prop_assert_eq!(arena.push(row)?, id as u32);
        }
        prop_assert_eq!(arena.len(), rows.len());
        prop_assert_eq!(arena.is_empty(), rows.is_empty());
        prop_assert_eq!(arena.rows().len(), rows.len() * layout.stride());
        for (id, stored) in arena.rows().chunks(layout.stride()).enumerate() {
            prop_assert_eq!(&stored[..dim], rows[id]);
            prop_assert!(stored[dim..].iter().all(|&padding| padding == 0));
            prop_assert_eq!(arena.row(id as u32), Some(rows[id]));
        }
        prop_assert_eq!(arena.row(rows.len() as u32), None);
        prop_assert_eq!(arena.row(u32::MAX), None);
    }

    #[test]
    fn claims_may_be_published_in_any_order(order in Just((0..40u32).collect::<Vec<_>>()).prop_shuffle(), dropped in 0u32..40) {
        let arena = RowArena::<u32>::new(RowLayout::new::<u32>(3), &MemoryOptions::default())?;
        let mut claims: Vec<_> = (0..40).map(|_| arena.claim().map(Some)).collect::<Result<_, _>>()?;
        let mut is_done = [false; 40];
        for id in order {
            let mut claim = claims[id as usize].take().expect("each claim once");
            prop_assert_eq!(claim.id(), id);
            claim.row_mut().fill(id + 1);
            if id == dropped { drop(claim) } else { prop_assert_eq!(claim.publish(), id); }
            is_done[id as usize] = true;
            let whole = is_done.iter().take_while(|&&done| done).count();
            prop_assert_eq!(arena.len(), whole);
        }
        for id in 0..40 {
            let expected = if id == dropped { [0; 3] } else { [id + 1; 3] };
            prop_assert_eq!(arena.row(id), Some(&expected[..]));
        }
    }

    #[test]
    fn columns_keep_what_was_put(width in 1usize..9, puts in prop::collection::vec((0u32..5000, any::<u32>()), 0..200)) {
        let column = Column::<u32>::new(width, &MemoryOptions::default())?;
        let mut expected = std::collections::HashMap::new();
        for (id, value) in puts {
            column.ensure(id as usize + 1)?;
            // SAFETY: row `id` was ensured, and only this thread uses the column.
            unsafe { column.put(id, &vec![value; width]) };
            expected.insert(id, value);
        }
        column.ensure(5000)?;
        for id in 0..5000 {
            let value = expected.get(&id).copied().unwrap_or(0);
            // SAFETY: 5000 rows were ensured, and only this thread uses the column.
            prop_assert_eq!(unsafe { column.at(id) }, &vec![value; width][..]);
        }
    }

    #[test]
    fn files_give_back_their_sections(sections in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..5), version: u32) {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        let tag = |index: usize| [b'a' + index as u8; 8];
        let mut writer = FileWriter::create(&path, *b"PROPTEST", version)?;
        for (index, bytes) in sections.iter().enumerate() {
            writer.write_section(tag(index), bytes)?;
        }
        writer.finish()?;
        let file = MappedFile::open(&path, *b"PROPTEST", version, Verify::Full)?;
        prop_assert_eq!(file.sections().len(), sections.len());
        for (index, bytes) in sections.iter().enumerate() {
            prop_assert_eq!(file.bytes(tag(index)), Some(&bytes[..]));
            prop_assert_eq!(file.sections()[index].bytes, bytes.len() as u64);
        }
    }

    #[test]
    fn any_file_opens_or_is_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..10_000), has_magic: bool) {
        if has_magic && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(b"ORTHANT1");
        }
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        std::fs::write(&path, &bytes)?;
        for verify in [Verify::Full, Verify::HeaderOnly] {
            prop_assert!(MappedFile::open(&path, *b"PROPTEST", 1, verify).is_err());
        }
    }
}
