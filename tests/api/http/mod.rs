//! The HTTP endpoint.

mod authentication;
mod connections;
mod graphiql;
mod headers;
mod rate;
mod request;
mod response;
mod websocket;

const QUERY: &str = "{ account { name } }";
