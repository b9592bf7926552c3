//! Which encoding and which view of an object the client wants (upstream: `pkg/endpoints/handlers/negotiation`).

use machinery::codec::protobuf;
use machinery::status::Status;

/// One clause of an `Accept` header.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaRange {
    /// For example `application`, or `*`.
    pub kind: String,
    /// For example `json`, or `*`.
    pub subtype: String,
    /// Parameters other than `q`, names in lower case.
    pub params: Vec<(String, String)>,
    quality: f32,
}

impl MediaRange {
    /// A parameter's value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// Whether this range covers the media type `kind/subtype`.
    #[must_use]
    pub fn covers(&self, kind: &str, subtype: &str) -> bool {
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => true,
            (have, "*") => have == kind,
            (have, sub) => have == kind && sub == subtype,
        }
    }

    /// Wildcards stand behind what is named.
    fn rank(&self) -> u8 {
        u8::from(self.kind != "*") + u8::from(self.subtype != "*")
    }
}

/// Splits an `Accept` header into its clauses, best first; clauses of equal quality keep their order.
#[must_use]
pub fn parse_accept(header: &str) -> Vec<MediaRange> {
    let mut ranges: Vec<MediaRange> = header.split(',').filter_map(parse_clause).collect();
    ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(b.rank().cmp(&a.rank())));
    ranges
}

fn parse_clause(clause: &str) -> Option<MediaRange> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next().filter(|media| !media.is_empty())?;
    let (kind, subtype) = media.split_once('/').unwrap_or((media, "*"));
    let mut range = MediaRange {
        kind: kind.trim().to_ascii_lowercase(),
        subtype: subtype.trim().to_ascii_lowercase(),
        params: Vec::new(),
        quality: 1.0,
    };
    for param in parts {
        let Some((name, value)) = param.split_once('=') else { continue };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
        if name == "q" {
            range.quality = value.parse().unwrap_or(1.0);
        } else {
            range.params.push((name, value.to_owned()));
        }
    }
    Some(range)
}

/// How the answer's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json`
    #[default]
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl Format {
    /// The `Content-Type` of an answer in this format.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => protobuf::MEDIA_TYPE,
        }
    }
}

/// Which view of the object is wanted instead of the object itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transform {
    /// The object as stored.
    #[default]
    None,
    /// `as=Table;g=meta.k8s.io`, with the wanted version, `v1` or `v1beta1`.
    Table(&'static str),
    /// `as=PartialObjectMetadata;g=meta.k8s.io`, with the wanted version.
    PartialObjectMetadata(&'static str),
    /// `as=PartialObjectMetadataList;g=meta.k8s.io`, with the wanted version.
    PartialObjectMetadataList(&'static str),
}

/// The negotiated encoding and view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accept {
    /// How the bytes are written.
    pub format: Format,
    /// Which view is wanted.
    pub transform: Transform,
    /// Indented JSON: asked for by `?pretty=1`, or by a browser or curl that did not say otherwise.
    pub pretty: bool,
}

impl Accept {
    /// Picks the best clause that can be served. No header means JSON.
    ///
    /// # Errors
    /// 406 when nothing that is offered is accepted.
    pub fn negotiate(header: Option<&str>) -> Result<Accept, Status> {
        let Some(header) = header.filter(|header| !header.trim().is_empty()) else {
            return Ok(Accept::default());
        };
        let ranges = parse_accept(header);
        ranges.iter().find_map(Self::serve).ok_or_else(|| not_acceptable(&ranges))
    }

    /// The same for objects that have no protobuf form, unless only their metadata is wanted.
    ///
    /// # Errors
    /// 406 when nothing that is offered is accepted.
    pub fn negotiate_text(header: Option<&str>) -> Result<Accept, Status> {
        let ranges = parse_accept(header.unwrap_or_default());
        if ranges.is_empty() {
            return Ok(Accept::default());
        }
        let has_form =
            |accept: &Accept| accept.format != Format::Protobuf || accept.transform != Transform::None;
        ranges.iter().filter_map(Self::serve).find(has_form).ok_or_else(|| not_acceptable(&ranges))
    }

    fn serve(range: &MediaRange) -> Option<Accept> {
        if range.param("stream").is_some_and(|stream| !matches!(stream, "" | "watch")) {
            return None;
        }
        let format = if range.covers("application", "json") {
            Format::Json
        } else if range.covers("application", "yaml") {
            Format::Yaml
        } else if range.covers("application", "vnd.kubernetes.protobuf") {
            Format::Protobuf
        } else {
            return None;
        };
        let transform = requested_transform(range)?;
        if format == Format::Protobuf && matches!(transform, Transform::Table(_)) {
            // Cells may be anything, which the form has no message for.
            return None;
        }
        let pretty = range.param("pretty") == Some("1");
        Some(Accept { format, transform, pretty })
    }
}

/// What objects are written in.
const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", protobuf::MEDIA_TYPE];

/// Upstream's router refuses what names no media type that is offered, before any handler runs; the handler refuses views
/// that there are not.
fn not_acceptable(ranges: &[MediaRange]) -> Status {
    let offered = |range: &MediaRange| {
        let media = format!("{}/{}", range.kind, range.subtype);
        media == "*/*" || MEDIA_TYPES.contains(&media.as_str())
    };
    if ranges.iter().any(offered) {
        return Status::not_acceptable(&MEDIA_TYPES);
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", MEDIA_TYPES.join(", "));
    let details = Some(machinery::status::Details::default());
    Status { details, ..Status::new(406, "NotAcceptable", message) }
}

/// `None` when the clause asks for a view that does not exist, so that the next clause is tried.
fn requested_transform(range: &MediaRange) -> Option<Transform> {
    let Some(view) = range.param("as") else {
        // A group or a version alone asks for a view that has no name.
        let nameless = range.param("g").is_some() || range.param("v").is_some();
        return (!nameless).then_some(Transform::None);
    };
    if range.param("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match range.param("v") {
        Some("v1") => "v1",
        Some("v1beta1") => "v1beta1",
        _ => return None,
    };
    match view {
        "Table" => Some(Transform::Table(version)),
        "PartialObjectMetadata" => Some(Transform::PartialObjectMetadata(version)),
        "PartialObjectMetadataList" => Some(Transform::PartialObjectMetadataList(version)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation_picks_the_first_clause_that_can_be_served() {
        let json = Accept::default();
        let protobuf = Accept { format: Format::Protobuf, ..json };
        let table = |version| Accept { transform: Transform::Table(version), ..json };
        let cases: [(Option<&str>, Option<Accept>); 17] = [
            (None, Some(json)),
            (Some(""), Some(json)),
            (Some("*/*"), Some(json)),
            (Some("application/*"), Some(json)),
            (Some("application/json, */*"), Some(json)),
            (Some("application/yaml"), Some(Accept { format: Format::Yaml, ..json })),
            (Some("application/vnd.kubernetes.protobuf, application/json"), Some(protobuf)),
            (Some("application/json, application/vnd.kubernetes.protobuf"), Some(json)),
            (
                Some(
                    "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
                ),
                Some(table("v1")),
            ),
            (
                Some(
                    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                ),
                Some(table("v1")),
            ),
            (Some("application/json;as=Other;v=v1;g=meta.k8s.io,application/json"), Some(json)),
            (Some("application/yaml;q=0.5,application/json;q=0.9"), Some(json)),
            (Some("application/vnd.kubernetes.protobuf"), Some(protobuf)),
            (Some("*/*,application/yaml"), Some(Accept { format: Format::Yaml, ..json })),
            (Some("application/json;stream=watch"), Some(json)),
            (Some("application/cbor"), None),
            (Some("text/html"), None),
        ];
        for (header, expected) in cases {
            assert_eq!(Accept::negotiate(header).ok(), expected, "{header:?}");
        }
    }

    #[test]
    fn refusals_say_what_there_is() {
        let all = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let none = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        for (header, message) in [
            ("text/html", none),
            ("application/cbor,text/*", none),
            ("application/json;as=Other;v=v1;g=meta.k8s.io", all),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", all),
            ("application/json;v=v1", all),
            ("application/json;stream=other", all),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", all),
        ] {
            let refused = Accept::negotiate(Some(header)).map_err(|status| (status.code, status.message));
            assert_eq!(refused, Err((406, message.to_owned())), "{header}");
        }
    }

    #[test]
    fn custom_objects_are_not_written_as_protobuf() {
        let negotiated = |header| Accept::negotiate_text(Some(header)).ok();
        let both = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(negotiated(both), Some(Accept::default()));
        assert_eq!(negotiated("application/vnd.kubernetes.protobuf"), None);
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        assert_eq!(negotiated(metadata).map(|accept| accept.format), Some(Format::Protobuf));
    }

    #[test]
    fn partial_metadata_is_recognised() {
        let accept =
            Accept::negotiate(Some("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"));
        assert_eq!(accept.ok().map(|a| a.transform), Some(Transform::PartialObjectMetadataList("v1")));
    }
}
