//! Every number and table that the tidy test enforces. Edit here.
//!
//! A row of a layer table is a rank, the lowest first. A module imports only from the rows above
//! its own. A new top-level module fails the test until it has a place in its crate's table.

/// A crate's ranks: the row is the rank, the names in it are top-level modules.
pub(crate) type Layers = &'static [&'static [&'static str]];

const ENGINE: Layers = &[
    &["ids", "limits", "mutation"],
    &["error"],
    &["options", "sync", "codec"],
    &["io"],
    &["page"],
    &["tree", "wal"],
    &["pager"],
    &["txn"],
    &["bucket"],
    &["checkpoint", "recovery", "check", "snapshot", "ttl", "changes"],
    &["compact"],
    &["db"],
    &["backup", "salvage"],
    &["lib"],
];

const SERVER: Layers = &[
    &["limits"],
    &["bolt", "names"],
    &["storage"],
    &["import", "api"],
    &["serve"],
    &["cli"],
    &["lib"],
    &["main"],
];

const PROOF: Layers = &[
    &["record"],
    &["rig"],
    &["simulation"],
    &["simulated", "damage", "real", "served"],
    &["rigs"],
    &["tables"],
    &["lib"],
    &["main"],
];

const HOSTILE: Layers = &[
    &["answers", "bolt_image", "input", "json", "wire"],
    &["patch"],
    &["content", "mend"],
    &["api", "images"],
    &["bolt_file", "data_file", "http_request", "json_body", "log", "operations"],
    &["lib"],
];

/// The crates whose `src` has layers: folder, name of the table above, table.
pub(crate) const LAYERED: &[(&str, &str, Layers)] = &[
    ("engine", "ENGINE", ENGINE),
    ("server", "SERVER", SERVER),
    ("proof", "PROOF", PROOF),
    ("hostile", "HOSTILE", HOSTILE),
];

/// The crate whose modules `ARCHITECTURE.md` must name.
pub(crate) const ARCHITECTURE_LAYERS: Layers = ENGINE;
pub(crate) const ARCHITECTURE_LINES_MAX: usize = 250;

pub(crate) const COLUMNS_MAX: usize = 100;
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
/// Without the lines of `#[cfg(test)] mod tests { .. }`.
pub(crate) const FILE_LINES_MAX: usize = 500;
/// Integration tests, benches, examples, and modules that only tests declare.
pub(crate) const TEST_FILE_LINES_MAX: usize = 800;

/// Files that may say `unsafe`.
pub(crate) const UNSAFE_FILES: &[&str] = &[
    "engine/src/io/map_failure.rs",
    "engine/src/io/region.rs",
    // An allocator that fails for a test.
    "proof/src/real/allocator.rs",
    // An ioctl that cuts the power of a file system.
    "proof/src/real/kernel.rs",
    // heed cannot open LMDB, a peer that is measured, without it. Nothing of it ships.
    "benches/src/engines/lmdb.rs",
];

/// What the engine may depend on, and under which `cfg` only.
pub(crate) const DEPENDENCIES_OF: &str = "engine/Cargo.toml";
pub(crate) const DEPENDENCIES: &[(&str, Option<&str>)] = &[
    ("bytes", None),
    ("crc32fast", None),
    ("libc", None),
    ("loom", Some("cfg(loom)")),
    ("memmap2", None),
    ("parking_lot", None),
    ("rustix", None),
];

/// Whole words, in any case, that neither code nor pages may hold. Split here, so that this file
/// passes its own test.
pub(crate) const WORDS: &[&str] =
    &[concat!("to", "do"), concat!("fix", "me"), concat!("ha", "ck"), concat!("x", "xx")];

/// Names that say nothing, for modules, files and folders.
pub(crate) const NAMES: &[&str] =
    &["base", "common", "helper", "helpers", "misc", "structs", "util", "utils"];

/// Words within identifiers, and the word that the house uses in their place.
pub(crate) const IDENTIFIER_WORDS: &[(&str, &str)] = &[("tx", "txn")];

/// Folders of the machines that the code was written on, never right in a file.
pub(crate) const MACHINE_DIRS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Registry hosts, which belong into the configuration of a machine.
pub(crate) const HOSTS: &[&str] = &[concat!("index.", "crates.io"), concat!("arti", "factory")];

/// Folders that hold data of others or of a run, not text of ours.
pub(crate) const DATA_DIRS: &[&str] = &[".git", "artifacts", "corpus", "fixtures"];
