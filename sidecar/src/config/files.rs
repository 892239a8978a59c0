//! The mounted document, and the last accepted one in the folder that outlives the container.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use shop_contract::{Document, env::DOCUMENT_FILE};

/// A larger file is not a document.
const MAX_BYTES: u64 = 1024 * 1024;

/// The document's bytes, if there is one that can be read.
pub(super) fn read(folder: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(folder.join(DOCUMENT_FILE)).ok()?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_BYTES && !bytes.is_empty()).then_some(bytes)
}

/// Replaces the kept document; a crash leaves the old or the new one.
pub(super) fn write(folder: &Path, document: &Document) -> io::Result<()> {
    let temporary = folder.join(".document.json.new");
    let mut file = std::fs::File::create(&temporary)?;
    serde_json::to_writer(&mut file, document)?;
    file.flush()?;
    std::fs::rename(&temporary, folder.join(DOCUMENT_FILE))
}
