//! GraphiQL, embedded in the program; `build.rs` builds it from `web`. The files are embedded compressed,
//! and decompressed once if a client does not accept that.

use std::{io, sync::OnceLock};

mod built {
    //! The table that `build.rs` generated.

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
    /// The uncompressed content. The first call decompresses it.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get_or_init(|| decode(self.bytes_brotli).expect("the build compressed it"))
    }
}

/// The page.
///
/// # Errors
/// Why GraphiQL was left out of this program, as a clause without a capital and a full stop.
pub fn index() -> Result<&'static Asset, &'static str> {
    built::INDEX.as_ref().map_err(|why| *why)
}

/// The files that the page loads, with their paths relative to the page (`assets/…`). Each name
/// contains a hash of the content, so the content under a name never changes.
pub fn assets() -> &'static [(&'static str, Asset)] {
    &built::ASSETS
}

/// The file with this path, if the page has it.
pub fn asset(path: &str) -> Option<&'static Asset> {
    assets().iter().find_map(|(name, asset)| (*name == path).then_some(asset))
}

fn decode(mut bytes_brotli: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    brotli_decompressor::BrotliDecompress(&mut bytes_brotli, &mut bytes)?;
    Ok(bytes)
}
