//! GraphiQL as files in the program, so that it needs nothing from elsewhere: `build.rs` builds it from
//! `web`. Only compressed bytes are in the program; what a client needs of them uncompressed is
//! uncompressed once.

use std::{io, sync::OnceLock};

mod built {
    //! What `build.rs` wrote.

    use super::Asset;

    include!(concat!(env!("OUT_DIR"), "/table.rs"));
}

/// A file of GraphiQL.
pub struct Asset {
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes, compressed with Brotli.
    pub bytes_brotli: &'static [u8],
    bytes: OnceLock<Vec<u8>>,
}

impl Asset {
    /// Its bytes, uncompressed: the first call does that and later ones find it done.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get_or_init(|| decode(self.bytes_brotli).expect("the build compressed it"))
    }
}

/// The page; if GraphiQL was left out of this program, why that is, as a part of a sentence.
pub fn index() -> Result<&'static Asset, &'static str> {
    built::INDEX.as_ref().map_err(|why| *why)
}

/// What the page loads, with its path beside the page: `assets/…`. The name of each has a hash of its
/// content, so under one name there is never anything else.
pub fn assets() -> &'static [(&'static str, Asset)] {
    &built::ASSETS
}

/// What the page loads by this path.
pub fn asset(path: &str) -> Option<&'static Asset> {
    assets().iter().find_map(|(name, asset)| (*name == path).then_some(asset))
}

fn decode(mut bytes_brotli: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    brotli_decompressor::BrotliDecompress(&mut bytes_brotli, &mut bytes)?;
    Ok(bytes)
}
