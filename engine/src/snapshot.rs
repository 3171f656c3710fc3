//! Saving an index to one file and opening it without parsing.
//!
//! The file is a container of checksummed sections (see `orthant_storage::persist`): a header of fixed
//! fields, then the tables as they are in memory. Opening maps them; later inserts grow behind the mapped
//! parts in memory. Only rows that are in the index are written, in the order of their nodes: nothing of removed
//! ones is in a file. Two indexes with the same rows and edges give the same bytes.
//!
//! * **F1** The file stands whole under its name or not at all; an older file stays until then.
//! * **F2** Every byte is covered by a checksum, and every number that leads to another place is checked
//!   against its bounds, so a damaged or made-up file is an error, never a wrong read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use bytemuck::{Pod, Zeroable};
use orthant_graph::{ConfigError, Graph, GraphConfig, GraphMemory, GraphState, LevelDraw, NodeId, Table};
use orthant_kernels::{IsaError, Metric, f16};
use orthant_quant::Sq8;
use orthant_storage::persist::{self, FileWriter, MappedFile, Verify};
use orthant_storage::{ArenaError, Column, MemoryOptions, Region, RegionError, RowArena, RowLayout};

use crate::blocks::{Blocks, BlocksError, Tuning, block_metric};
use crate::builder::{MAX_DIM, Quantization, TARGET_RECALL};
use crate::codes::{Codes, CodesError, code_stride};
use crate::directory::Directory;
use crate::drift::Drift;
use crate::edges::{self, AnchorForm};
use crate::gate::Choice;
use crate::halves::{Halves, half_stride};
use crate::ids::KeyRef;
use crate::index::{Index, Workers};
use crate::keys::{CompactKeys, KeyMode, Keys, SavedKeys};
use crate::memory::boxed;
use crate::mode::Mode;
use crate::packed::{Coding, Packer};
use crate::rowless::{self, BARE_EDGES, EDGES, Form, Rows};
use crate::space::RowKernels;
use crate::words::Words;

/// The kind of file an index is.
const KIND: [u8; 8] = *b"orthant\0";

/// The version of index files that this code writes, and the newest that it reads.
///
/// Version 1 knew no row numbers but 0, 1, 2 … to the number of rows.
pub const FORMAT_VERSION: u32 = 2;

const HEAD: [u8; 8] = *b"head\0\0\0\0";
const ROWS: [u8; 8] = *b"rows\0\0\0\0";
const KEY_KINDS: [u8; 8] = *b"keykind\0";
const KEY_WORDS: [u8; 8] = *b"keyword\0";
const NEXT_NUMBER: [u8; 8] = *b"nextnum\0";
const KEY_TEXTS: [u8; 8] = *b"keytext\0";
const SQ8: [u8; 8] = *b"sq8\0\0\0\0\0";
const CODES: [u8; 8] = *b"codes\0\0\0";
const CHOICE: [u8; 8] = *b"choices\0";
/// The same, without what a trial expanded: no longer written.
const OLD_CHOICE: [u8; 8] = *b"choice\0\0";
const TUNING: [u8; 8] = *b"tuning\0\0";
const BLOCKS: [u8; 8] = *b"blocks\0\0";
const DRIFT: [u8; 8] = *b"drift\0\0\0";
const BIASES: [u8; 8] = *b"biases\0\0";
const HALVES: [u8; 8] = *b"halves\0\0";
/// Their scale, and what they were found to do.
const HALVING: [u8; 8] = *b"halving\0";

fn table_tag(table: Table) -> [u8; 8] {
    match table {
        Table::Heads => *b"heads\0\0\0",
        Table::Blocks => *b"lists\0\0\0",
        Table::Towers => *b"towers\0\0",
        Table::Anchors => *b"anchors\0",
        Table::UpperHeads => *b"upheads\0",
        Table::UpperBlocks => *b"uplists\0",
    }
}

/// The fixed fields, little-endian, without padding.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    seed: u64,
    texts_len: u64,
    dim: u32,
    stride: u32,
    rows: u32,
    metric: u32,
    m: u32,
    m0: u32,
    ef_construction: u32,
    flags: u32,
    quantization: u32,
    key_mode: u32,
    node_bound: u32,
    nodes: u32,
    upper_slots: u32,
    /// Entry point + 1; 0 for none.
    entry: u32,
    entry_level: u32,
    mode: u32,
}

const FLAG_KEEP_PRUNED: u32 = 1;
const FLAG_ZERO_ROW: u32 = 2;

/// Why an index was not saved. Whatever stood at the path is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Rows were being inserted or removed at the same time.
    #[error("{}: not saved, because rows were inserted or removed meanwhile", path.display())]
    Busy {
        /// Where it was to be saved.
        path: PathBuf,
    },
    /// There was no memory for mending the graph where rows were removed.
    #[error("{}: not saved, no memory to take removed rows out of the graph", path.display())]
    Graph {
        /// Where it was to be saved.
        path: PathBuf,
        /// What the graph said.
        source: crate::InsertError,
    },
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] persist::SaveError),
}

/// Why an index could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read, is damaged, of another kind, or newer than this code.
    #[error(transparent)]
    File(#[from] persist::OpenError),
    /// A field of the header holds a value that no index has.
    #[error("{}: the index header says {field} = {value}, which no index has", path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A section has another length than the header calls for.
    #[error("{}: section {section} holds {found} bytes, {expected} are needed", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// The section.
        section: persist::Tag,
        /// Bytes in the file.
        found: u64,
        /// Bytes that the header calls for.
        expected: u64,
    },
    /// The graph's tables do not form a graph.
    #[error("{}: damaged graph", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: orthant_graph::OpenError,
    },
    /// A row's key is no key.
    #[error("{}: the key of row {row} is damaged", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u32,
    },
    /// A packed section does not unpack to what the header calls for.
    #[error("{}: section {section} is damaged", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// The section.
        section: persist::Tag,
    },
    /// The quantizer's section is no quantizer.
    #[error("{}: damaged quantizer", path.display())]
    Quantizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: orthant_quant::CodecError,
    },
    /// There is no memory for what lies beside the mapped file.
    #[error("{}: no memory to open it", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: RegionError,
    },
    /// There is no memory for rows.
    #[error("{}: no memory to open it", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: ArenaError,
    },
    /// The environment forces an instruction set that the CPU lacks.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// How to open an index.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Check every byte (the default), or only the header.
    pub verify: Verify,
    /// Copy the file into memory on huge pages instead of mapping it. Costs the copy once; searches of an
    /// index beyond the size of the caches are faster afterwards. The rows of an index of [`Mode::Memory`], and those of one that
    /// keeps rows at half precision too, stay in the file.
    pub load: bool,
    /// How memory is taken.
    pub memory: MemoryOptions,
    /// Threads for batches; 0: as many as the process may use.
    pub threads: usize,
}

impl Index {
    /// Writes the index to one file at `path`, replacing what stands there once the new file is whole.
    ///
    /// Searches may go on meanwhile; inserts and removals make it fail.
    ///
    /// # Errors
    /// [`SaveError`]; the old file, if any, is untouched then.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SaveError> {
        self.save_as(path.as_ref(), Form::Whole)
    }

    /// Writes a file of either form.
    pub(crate) fn save_as(&self, path: &Path, form: Form) -> Result<(), SaveError> {
        let busy = || SaveError::Busy { path: path.to_path_buf() };
        let before = self.writes.quiet().ok_or_else(busy)?;
        let mut writer = match form {
            Form::Whole => FileWriter::create(path, KIND, FORMAT_VERSION)?,
            Form::Rowless => FileWriter::create(path, rowless::KIND, rowless::ROWLESS_VERSION)?,
        };
        let is_whole = form == Form::Whole;
        self.settle_graph().map_err(|source| SaveError::Graph { path: path.to_path_buf(), source })?;
        let graph = self.graph.dense();
        // Should a write begin now, the file is not kept, and under the pin nothing that is live here is overwritten.
        let _pin = self.graph.pin();
        let nodes: Vec<NodeId> = graph.nodes().collect();
        // SAFETY: the nodes were seen live under the pin.
        let keys = unsafe { self.keys.compact(&nodes) };
        let head = self.head(graph.state(), &nodes, &keys);
        writer.write_section(HEAD, bytemuck::bytes_of(&head))?;
        if is_whole {
            writer.section(ROWS, |out| self.write_rows(&nodes, out))?;
            writer.write_section(KEY_KINDS, &keys.kinds)?;
            if !keys.words.is_empty() {
                writer.write_section(KEY_WORDS, bytemuck::cast_slice(&keys.words))?;
            }
        } else {
            write_packed_keys(&mut writer, &keys)?;
        }
        if self.keys.mode() == KeyMode::Given {
            writer.section(KEY_TEXTS, |out| self.write_texts(&nodes, out))?;
        } else if self.keys.next_number() != nodes.len() as u64 {
            writer.write_section(NEXT_NUMBER, &self.keys.next_number().to_le_bytes())?;
        }
        let mut left_anchors: Option<Vec<u32>> = None;
        for table in Table::ALL {
            let coding = table_coding(table, self.graph.config());
            if table == Table::Blocks && !is_whole && self.graph.config().payload_bytes() == 0 {
                let words = |table| {
                    let mut words = Words::new()?;
                    graph.write_table(table, &mut words).map(|()| words.finish())
                };
                let places = base_bytes(self.graph.config()) as usize / 4;
                let lists =
                    words(Table::Blocks).and_then(|lists| Ok((lists, words(Table::Anchors)?.to_vec())));
                // An error here is one of the section that is written for it, below.
                if let Ok((lists, mut anchors)) = lists
                    && let Some(bytes) = edges::pack(&lists, places, &mut anchors, AnchorForm::Edges)
                {
                    writer.write_section(EDGES, &bytes)?;
                    left_anchors = Some(anchors);
                    continue;
                }
            }
            match coding.filter(|_| !is_whole) {
                None if is_whole => writer.section(table_tag(table), |out| graph.write_table(table, out))?,
                // The numbers from 1 on.
                None => {}
                Some(coding) => writer.section(table_tag(table), |out| {
                    let mut packer = Packer::new(out, coding);
                    match &left_anchors {
                        Some(left) if table == Table::Anchors => {
                            left.iter().try_for_each(|word| packer.write_all(&word.to_le_bytes()))?;
                        }
                        _ => graph.write_table(table, &mut packer)?,
                    }
                    packer.finish()
                })?,
            }
        }
        if let Some(codes) = &self.codes {
            writer.write_section(SQ8, &codes.quantizer.to_bytes())?;
            writer.section(CODES, |out| {
                nodes.iter().try_for_each(|&node| {
                    // SAFETY: every live row has a code (C1), and nothing is written.
                    out.write_all(unsafe { codes.codes.at(node) })
                })
            })?;
            writer.section(BIASES, |out| {
                nodes.iter().try_for_each(|&node| {
                    // SAFETY: as above.
                    let bias = unsafe { codes.biases.at(node) };
                    out.write_all(bytemuck::cast_slice(bias))
                })
            })?;
        }
        // Where a row did not fit they are of no use.
        if let Some(halves) = self.halves_in_use().filter(|_| is_whole) {
            writer.write_section(HALVING, &halves.to_bytes())?;
            writer.section(HALVES, |out| {
                nodes.iter().try_for_each(|&node| {
                    // SAFETY: every live row has one (halves H1), and nothing is written.
                    out.write_all(bytemuck::cast_slice(unsafe { halves.column().at(node) }))
                })
            })?;
        }
        if let Some(blocks) = &self.blocks {
            writer.write_section(BLOCKS, &blocks.to_bytes())?;
            writer.write_section(TUNING, &blocks.tuning().to_bytes())?;
        }
        if let Some(choice) = &self.choice {
            writer.write_section(CHOICE, &choice.to_bytes())?;
            writer.write_section(DRIFT, &self.drift.to_bytes())?;
        }
        if self.writes.quiet() != Some(before) {
            return Err(busy());
        }
        Ok(writer.finish()?)
    }

    /// The rows of `nodes` with their padding.
    fn write_rows(&self, nodes: &[NodeId], out: &mut dyn Write) -> io::Result<()> {
        let layout = self.rows.layout();
        let padding = vec![0u8; (layout.stride() - layout.dim()) * size_of::<f32>()];
        nodes.iter().try_for_each(|&node| {
            // SAFETY: a live node's row is whole (N1).
            let row = unsafe { self.rows.row_unchecked(node) };
            out.write_all(bytemuck::cast_slice(row))?;
            out.write_all(&padding)
        })
    }

    /// The text keys of `nodes`, one after the other.
    fn write_texts(&self, nodes: &[NodeId], out: &mut dyn Write) -> io::Result<()> {
        nodes.iter().try_for_each(|&node| {
            // SAFETY: `save` holds a pin from before it saw the nodes live, or nothing is written.
            match unsafe { self.keys.key(node) } {
                Some(KeyRef::Str(text)) => out.write_all(text.as_bytes()),
                _ => Ok(()),
            }
        })
    }

    /// Whether one of `nodes` has a row of length zero that matters.
    fn has_zero_row_in(&self, nodes: &[NodeId]) -> bool {
        // SAFETY: as in `write_rows`.
        let is_zero = |&node: &NodeId| unsafe { self.rows.row_unchecked(node) }.iter().all(|&v| v == 0.0);
        self.has_zero_row.load(Ordering::Acquire) && nodes.iter().any(is_zero)
    }

    fn head(&self, state: GraphState, nodes: &[NodeId], keys: &CompactKeys) -> Head {
        let config = self.graph.config();
        let mut flags = if config.keep_pruned() { FLAG_KEEP_PRUNED } else { 0 };
        if self.has_zero_row_in(nodes) {
            flags |= FLAG_ZERO_ROW;
        }
        Head {
            seed: self.seed,
            texts_len: keys.texts_len,
            dim: self.dim as u32,
            stride: self.rows.layout().stride() as u32,
            rows: nodes.len() as u32,
            metric: Metric::ALL.iter().position(|&known| known == self.metric).unwrap_or(0) as u32,
            m: config.m() as u32,
            m0: config.m0() as u32,
            ef_construction: config.ef_construction() as u32,
            flags,
            // Quantized but not trained is told from the missing sections.
            quantization: self.quantization as u32,
            key_mode: self.keys.mode() as u32,
            node_bound: state.node_bound,
            nodes: state.nodes,
            upper_slots: state.upper_slots,
            entry: state.entry.map_or(0, |(node, _)| node + 1),
            entry_level: state.entry.map_or(0, |(_, level)| u32::from(level)),
            mode: Mode::number(self.mode),
        }
    }

    /// Opens an index file.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, OpenError> {
        let file = MappedFile::open(path.as_ref(), KIND, FORMAT_VERSION, options.verify)?;
        Opening { file, options, form: Form::Whole }.index(None)
    }
}

/// Bytes of a list of at most `limit` ids.
fn list_bytes(limit: usize) -> u64 {
    limit.next_multiple_of(16) as u64 * 4
}

/// Bytes of a list on level 0 with what it carries.
fn base_bytes(config: &GraphConfig) -> u64 {
    list_bytes(config.m0()) + config.payload_bytes().next_multiple_of(64) as u64
}

/// How a table is packed; `None` for those that are the numbers from 1 on.
fn table_coding(table: Table, config: &GraphConfig) -> Option<Coding> {
    match table {
        Table::Heads | Table::UpperHeads => None,
        Table::Blocks => Some(Coding::Lists(base_bytes(config) as usize / 4)),
        Table::UpperBlocks => Some(Coding::Lists(list_bytes(config.m()) as usize / 4)),
        Table::Towers | Table::Anchors => Some(Coding::Sparse),
    }
}

fn write_packed_keys(writer: &mut FileWriter, keys: &CompactKeys) -> Result<(), persist::SaveError> {
    let mut put = |tag, words: &mut dyn Iterator<Item = u32>| {
        writer.section(tag, |out| {
            let mut packer = Packer::new(out, Coding::Steps);
            for word in words {
                packer.write_all(&word.to_le_bytes())?;
            }
            packer.finish()
        })
    };
    put(KEY_KINDS, &mut keys.kinds.iter().map(|&kind| u32::from(kind)))?;
    if keys.words.is_empty() {
        return Ok(());
    }
    let low = keys.words.iter().map(|&word| word as u32);
    put(KEY_WORDS, &mut low.chain(keys.words.iter().map(|&word| (word >> 32) as u32)))
}

/// A file on its way to an index.
pub(crate) struct Opening<'a> {
    pub(crate) file: MappedFile,
    pub(crate) options: &'a OpenOptions,
    pub(crate) form: Form,
}

impl Opening<'_> {
    pub(crate) fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }

    /// The index, with rows from elsewhere for a file without.
    pub(crate) fn index(&self, source: Option<Rows<'_>>) -> Result<Index, OpenError> {
        let head = self.head()?;
        let mut config = self.config(&head)?;
        let (dim, rows) = (head.dim as usize, head.rows as usize);
        let metric = Metric::ALL[head.metric as usize];
        let layout = RowLayout::with_stride(dim, head.stride as usize);
        let mode = Mode::from_number(head.mode).flatten();
        let keys = self.keys(&head)?;
        let no_rows = |source| OpenError::Rows { path: self.path(), source };
        let mut has_zero_row = head.flags & FLAG_ZERO_ROW != 0;
        let arena = match source {
            None => {
                let bytes = rows as u64 * u64::from(head.stride) * 4;
                // Searches compare codes and halves.
                let is_cold = mode == Some(Mode::Memory) || self.file.bytes(HALVING).is_some();
                let row_region = if is_cold { self.mapped(ROWS, bytes)? } else { self.region(ROWS, bytes)? };
                RowArena::from_region(layout, row_region, head.rows).map_err(no_rows)?
            }
            Some(source) => {
                if source.dim != dim {
                    return Err(OpenError::Head { path: self.path(), field: "dim", value: dim as u64 });
                }
                let place = (layout, head.rows);
                let is_unit = metric == Metric::Cosine;
                let rows = source.arena(place, is_unit, &keys, &self.options.memory);
                let (arena, has_zero) = rows.map_err(no_rows)?;
                has_zero_row |= has_zero;
                arena
            }
        };
        let has_codes = self.file.bytes(SQ8).is_some();
        let blocks = self.blocks(&head)?;
        if let Some(blocks) = &blocks {
            config = config
                .with_payload_bytes(blocks.payload_bytes())
                .map_err(|_| self.bad_blocks(blocks.payload_bytes()))?;
        }
        let kernels = RowKernels::new(metric, dim)?;
        let halves = self.halves(&head, kernels.whole().metric())?;
        let mut index = Index {
            dim,
            metric,
            kernels,
            has_zero_row: has_zero_row.into(),
            rows: arena,
            graph: self.graph(&head, config)?,
            levels: LevelDraw::new(head.seed, config.m()),
            seed: head.seed,
            keys,
            directory: Directory::unfilled(),
            quantization: Quantization::ALL[head.quantization as usize],
            codes: if has_codes { Some(self.codes(&head)?) } else { None },
            blocks,
            halves,
            mode,
            choice: self.choice()?,
            drift: self.drift(rows as u64)?,
            block_bits: 0,
            half_rows: None,
            target_recall: TARGET_RECALL,
            workers: Workers { threads: self.options.threads, cores: None },
            memory: self.options.memory.clone(),
            pool: Default::default(),
            writes: Default::default(),
        };
        index.refresh_entries();
        Ok(index)
    }

    /// The header, its fields in range.
    fn head(&self) -> Result<Head, OpenError> {
        let bytes = self.section(HEAD, size_of::<Head>() as u64)?;
        let head: Head = bytemuck::pod_read_unaligned(bytes);
        let check = |field, value: u32, is_fine: bool| match is_fine {
            true => Ok(()),
            false => Err(OpenError::Head { path: self.path(), field, value: u64::from(value) }),
        };
        check("dim", head.dim, (1..=MAX_DIM as u32).contains(&head.dim))?;
        check("stride", head.stride, head.stride >= head.dim && head.stride <= head.dim + 1024)?;
        check("metric", head.metric, (head.metric as usize) < Metric::ALL.len())?;
        check("quantization", head.quantization, (head.quantization as usize) < Quantization::ALL.len())?;
        check("key mode", head.key_mode, head.key_mode <= 2)?;
        check("flags", head.flags, head.flags <= FLAG_KEEP_PRUNED | FLAG_ZERO_ROW)?;
        check("rows", head.rows, head.rows <= orthant_graph::MAX_NODE)?;
        check("node bound", head.node_bound, head.node_bound <= head.rows)?;
        check("nodes", head.nodes, head.nodes <= head.node_bound)?;
        check("upper lists", head.upper_slots, u64::from(head.upper_slots) <= 15 * u64::from(head.rows))?;
        check("entry level", head.entry_level, head.entry_level <= u32::from(orthant_graph::MAX_LEVEL))?;
        check("mode", head.mode, Mode::from_number(head.mode).is_some())?;
        Ok(head)
    }

    fn config(&self, head: &Head) -> Result<GraphConfig, OpenError> {
        let config = GraphConfig::new(head.m as usize, head.ef_construction as usize)
            .and_then(|config| config.with_m0(head.m0 as usize))
            .map_err(|error| {
                let (field, value) = match error {
                    ConfigError::M { m } => ("m", m),
                    ConfigError::M0 { m0, .. } => ("m0", m0),
                    ConfigError::EfConstruction { ef_construction } => ("ef_construction", ef_construction),
                    _ => ("graph", 0),
                };
                OpenError::Head { path: self.path(), field, value: value as u64 }
            })?;
        Ok(config.with_keep_pruned(head.flags & FLAG_KEEP_PRUNED != 0))
    }

    fn graph(&self, head: &Head, config: GraphConfig) -> Result<Graph, OpenError> {
        let nodes = u64::from(head.node_bound);
        let upper = u64::from(head.upper_slots);
        let table = |table, bytes: u64| {
            let tag = table_tag(table);
            let region = match (self.form, table_coding(table, &config)) {
                (Form::Whole, _) => self.region(tag, bytes)?,
                (Form::Rowless, Some(coding)) => self.unpacked(tag, coding, bytes as usize / 4, false)?,
                (Form::Rowless, None) => self.counted(bytes as usize / 4)?,
            };
            Ok::<_, OpenError>(region)
        };
        let anchors = table(Table::Anchors, nodes * 4)?;
        let with_anchors = self.file.bytes(EDGES).map(|bytes| (bytes, AnchorForm::Edges));
        let edges = with_anchors.or_else(|| Some((self.file.bytes(BARE_EDGES)?, AnchorForm::Table)));
        let blocks = match edges {
            Some(edges) if self.form == Form::Rowless && config.payload_bytes() == 0 => {
                self.unpacked_edges(edges, base_bytes(&config) as usize / 4, nodes as usize, &anchors)?
            }
            _ => table(Table::Blocks, nodes * base_bytes(&config))?,
        };
        let links = || {
            let memory = |source| OpenError::Memory { path: self.path(), source };
            Region::reserve(&self.options.memory).map(boxed).map_err(memory)
        };
        let memory = GraphMemory {
            heads: boxed(table(Table::Heads, nodes * 4)?),
            blocks: boxed(blocks),
            block_links: links()?,
            towers: boxed(table(Table::Towers, nodes * 4)?),
            anchors: boxed(anchors),
            refs: links()?,
            generations: links()?,
            partners: links()?,
            slot_links: links()?,
            tower_links: links()?,
            upper_heads: boxed(table(Table::UpperHeads, upper * 4)?),
            upper_blocks: boxed(table(Table::UpperBlocks, upper * list_bytes(config.m()))?),
            upper_block_links: links()?,
        };
        let state = GraphState {
            node_bound: head.node_bound,
            nodes: head.nodes,
            upper_slots: head.upper_slots,
            entry: head.entry.checked_sub(1).map(|node| (node, head.entry_level as u8)),
        };
        Graph::open(config, memory, state).map_err(|source| OpenError::Graph { path: self.path(), source })
    }

    /// What the lists carry, if they carry something.
    fn blocks(&self, head: &Head) -> Result<Option<Blocks>, OpenError> {
        let Some(bytes) = self.file.bytes(BLOCKS) else { return Ok(None) };
        let bad = || self.bad_blocks(bytes.len());
        let metric = block_metric(Metric::ALL[head.metric as usize]).ok_or_else(bad)?;
        if head.m0 as usize > orthant_graph::BLOCK_LANES {
            return Err(bad());
        }
        match Blocks::from_bytes(bytes, metric, head.dim as usize) {
            Ok(mut blocks) => {
                if let Some(bytes) = self.file.bytes(TUNING) {
                    blocks.tune(Tuning::from_bytes(bytes).ok_or_else(|| self.bad_blocks(bytes.len()))?);
                }
                Ok(Some(blocks))
            }
            Err(BlocksError::Isa(error)) => Err(error.into()),
            Err(_) => Err(bad()),
        }
    }

    /// What was decided about it.
    fn choice(&self) -> Result<Option<Choice>, OpenError> {
        let (bytes, is_old) = match (self.file.bytes(CHOICE), self.file.bytes(OLD_CHOICE)) {
            (Some(bytes), _) => (bytes, false),
            (None, Some(bytes)) => (bytes, true),
            (None, None) => return Ok(None),
        };
        Choice::from_bytes(bytes, is_old).map(Some).ok_or_else(|| self.bad_blocks(bytes.len()))
    }

    /// What came since. A file that does not say was written right after.
    fn drift(&self, rows: u64) -> Result<Drift, OpenError> {
        let Some(bytes) = self.file.bytes(DRIFT) else { return Ok(Drift::new(rows, 0)) };
        Drift::from_bytes(bytes).ok_or_else(|| self.bad_blocks(bytes.len()))
    }

    fn bad_blocks(&self, bytes: usize) -> OpenError {
        OpenError::Head {
            path: self.path(),
            field: "the size of the blocks' parameters",
            value: bytes as u64,
        }
    }

    fn keys(&self, head: &Head) -> Result<Keys, OpenError> {
        let memory = |source| OpenError::Memory { path: self.path(), source };
        // The key mode was checked with the header.
        let mode = KeyMode::from_u8(head.key_mode as u8).unwrap_or(KeyMode::Undecided);
        let rows = u64::from(head.rows);
        let fresh = || Region::reserve(&self.options.memory).map_err(memory);
        let is_given = mode == KeyMode::Given;
        // An index without rows has none to write.
        let has_words =
            is_given && rows > 0 || self.file.bytes(KEY_WORDS).is_some_and(|words| !words.is_empty());
        let next_number = match self.file.bytes(NEXT_NUMBER) {
            None => rows,
            Some(_) => {
                let bytes = self.section(NEXT_NUMBER, 8)?;
                bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
            }
        };
        let is_whole = self.form == Form::Whole;
        let kinds = match is_whole {
            true => self.region(KEY_KINDS, rows)?,
            false => self.unpacked(KEY_KINDS, Coding::Steps, rows as usize, true)?,
        };
        let words = match has_words {
            true if is_whole => self.region(KEY_WORDS, rows * 8)?,
            true => self.unpacked_keys(KEY_WORDS, rows as usize)?,
            false => fresh()?,
        };
        let keys = Keys::from_saved(SavedKeys {
            mode,
            next_number,
            kinds,
            words,
            texts: if is_given { self.region(KEY_TEXTS, head.texts_len)? } else { fresh()? },
            texts_len: if is_given { head.texts_len } else { 0 },
            rooms: fresh()?,
        });
        keys.check(rows as usize, self.file.bytes(KEY_TEXTS).unwrap_or_default())
            .map_err(|row| OpenError::Key { path: self.path(), row })?;
        Ok(keys)
    }

    fn codes(&self, head: &Head) -> Result<Codes, OpenError> {
        let bytes = self.file.bytes(SQ8).unwrap_or_default();
        let quantizer =
            Sq8::from_bytes(bytes).map_err(|source| OpenError::Quantizer { path: self.path(), source })?;
        if quantizer.dim() != head.dim as usize {
            let value = quantizer.dim() as u64;
            return Err(OpenError::Head { path: self.path(), field: "the quantizer's dim", value });
        }
        let (rows, stride) = (u64::from(head.rows), code_stride(quantizer.dim()));
        let codes = Column::from_region(stride, self.region(CODES, rows * stride as u64)?);
        let biases = Column::from_region(1, self.region(BIASES, rows * 4)?);
        Codes::from_parts(quantizer, codes, biases).map_err(|error| match error {
            CodesError::Memory(source) => OpenError::Memory { path: self.path(), source },
            CodesError::Isa(error) => error.into(),
        })
    }

    /// The bytes of a section of exactly this length.
    fn section(&self, tag: [u8; 8], expected: u64) -> Result<&[u8], OpenError> {
        let bytes = self.file.bytes(tag).unwrap_or_default();
        if bytes.len() as u64 != expected {
            let found = bytes.len() as u64;
            return Err(OpenError::Length { path: self.path(), section: persist::Tag(tag), found, expected });
        }
        Ok(bytes)
    }

    /// Rows at half precision, if there are some.
    fn halves(&self, head: &Head, metric: Metric) -> Result<Option<Halves>, OpenError> {
        let Some(bytes) = self.file.bytes(HALVING) else { return Ok(None) };
        let (dim, rows) = (head.dim as usize, u64::from(head.rows));
        let stride = half_stride(dim);
        let region = self.region(HALVES, rows * (stride * size_of::<f16>()) as u64)?;
        match Halves::from_bytes(bytes, (metric, dim), Column::from_region(stride, region)) {
            Ok(halves) => Ok(Some(halves)),
            Err(Some(CodesError::Memory(source))) => Err(OpenError::Memory { path: self.path(), source }),
            Err(Some(CodesError::Isa(error))) => Err(error.into()),
            Err(None) => Err(OpenError::Head {
                path: self.path(),
                field: "the scale of half rows",
                value: bytes.len() as u64,
            }),
        }
    }

    /// A section of exactly this length as a region whose first part stays in the file.
    fn mapped(&self, tag: [u8; 8], expected: u64) -> Result<Region, OpenError> {
        self.section(tag, expected)?;
        Ok(self.file.region(tag, &self.options.memory)?)
    }

    /// A section of exactly this length as a region that grows.
    fn region(&self, tag: [u8; 8], expected: u64) -> Result<Region, OpenError> {
        if !self.options.load {
            return self.mapped(tag, expected);
        }
        self.section(tag, expected)?;
        Ok(self.file.region_copied(tag, &self.options.memory)?)
    }
}
