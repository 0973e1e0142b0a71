//! Documents: read once, and kept by the SHA-256 of their text once they are known to be valid. Limits, roles
//! and variables are checked each time. Persisted queries, as Apollo's clients ask them, are kept by who sent
//! them (`persisted`).

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{ServerError, parser::types::ExecutableDocument};
use entity::api_key::Role;
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use super::{
    cost,
    persisted_queries::{Owner, PersistedQueries},
    validation,
};
use crate::graphql::errors::{Code, error};

/// Bytes that known documents take at most, as estimated.
const DOCUMENTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The SHA-256 of a query's text.
pub type Hash = [u8; 32];

/// How a document is given.
#[derive(Debug)]
pub enum DocumentSource {
    Text(String),
    /// A persisted query: its text was sent before.
    Hash(Hash),
    /// The text of a persisted query, and the hash that it must have.
    TextOfHash(String, Hash),
}

/// A document that was read.
pub struct CachedDocument {
    pub document: ExecutableDocument,
    pub text_bytes: usize,
    pub tokens: usize,
    /// The roles against whose schema it is valid.
    valid_for: Mutex<Vec<Role>>,
}

/// The document that was asked for.
pub struct ResolvedDocument {
    hash: Hash,
    pub known: Arc<CachedDocument>,
    pub text: Arc<str>,
    /// Its owner is to find the text by the hash.
    persisted: Option<Owner>,
}

/// Documents that passed validation.
#[derive(Clone)]
pub struct Documents {
    known: Cache<Hash, Arc<CachedDocument>>,
    /// Those that somebody may ask for by the hash.
    persisted: PersistedQueries,
}

impl Default for Documents {
    fn default() -> Self {
        let documents = Cache::builder().max_capacity(DOCUMENTS_BYTES_MAX);
        Self {
            known: documents.weigher(|_, known: &Arc<CachedDocument>| bytes_of(known)).build(),
            persisted: PersistedQueries::default(),
        }
    }
}

impl Documents {
    /// The document that somebody asks for; read now if it is not known.
    pub async fn find(
        &self,
        asked: DocumentSource,
        by: Owner,
    ) -> Result<ResolvedDocument, ServerError> {
        let (text, hash, persisted): (Arc<str>, _, _) = match asked {
            DocumentSource::Text(text) => {
                let hash = Sha256::digest(&text).into();
                (text.into(), hash, None)
            }
            DocumentSource::TextOfHash(text, expected) => {
                let hash: Hash = Sha256::digest(&text).into();
                if hash != expected {
                    let message = "The sha256Hash of persistedQuery is not that of the query.";
                    return Err(error(Code::BadUserInput, message));
                }
                (text.into(), hash, Some(by))
            }
            DocumentSource::Hash(hash) => {
                // Clients know these words as they stand.
                let unknown = || error(Code::PersistedQueryNotFound, "PersistedQueryNotFound");
                (self.persisted.text(by, &hash).ok_or_else(unknown)?, hash, None)
            }
        };
        let known = match self.known.get(&hash).await {
            Some(known) => known,
            None => Arc::new(read(&text)?),
        };
        Ok(ResolvedDocument { hash, known, text, persisted })
    }

    /// Keeps a document that proved to be valid for a role.
    pub async fn keep(&self, found: &ResolvedDocument, role: Role) {
        if found.known.note_valid_for(role) {
            self.known.insert(found.hash, Arc::clone(&found.known)).await;
        }
        if let Some(by) = found.persisted {
            self.persisted.keep(by, found.hash, &found.text);
        }
    }
}

impl CachedDocument {
    /// Whether the document is known to be valid against the schema of this role.
    pub fn is_valid_for(&self, role: Role) -> bool {
        self.valid_for.lock().unwrap_or_else(PoisonError::into_inner).contains(&role)
    }

    /// Notes that it is; whether that was not known.
    fn note_valid_for(&self, role: Role) -> bool {
        let mut roles = self.valid_for.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = !roles.contains(&role);
        if is_news {
            roles.push(role);
        }
        is_news
    }
}

/// Reads a document that is not too long.
pub(in crate::graphql) fn read(text: &str) -> Result<CachedDocument, ServerError> {
    if text.chars().count() > cost::QUERY_CHARS_MAX {
        return Err(cost::too_long("characters", cost::QUERY_CHARS_MAX));
    }
    let parsed = validation::parse(text)?;
    let document = validation::convert(&parsed.document, text)?;
    Ok(CachedDocument {
        document,
        text_bytes: text.len(),
        tokens: parsed.tokens,
        valid_for: Mutex::default(),
    })
}

/// A parsed document takes many times the bytes of its text.
fn bytes_of(known: &CachedDocument) -> u32 {
    u32::try_from(8_192 + 64 * known.text_bytes).unwrap_or(u32::MAX)
}
