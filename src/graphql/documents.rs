//! Documents: read once, and kept by the SHA-256 of their text once they are known to be valid. Limits, roles
//! and variables are checked each time. Persisted queries, as Apollo's clients ask them, are kept by who sent
//! them (`persisted`).

use std::{collections::HashSet, sync::Arc};

use async_graphql::{Pos, ServerError, parser::types::ExecutableDocument};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use super::{
    coercion, cost,
    errors::{Code, error},
    mend,
    persisted::{Owner, PersistedQueries},
    tokens::{self, UnclosedString},
};

/// Bytes that known documents take at most, as estimated.
const DOCUMENTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The SHA-256 of a query's text.
pub type Hash = [u8; 32];

/// How a document is given.
#[derive(Debug)]
pub enum Asked {
    Text(String),
    /// A persisted query: its text was sent before.
    Hash(Hash),
    /// The text of a persisted query, and the hash that it must have.
    TextOfHash(String, Hash),
}

/// A parsed document, and how long its text was.
pub struct Known {
    pub document: Arc<ExecutableDocument>,
    /// The same with what `mend` needs of its answer.
    pub executed: ExecutableDocument,
    /// As [`coercion::takes_variables_whole`] says.
    pub takes_variables_whole: bool,
    pub text_bytes: usize,
    pub tokens: usize,
}

/// The document that was asked for.
pub struct Found {
    hash: Hash,
    pub known: Arc<Known>,
    /// Whether it is yet to be seen that the document is valid.
    pub is_new: bool,
    /// The text that its owner is to find by the hash.
    persisted: Option<(Owner, Arc<str>)>,
}

/// Documents that passed validation.
#[derive(Clone)]
pub struct Documents {
    known: Cache<Hash, Arc<Known>>,
    /// Those that somebody may ask for by the hash.
    persisted: PersistedQueries,
}

impl Default for Documents {
    fn default() -> Self {
        let documents = Cache::builder().max_capacity(DOCUMENTS_BYTES_MAX);
        Self {
            known: documents.weigher(|_, known: &Arc<Known>| bytes_of(known)).build(),
            persisted: PersistedQueries::default(),
        }
    }
}

impl Documents {
    /// The document that somebody asks for; read now if it is not known.
    pub async fn find(&self, asked: Asked, by: Owner) -> Result<Found, ServerError> {
        let (text, hash, persisted) = match asked {
            Asked::Text(text) => {
                let hash = Sha256::digest(&text).into();
                (Arc::from(text), hash, None)
            }
            Asked::TextOfHash(text, expected) => {
                let hash: Hash = Sha256::digest(&text).into();
                if hash != expected {
                    let message = "The sha256Hash of persistedQuery is not that of the query.";
                    return Err(error(Code::BadUserInput, message));
                }
                let text: Arc<str> = text.into();
                (Arc::clone(&text), hash, Some((by, text)))
            }
            Asked::Hash(hash) => {
                // Clients know these words as they stand.
                let unknown = || error(Code::PersistedQueryNotFound, "PersistedQueryNotFound");
                (self.persisted.text(by, &hash).ok_or_else(unknown)?, hash, None)
            }
        };
        Ok(match self.known.get(&hash).await {
            Some(known) => Found { hash, known, is_new: false, persisted },
            None => Found { hash, known: Arc::new(read(&text)?), is_new: true, persisted },
        })
    }

    /// Keeps a document that proved to be valid.
    pub async fn keep(&self, found: &Found) {
        // A subscription proves it with each event.
        if found.is_new && !self.known.contains_key(&found.hash) {
            self.known.insert(found.hash, Arc::clone(&found.known)).await;
        }
        if let Some((by, text)) = &found.persisted {
            self.persisted.keep(*by, found.hash, text);
        }
    }
}

/// Reads a document that is not too long.
fn read(text: &str) -> Result<Known, ServerError> {
    let too_large =
        |what, max| Err(error(Code::QueryTooLarge, format!("A query has at most {max} {what}.")));
    if text.chars().count() > cost::QUERY_CHARS_MAX {
        return too_large("characters", cost::QUERY_CHARS_MAX);
    }
    let tokens = tokens::count(text).map_err(|UnclosedString(at)| parse_failure(vec![at]))?;
    if tokens.count > cost::TOKENS_MAX {
        return too_large("tokens", cost::TOKENS_MAX);
    }
    if tokens.nesting > cost::NESTING_MAX {
        return too_large("brackets within each other", cost::NESTING_MAX);
    }
    match async_graphql::parser::parse_query(text) {
        Ok(document) => {
            check_definitions(&document)?;
            let takes_variables_whole = coercion::takes_variables_whole(&document);
            // A copy has no room to grow: it may be kept for long.
            let (copy, mut executed) = (Arc::new(document.clone()), document);
            mend::keep_objects(&mut executed);
            Ok(Known {
                document: copy,
                executed,
                takes_variables_whole,
                text_bytes: text.len(),
                tokens: tokens.count,
            })
        }
        Err(failure) => Err(parse_failure(ServerError::from(failure).locations)),
    }
}

/// Refuses a variable that an operation declares twice (section 5.8.1 of the specification). The parser takes it, and
/// whatever goes through the definitions would look at one value as often as it is declared.
fn check_definitions(document: &ExecutableDocument) -> Result<(), ServerError> {
    for (_, operation) in document.operations.iter() {
        let mut declared = HashSet::new();
        for definition in &operation.node.variable_definitions {
            let name = &definition.node.name.node;
            if !declared.insert(name) {
                let message = format!("The variable ${name} is declared twice.");
                let mut refused = error(Code::GraphqlValidationFailed, message);
                refused.locations = vec![definition.pos];
                return Err(refused);
            }
        }
    }
    Ok(())
}

/// The parser's errors draw pictures and echo the query; one line with a position is enough.
fn parse_failure(locations: Vec<Pos>) -> ServerError {
    let mut refused = error(Code::GraphqlParseFailed, "The query is not written in GraphQL.");
    refused.locations = locations;
    refused
}

/// A parsed document takes many times the bytes of its text.
fn bytes_of(known: &Known) -> u32 {
    u32::try_from(8_192 + 64 * known.text_bytes).unwrap_or(u32::MAX)
}
