//! Which media type an answer has, and whether a request is JSON: content negotiation as the
//! specification of GraphQL over HTTP wants it, with the weights of RFC 9110, section 12.5.1.

use axum::http::{HeaderMap, HeaderValue, header};

/// The media types that answers come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaType {
    /// `application/graphql-response+json`: the status says whether the request was executed.
    GraphqlResponse,
    /// `application/json`, for clients that ask for nothing else: any well-formed request is 200.
    #[default]
    Json,
}

impl MediaType {
    /// The value of the answer's `Content-Type`.
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }

    fn essence(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json",
            Self::Json => "application/json",
        }
    }
}

/// Media ranges of `Accept` that are read at most, and parameters of each; the rest is ignored. Browsers send
/// eight of them, and a header without a bound would cost more than the request.
pub const RANGES_MAX: usize = 16;
const PARAMETERS_MAX: usize = 8;

/// How well a media type is liked: its weight in thousandths, and how closely it was named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    weight: u16,
    closeness: u8,
}

/// The media type that the caller likes best; `None` if it takes none of ours.
pub fn negotiate(headers: &HeaderMap) -> Option<MediaType> {
    let accepts: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accepts.is_empty() {
        return Some(MediaType::Json);
    }
    let liking = |media_type: MediaType| {
        let ranges = accepts.iter().flat_map(|accept| accept.split(',')).take(RANGES_MAX);
        // The closest range that fits decides.
        let fitting = ranges.filter_map(|range| like(range, media_type.essence()));
        fitting.max_by_key(|liking| liking.closeness).unwrap_or_default()
    };
    let (of_response, of_json) = (liking(MediaType::GraphqlResponse), liking(MediaType::Json));
    // Who names both alike knows the newer one; who names neither may know only the older.
    let is_response_better =
        of_response > of_json || (of_response == of_json && of_response.closeness == EXACT);
    let (best, media_type) = if is_response_better {
        (of_response, MediaType::GraphqlResponse)
    } else {
        (of_json, MediaType::Json)
    };
    (best.weight > 0).then_some(media_type)
}

const EXACT: u8 = 2;

fn like(range: &str, essence: &str) -> Option<Preference> {
    let mut parts = range.split(';').map(str::trim);
    let named = parts.next()?;
    let closeness = match named {
        _ if named.eq_ignore_ascii_case(essence) => EXACT,
        _ if named.eq_ignore_ascii_case("application/*") => 1,
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
    Some(Preference { weight, closeness })
}

/// A weight from 0 to 1 in thousandths; what is none counts as 0.
fn thousandths(weight: &str) -> u16 {
    match weight.split_once('.').unwrap_or((weight, "")) {
        ("1", rest) if rest.bytes().all(|digit| digit == b'0') => 1_000,
        ("0", rest) if rest.len() <= 3 => format!("{rest:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Whether the body is JSON in UTF-8.
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
    fn the_best_liked_media_type_is_chosen() {
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
    fn what_is_read_of_accept_is_bounded() {
        let negotiated = |accept: String| {
            let headers = [(header::ACCEPT, accept.parse().expect("a header's value"))];
            negotiate(&headers.into_iter().collect())
        };
        let ranges = |others: usize| format!("{}application/json", "text/html, ".repeat(others));
        assert_eq!(negotiated(ranges(RANGES_MAX - 1)), Some(MediaType::Json));
        assert_eq!(negotiated(ranges(RANGES_MAX)), None);
        let weighed = |others: usize| format!("application/json{}; q=0", "; a=b".repeat(others));
        assert_eq!(negotiated(weighed(PARAMETERS_MAX - 1)), None);
        assert_eq!(negotiated(weighed(PARAMETERS_MAX)), Some(MediaType::Json));
    }
}
