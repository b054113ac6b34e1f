//! The page of figures and its plots are those of the committed records, with every `cargo test`.
//!
//! Here rather than in a step of its own, because the tests have all of it compiled already.

use std::path::Path;

use bristlecone_benches::{published, record};

#[test]
fn page_and_plots_are_those_of_the_records() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let records = record::read_all(&root.join("benches/records")).expect("records");
    let pages = published::pages(&root, &records).expect("a page with places");
    let differences = published::differences(&root, &pages).expect("files that can be read");
    assert!(
        differences.is_empty(),
        "{}\n`cargo run -p bristlecone-benches --bin report` makes them anew",
        differences.join("\n")
    );
}
