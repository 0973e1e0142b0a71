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

/// What the page loads, by its path beside the page: `assets/…`. The name of each has a hash of its
/// content, so under one name there is never anything else.
pub fn asset(path: &str) -> Option<&'static Asset> {
    let mut assets = built::ASSETS.iter();
    assets.find_map(|(name, asset)| (*name == path).then_some(asset))
}

fn decode(mut bytes_brotli: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    brotli_decompressor::BrotliDecompress(&mut bytes_brotli, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{asset, built::ASSETS, index};

    #[test]
    fn every_file_can_be_uncompressed() {
        for (name, asset) in &ASSETS {
            assert!(asset.bytes().len() > asset.bytes_brotli.len() / 2, "{name}");
            assert!(!asset.bytes_brotli.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_page_loads_only_what_is_there_and_runs_nothing_inline() {
        let index = match index() {
            Ok(index) => index,
            Err(why) => return eprintln!("SKIPPED: GraphiQL is left out: {why}"),
        };
        let page = str::from_utf8(index.bytes()).expect("UTF-8");
        let urls: Vec<_> = page.split('"').filter(|part| part.starts_with('/')).collect();
        assert!(urls.len() >= 2, "a script and a style: {page}");
        for url in urls {
            let path = url.strip_prefix("/graphiql/").expect("all lies beside the page");
            assert!(asset(path).is_some(), "{url}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" ").count()
        );
        assert_eq!(page.matches("></script>").count(), page.matches("<script").count());
        assert!(asset("assets/../index.html").is_none());
    }
}
