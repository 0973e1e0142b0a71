//! GraphiQL, embedded in the program. `build.rs` builds it from `web`. The embedded files are compressed. A file is
//! decompressed once if a client does not accept the compressed form.

use std::{io, sync::OnceLock};

mod built {
    //! The table that `build.rs` has generated.

    use super::Asset;

    include!(concat!(env!("OUT_DIR"), "/table.rs"));
}

/// A file of GraphiQL.
pub struct Asset {
    pub content_type: &'static str,
    /// The content, compressed with Brotli.
    pub bytes_brotli: &'static [u8],
    bytes: OnceLock<Vec<u8>>,
}

impl Asset {
    /// Returns the uncompressed content. It is decompressed on the first call.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get_or_init(|| decode(self.bytes_brotli).expect("the build compressed it"))
    }
}

/// Returns the page.
///
/// # Errors
/// Returns why GraphiQL is not included in this program, as a clause without a capital letter or a full stop.
pub fn index() -> Result<&'static Asset, &'static str> {
    built::INDEX.as_ref().map_err(|why| *why)
}

/// Returns the files that the page loads, with their paths relative to the page (`assets/…`). Each name contains a hash
/// of the content, so the content under a name never changes.
pub fn assets() -> &'static [(&'static str, Asset)] {
    &built::ASSETS
}

/// Returns the file with this path, if the page has such a file.
pub fn asset(path: &str) -> Option<&'static Asset> {
    assets().iter().find_map(|(name, asset)| (*name == path).then_some(asset))
}

fn decode(mut bytes_brotli: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    brotli_decompressor::BrotliDecompress(&mut bytes_brotli, &mut bytes)?;
    Ok(bytes)
}
