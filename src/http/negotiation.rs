//! Content negotiation: determines the media type of a response, and whether the body of a request is JSON. It follows
//! the GraphQL over HTTP specification, with the weights of RFC 9110, section 12.5.1.

use axum::http::{HeaderMap, HeaderValue, header};

/// The media type of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaType {
    /// `application/graphql-response+json`: the status of the response shows whether the request was executed.
    GraphqlResponse,
    /// `application/json`, the default: every well-formed request gets the status 200.
    #[default]
    Json,
}

impl MediaType {
    /// Returns the media type as the value of `Content-Type`.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }

    /// Returns the type and subtype, without parameters.
    fn name(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json",
            Self::Json => "application/json",
        }
    }
}

/// Maximum number of media ranges in `Accept` that are read, and maximum number of parameters of a range that are read.
/// The rest is ignored. Browsers send eight ranges. Without a limit, reading the header could cost more than the
/// request.
pub const RANGES_MAX: usize = 16;
const PARAMETERS_MAX: usize = 8;

/// The client's preference for a media type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// The weight in thousandths.
    weight: u16,
    /// The specificity of the matching media range, from 0 for `*/*` to [`EXACT`].
    specificity: u8,
}

/// Returns the media type that the client prefers, or `None` if the client accepts neither.
pub fn negotiate(headers: &HeaderMap) -> Option<MediaType> {
    let accepts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accepts.is_empty() {
        return Some(MediaType::Json);
    }
    let preference = |media_type: MediaType| {
        let ranges = accepts.iter().flat_map(|accept| accept.split(',')).take(RANGES_MAX);
        let matching = ranges.filter_map(|range| preference_of(range, media_type.name()));
        // The most specific range takes precedence.
        matching.max_by_key(|preference| preference.specificity).unwrap_or_default()
    };
    let (graphql, json) = (preference(MediaType::GraphqlResponse), preference(MediaType::Json));
    // A client that names both types with equal weight supports the newer type. A client that sends only wildcards may
    // not support it.
    let is_graphql_better = graphql > json || (graphql == json && graphql.specificity == EXACT);
    let (best, media_type) = if is_graphql_better {
        (graphql, MediaType::GraphqlResponse)
    } else {
        (json, MediaType::Json)
    };
    (best.weight > 0).then_some(media_type)
}

const EXACT: u8 = 2;

/// Returns the preference that a media range expresses for this media type, or `None` if the range does not match the
/// media type.
fn preference_of(range: &str, media_type: &str) -> Option<Preference> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    let specificity = match name {
        _ if name.eq_ignore_ascii_case(media_type) => EXACT,
        _ if name.eq_ignore_ascii_case("application/*") => 1,
        "*/*" | "*" => 0,
        _ => return None,
    };
    let mut weight = 1_000;
    for (name, value) in
        parts.take(PARAMETERS_MAX).filter_map(|parameter| parameter.split_once('='))
    {
        if name.trim().eq_ignore_ascii_case("q") {
            weight = thousandths(value.trim());
        } else if name.trim().eq_ignore_ascii_case("charset") && !is_utf8(value) {
            return None;
        }
    }
    Some(Preference { weight, specificity })
}

/// Returns a weight from 0 to 1 in thousandths, or 0 if the weight is not valid.
fn thousandths(weight: &str) -> u16 {
    match weight.split_once('.').unwrap_or((weight, "")) {
        ("1", rest) if rest.bytes().all(|digit| digit == b'0') => 1_000,
        ("0", rest) if rest.len() <= 3 => format!("{rest:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Returns whether `Content-Type` is JSON in UTF-8.
pub fn is_json(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let mut parts = media_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|found| found.eq_ignore_ascii_case("application/json"));
    let mut parameters = parts.filter_map(|part| part.split_once('='));
    is_json
        && parameters.all(|(name, value)| !name.eq_ignore_ascii_case("charset") || is_utf8(value))
}

fn is_utf8(charset: &str) -> bool {
    let charset = charset.trim().trim_matches('"');
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_media_type_is_chosen() {
        use MediaType::{GraphqlResponse, Json};
        for (accept, expected) in [
            ("application/graphql-response+json", Some(GraphqlResponse)),
            ("application/json", Some(Json)),
            ("*/*", Some(Json)),
            ("application/*", Some(Json)),
            ("application/graphql-response+json, application/json", Some(GraphqlResponse)),
            ("application/json, application/graphql-response+json", Some(GraphqlResponse)),
            ("application/json, */*", Some(Json)),
            ("application/graphql-response+json, */*", Some(GraphqlResponse)),
            ("application/graphql-response+json;q=0.5, application/json", Some(Json)),
            (
                "application/graphql-response+json;q=0.5, application/json;q=0.4",
                Some(GraphqlResponse),
            ),
            ("application/json;q=0, */*", Some(GraphqlResponse)),
            ("application/json;q=0.1, */*;q=0.2", Some(GraphqlResponse)),
            ("Application/JSON; charset=UTF-8; Q=1.000", Some(Json)),
            ("application/json; charset=latin1", None),
            ("application/json;q=0", None),
            ("application/json;q=2", None),
            ("text/html, application/xml", None),
            ("text/html, */*;q=0.8", Some(Json)),
            ("", None),
        ] {
            let headers = [(header::ACCEPT, accept.parse().expect("a header's value"))];
            assert_eq!(negotiate(&headers.into_iter().collect()), expected, "{accept}");
        }
        assert_eq!(negotiate(&HeaderMap::new()), Some(Json));
    }

    #[test]
    fn only_the_first_ranges_and_parameters_of_accept_are_read() {
        let negotiated = |accept: String| {
            let headers = [(header::ACCEPT, accept.parse().expect("a header's value"))];
            negotiate(&headers.into_iter().collect())
        };
        let ranges = |others: usize| format!("{}application/json", "text/html, ".repeat(others));
        assert_eq!(negotiated(ranges(RANGES_MAX - 1)), Some(MediaType::Json));
        assert_eq!(negotiated(ranges(RANGES_MAX)), None);
        let with_weight =
            |others: usize| format!("application/json{}; q=0", "; a=b".repeat(others));
        assert_eq!(negotiated(with_weight(PARAMETERS_MAX - 1)), None);
        assert_eq!(negotiated(with_weight(PARAMETERS_MAX)), Some(MediaType::Json));
    }
}
