//! Caches parsed documents that are known to be valid, by the SHA-256 of their text. Limits, roles
//! and variables are still checked for every request.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{ServerError, parser::types::ExecutableDocument};
use entity::api_key::Role;
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use super::{
    limits::{QUERY_CHARS_MAX, check_count},
    persisted_queries::{Hash, Owner, PersistedQueries},
    validation,
};
use crate::graphql::errors::{Code, error};

/// Maximum estimated number of bytes of all cached documents.
const DOCUMENTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The document that a request asks for.
#[derive(Debug)]
pub enum DocumentSource {
    Text(String),
    /// The hash of a persisted query. The text of the query was sent earlier.
    Hash(Hash),
    /// The text of a persisted query, and the hash that the text must have.
    TextOfHash(String, Hash),
}

/// A parsed document.
pub struct CachedDocument {
    pub document: ExecutableDocument,
    pub text_bytes: usize,
    pub tokens: usize,
    /// The roles for whose schema the document is known to be valid.
    valid_for: Mutex<Vec<Role>>,
}

/// The document of a request.
pub struct ResolvedDocument {
    hash: Hash,
    pub cached: Arc<CachedDocument>,
    pub text: Arc<str>,
    /// The owner for whom the text is stored as a persisted query if the document is valid.
    persist_for: Option<Owner>,
}

/// The cache of valid documents, and the persisted queries.
#[derive(Clone)]
pub struct DocumentCache {
    documents: Cache<Hash, Arc<CachedDocument>>,
    persisted: PersistedQueries,
}

impl Default for DocumentCache {
    fn default() -> Self {
        let documents = Cache::builder().max_capacity(DOCUMENTS_BYTES_MAX);
        Self {
            documents: documents
                .weigher(|_, cached: &Arc<CachedDocument>| bytes_of(cached))
                .build(),
            persisted: PersistedQueries::default(),
        }
    }
}

impl DocumentCache {
    /// Finds the document for a request, and parses the document if it is not cached.
    pub async fn resolve(
        &self,
        source: DocumentSource,
        owner: Owner,
    ) -> Result<ResolvedDocument, ServerError> {
        let (text, hash, persist_for): (Arc<str>, _, _) = match source {
            DocumentSource::Text(text) => {
                let hash = Sha256::digest(&text).into();
                (text.into(), hash, None)
            }
            DocumentSource::TextOfHash(text, expected) => {
                let hash: Hash = Sha256::digest(&text).into();
                if hash != expected {
                    let message = "The sha256Hash of persistedQuery is not valid (expected the SHA-256 of \
                                   the query).";
                    return Err(error(Code::BadUserInput, message));
                }
                (text.into(), hash, Some(owner))
            }
            DocumentSource::Hash(hash) => {
                // Apollo clients compare the error message with this string.
                let unknown = || error(Code::PersistedQueryNotFound, "PersistedQueryNotFound");
                (self.persisted.text(owner, &hash).ok_or_else(unknown)?, hash, None)
            }
        };
        let cached = match self.documents.get(&hash).await {
            Some(cached) => cached,
            None => Arc::new(parse(&text)?),
        };
        Ok(ResolvedDocument { hash, cached, text, persist_for })
    }

    /// Stores a document that is valid for a role.
    pub async fn insert_valid(&self, document: &ResolvedDocument, role: Role) {
        if document.cached.mark_valid_for(role) {
            self.documents.insert(document.hash, Arc::clone(&document.cached)).await;
        }
        if let Some(owner) = document.persist_for {
            self.persisted.insert(owner, document.hash, &document.text);
        }
    }
}

impl CachedDocument {
    /// Returns whether the document is known to be valid for the schema of this role.
    pub fn is_valid_for(&self, role: Role) -> bool {
        self.valid_for.lock().unwrap_or_else(PoisonError::into_inner).contains(&role)
    }

    /// Marks the document as valid for a role. Returns true if the document was not marked before.
    fn mark_valid_for(&self, role: Role) -> bool {
        let mut roles = self.valid_for.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !roles.contains(&role);
        if is_new {
            roles.push(role);
        }
        is_new
    }
}

/// Parses a document within the limits on its length, tokens and nesting.
pub fn parse(text: &str) -> Result<CachedDocument, ServerError> {
    check_count(text.chars().count(), QUERY_CHARS_MAX, "The query", "characters")?;
    let parsed = validation::parse(text)?;
    let document = validation::convert(&parsed.document, text)?;
    Ok(CachedDocument {
        document,
        text_bytes: text.len(),
        tokens: parsed.tokens,
        valid_for: Mutex::default(),
    })
}

/// Returns the estimated number of bytes of a parsed document. A parsed document needs many times
/// as much memory as its text.
fn bytes_of(cached: &CachedDocument) -> u32 {
    u32::try_from(8_192 + 64 * cached.text_bytes).unwrap_or(u32::MAX)
}
