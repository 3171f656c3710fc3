//! Opening a file: header, lengths and checksums first, then nothing but pointers into a mapping.

use super::{ALIGN, CHUNK, ENTRY, Header, MAGIC, Tag, array, checksum};
use crate::os;
use crate::pages::{MemoryOptions, Region, RegionError};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// From here on checksums are computed on two threads: a thread costs about 50 us to start, the
/// checksums of 16 MiB about 1 ms.
const TWO_THREADS_FROM: usize = 16 << 20;

/// What to check when a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Every byte. Any changed byte and any missing or added one is found.
    #[default]
    Full,
    /// Header, table and lengths: no section is read. Damage inside a section goes unseen.
    HeaderOnly,
}

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused to open, measure or map the file.
    #[error("{}: cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file does not start like a file of this crate.
    #[error("{}: not an Orthant file: it starts with {found}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: Tag,
    },
    /// A sound file of another kind.
    #[error("{}: holds {found}, expected {expected}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// Kind in the file.
        found: Tag,
        /// Kind asked for.
        expected: Tag,
    },
    /// The file was written by a later version.
    #[error("{}: has version {found}; up to {supported} can be read", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Latest version that can be read.
        supported: u32,
    },
    /// The file does not have the length its header says, or no room for a header.
    #[error("{}: is {found} bytes long, expected {expected}", path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Bytes in the file.
        found: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// Header or table have the wrong checksum, or say what cannot be.
    #[error("{}: the {part} at byte {offset} is damaged (checksum {found:016x}, expected {expected:016x})", path.display())]
    HeaderDamaged {
        /// The file.
        path: PathBuf,
        /// `"header"` or `"section table"`.
        part: &'static str,
        /// Where it starts.
        offset: u64,
        /// Checksum of the bytes.
        found: u64,
        /// Checksum there should be.
        expected: u64,
    },
    /// A chunk of the sections has the wrong checksum.
    #[error("{}: damaged between bytes {offset} and {}, at section {section} (checksum {found:016x}, expected {expected:016x})", path.display(), offset + bytes)]
    ChunkDamaged {
        /// The file.
        path: PathBuf,
        /// The first section that has bytes in the chunk.
        section: Tag,
        /// Where the chunk starts.
        offset: u64,
        /// Bytes in it.
        bytes: u64,
        /// Checksum of the bytes.
        found: u64,
        /// Checksum there should be.
        expected: u64,
    },
    /// A section that is needed is not there.
    #[error("{}: there is no section {tag}", path.display())]
    NoSection {
        /// The file.
        path: PathBuf,
        /// The section asked for.
        tag: Tag,
    },
    /// There is no memory to map a section into.
    #[error("{}: section {tag} cannot be mapped", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// The section.
        tag: Tag,
        /// Why.
        source: RegionError,
    },
}

/// One section of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub tag: Tag,
    /// Its first byte in the file; a multiple of 4096.
    pub offset: u64,
    /// Its bytes, without padding.
    pub bytes: u64,
}

/// A file of sections, checked and mapped.
///
/// See the [module](super) for an example.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    file: File,
    map: Map,
    version: u32,
    sections: Vec<Section>,
}

/// The mapping, without its bytes in debug output.
struct Map(os::ReadMap);

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.bytes().len())
    }
}

impl MappedFile {
    /// Opens a file of this kind, of version `max_version` or earlier, and checks it.
    ///
    /// While the value (or a region made from it) lives, the file must not be cut or written in
    /// place. Nothing in this crate does so: a new version of a file replaces the old one's name, and
    /// the old bytes stay for those who have them mapped.
    ///
    /// # Errors
    /// Every [`OpenError`] up to `ChunkDamaged`; the first damage in the file is named.
    pub fn open(
        path: impl AsRef<Path>,
        kind: [u8; 8],
        max_version: u32,
        verify: Verify,
    ) -> Result<MappedFile, OpenError> {
        let path = path.as_ref();
        let unreadable = |source| OpenError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(unreadable)?;
        let file_bytes = file.metadata().map_err(unreadable)?.len();
        let too_large = |_| unreadable(io::ErrorKind::FileTooLarge.into());
        let map = os::ReadMap::new(&file, usize::try_from(file_bytes).map_err(too_large)?);
        let map = Map(map.map_err(unreadable)?);

        let header = check_header(path, map.0.bytes())?;
        if header.kind != kind {
            let (found, expected) = (Tag(header.kind), Tag(kind));
            return Err(OpenError::WrongKind { path: path.to_path_buf(), found, expected });
        }
        if header.version > max_version {
            let (found, supported) = (header.version, max_version);
            return Err(OpenError::TooNew { path: path.to_path_buf(), found, supported });
        }
        let (sections, checksums) = check_table(path, map.0.bytes(), &header)?;
        if verify == Verify::Full {
            let body = &map.0.bytes()[ALIGN..header.table_offset as usize];
            check_chunks(path, body, &checksums, &sections)?;
        }
        Ok(MappedFile { path: path.to_path_buf(), file, map, version: header.version, sections })
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version the file was written as.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The sections, in the order they were written.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The bytes of a section; `None` if there is no such section. They start on 4096 bytes.
    pub fn bytes(&self, tag: [u8; 8]) -> Option<&[u8]> {
        let section = self.find(tag)?;
        // `check_table` has seen that sections lie inside the file.
        Some(&self.map.0.bytes()[section.offset as usize..][..section.bytes as usize])
    }

    /// A region that starts with the bytes of a section and grows behind them.
    ///
    /// The bytes are mapped, not copied: they are read from the disk (or the system's cache) when
    /// they are first touched, on small pages. Writing to them copies the page that is written; the
    /// file is never changed. Use [`region_copied`](Self::region_copied) where huge pages are worth
    /// a copy.
    ///
    /// # Errors
    /// [`OpenError::NoSection`], [`OpenError::Memory`].
    pub fn region(&self, tag: [u8; 8], options: &MemoryOptions) -> Result<Region, OpenError> {
        let section = self.section(tag)?;
        if os::page_size() > ALIGN {
            // Sections start on 4096 bytes, which larger pages cannot be mapped from.
            return self.region_copied(tag, options);
        }
        Region::map(&self.file, section.offset, section.bytes as usize, options)
            .map_err(|source| OpenError::Memory { path: self.path.clone(), tag: Tag(tag), source })
    }

    /// A region that starts with a copy of the bytes of a section, on huge pages if the options say
    /// so. Costs the copy (some 0.4 s per GB) and the memory; random reads are faster afterwards,
    /// since a 4 KiB page per row costs a page walk per row.
    ///
    /// # Errors
    /// [`OpenError::NoSection`], [`OpenError::Memory`].
    pub fn region_copied(&self, tag: [u8; 8], options: &MemoryOptions) -> Result<Region, OpenError> {
        let section = self.section(tag)?;
        let source = &self.map.0.bytes()[section.offset as usize..][..section.bytes as usize];
        let no_memory = |source| OpenError::Memory { path: self.path.clone(), tag: Tag(tag), source };
        let expected = options.expected_bytes.unwrap_or(0).max(source.len());
        let options = MemoryOptions { expected_bytes: Some(expected), ..options.clone() };
        let region = Region::reserve(&options).map_err(no_memory)?;
        region.ensure(source.len()).map_err(no_memory)?;
        // SAFETY: `source.len()` bytes from the start were just committed, nobody else knows the
        // region yet, and the mapping of the file is another one.
        unsafe { region.as_ptr().copy_from_nonoverlapping(source.as_ptr(), source.len()) };
        Ok(region)
    }

    fn find(&self, tag: [u8; 8]) -> Option<Section> {
        self.sections.iter().copied().find(|section| section.tag.0 == tag)
    }

    fn section(&self, tag: [u8; 8]) -> Result<Section, OpenError> {
        self.find(tag).ok_or_else(|| OpenError::NoSection { path: self.path.clone(), tag: Tag(tag) })
    }
}

fn check_header(path: &Path, file: &[u8]) -> Result<Header, OpenError> {
    let path = || path.to_path_buf();
    let start = file.len().min(8);
    if file[..start] != MAGIC[..start] {
        let mut found = [0; 8];
        found[..start].copy_from_slice(&file[..start]);
        return Err(OpenError::NotOurs { path: path(), found: Tag(found) });
    }
    let wrong_length = |expected| OpenError::WrongLength { path: path(), found: file.len() as u64, expected };
    let Some(bytes) = file.first_chunk::<ALIGN>() else { return Err(wrong_length(ALIGN as u64)) };
    let found = checksum(&bytes[..ALIGN - 8]);
    let expected = u64::from_le_bytes(array(bytes, ALIGN - 8));
    if found != expected {
        return Err(OpenError::HeaderDamaged { path: path(), part: "header", offset: 0, found, expected });
    }
    let header = Header::from_bytes(bytes);
    if header.file_bytes != file.len() as u64 {
        return Err(wrong_length(header.file_bytes));
    }
    Ok(header)
}

/// The sections and the checksums of the chunks.
fn check_table(path: &Path, file: &[u8], header: &Header) -> Result<(Vec<Section>, Vec<u64>), OpenError> {
    let damaged = |found| OpenError::HeaderDamaged {
        path: path.to_path_buf(),
        part: "section table",
        offset: header.table_offset,
        found,
        expected: header.table_checksum,
    };
    let table_offset = usize::try_from(header.table_offset).unwrap_or(usize::MAX);
    let table = file.get(table_offset..).ok_or_else(|| damaged(0))?;
    let found = checksum(table);
    let entries = (header.sections as usize).saturating_mul(ENTRY);
    let chunks = table_offset.saturating_sub(ALIGN).div_ceil(CHUNK);
    // The checksum alone would do for damage; the other conditions keep a file that somebody else
    // made, with sound checksums, from taking us out of bounds.
    if found != header.table_checksum
        || table_offset < ALIGN
        || table.len() != entries.saturating_add(chunks.saturating_mul(8))
    {
        return Err(damaged(found));
    }
    let (entries, checksums) = table.split_at(entries);
    let mut sections = Vec::with_capacity(header.sections as usize);
    for entry in entries.chunks_exact(ENTRY) {
        let section = Section {
            tag: Tag(array(entry, 0)),
            offset: u64::from_le_bytes(array(entry, 8)),
            bytes: u64::from_le_bytes(array(entry, 16)),
        };
        let end = section.offset.checked_add(section.bytes);
        let is_inside = section.offset >= ALIGN as u64
            && section.offset.is_multiple_of(ALIGN as u64)
            && end.is_some_and(|end| end <= header.table_offset);
        if !is_inside {
            return Err(damaged(found));
        }
        sections.push(section);
    }
    let checksums = checksums.chunks_exact(8).map(|bytes| u64::from_le_bytes(array(bytes, 0)));
    Ok((sections, checksums.collect()))
}

/// Compares the checksums of all chunks, on two threads if there is enough to do.
fn check_chunks(path: &Path, body: &[u8], checksums: &[u64], sections: &[Section]) -> Result<(), OpenError> {
    let first_bad = |range: std::ops::Range<usize>| {
        let chunks = body[range.start * CHUNK..(range.end * CHUNK).min(body.len())].chunks(CHUNK);
        range.clone().zip(chunks).find_map(|(index, chunk)| {
            let found = checksum(chunk);
            (found != checksums[index]).then_some((index, chunk.len(), found))
        })
    };
    let half = checksums.len() / 2;
    let bad = if body.len() < TWO_THREADS_FROM {
        first_bad(0..checksums.len())
    } else {
        std::thread::scope(|scope| {
            let second = scope.spawn(|| first_bad(half..checksums.len()));
            let first = first_bad(0..half);
            match second.join() {
                Ok(second) => first.or(second),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    };
    let Some((index, bytes, found)) = bad else { return Ok(()) };
    let offset = (ALIGN + index * CHUNK) as u64;
    // A section owns the padding behind it; an empty one owns nothing.
    let overlaps = |section: &&Section| {
        let end = section.offset + section.bytes.next_multiple_of(ALIGN as u64);
        section.bytes > 0 && section.offset < offset + bytes as u64 && end > offset
    };
    Err(OpenError::ChunkDamaged {
        path: path.to_path_buf(),
        section: sections.iter().find(overlaps).map_or(Tag([0; 8]), |section| section.tag),
        offset,
        bytes: bytes as u64,
        found,
        expected: checksums[index],
    })
}
