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
    /// Parameters other than `q`.
    pub params: Vec<(String, String)>,
    quality: f32,
}

impl MediaRange {
    /// A parameter's value; the last one of several.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().rfind(|(k, _)| k == name).map(|(_, v)| v.as_str())
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

    /// Whether this clause stands before another. As upstream's parser has it, the better one and the more special one
    /// both do, so that two clauses may each stand before the other.
    fn precedes(&self, other: &MediaRange) -> bool {
        self.quality > other.quality
            || self.kind != "*" && other.kind == "*"
            || self.subtype != "*" && other.subtype == "*"
    }
}

/// Splits an `Accept` header into its clauses, best first (`github.com/munnerz/goautoneg`).
#[must_use]
pub fn parse_accept(header: &str) -> Vec<MediaRange> {
    let mut ranges: Vec<MediaRange> = Vec::new();
    for range in header.split(',').filter_map(parse_clause) {
        // Where no order is consistent, the result depends on the way of sorting: Go inserts short lists one by one.
        let at = ranges.iter().rposition(|before| !range.precedes(before)).map_or(0, |at| at + 1);
        ranges.insert(at, range);
    }
    ranges
}

fn parse_clause(clause: &str) -> Option<MediaRange> {
    let mut parts = clause.split(';');
    let media = parts.next()?.trim();
    let (kind, subtype) = match media.split_once('/') {
        Some((kind, subtype)) if !subtype.is_empty() && !subtype.contains('/') => {
            (kind.trim(), subtype.trim())
        }
        None if media == "*" => ("*", "*"),
        _ => return None,
    };
    let mut range =
        MediaRange { kind: kind.to_owned(), subtype: subtype.to_owned(), params: Vec::new(), quality: 1.0 };
    for param in parts {
        let Some((name, value)) = param.split_once('=') else { continue };
        if value.is_empty() || value.contains('=') {
            continue;
        }
        if name.trim() == "q" {
            range.quality = value.parse().unwrap_or(0.0);
        } else {
            range.params.push((name.trim().to_owned(), value.trim().to_owned()));
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

    /// Whether a clause covers this format and asks of it only what there is.
    pub(crate) fn suits(self, range: &MediaRange) -> bool {
        let subtype = self.content_type().trim_start_matches("application/");
        let stream = match range.param("stream") {
            None | Some("") => true,
            Some(stream) => stream == "watch" && self != Format::Yaml,
        };
        stream && matches!(range.param("sv"), None | Some("" | "v1")) && range.covers("application", subtype)
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

/// What a path offers besides its objects as text and their metadata.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Its objects have a protobuf form.
    pub protobuf: bool,
    /// They can be shown in a Table.
    pub tables: bool,
}

impl Offer {
    /// Everything.
    pub const ALL: Self = Self { protobuf: true, tables: true };
    /// What subresources that are no view of an object have.
    pub const NO_TABLES: Self = Self { protobuf: true, tables: false };

    fn has(self, accept: &Accept) -> bool {
        match accept.transform {
            Transform::None => self.protobuf || accept.format != Format::Protobuf,
            Transform::Table(_) => self.tables,
            Transform::PartialObjectMetadata(_) | Transform::PartialObjectMetadataList(_) => true,
        }
    }
}

impl Accept {
    /// Picks the best clause that can be served. No header means JSON.
    ///
    /// # Errors
    /// 406 when nothing that is offered is accepted.
    pub fn negotiate(header: Option<&str>, offer: Offer) -> Result<Accept, Status> {
        Self::pick(header, |accept| offer.has(accept))
    }

    /// The same for refusals, of which there are no other views. Who accepts none of their forms gets JSON for people.
    #[must_use]
    pub fn of_refusals(header: Option<&str>) -> Accept {
        let picked = Self::pick(header, |accept| accept.transform == Transform::None);
        picked.unwrap_or(Accept { pretty: true, ..Accept::default() })
    }

    fn pick(header: Option<&str>, offered: impl Fn(&Accept) -> bool) -> Result<Accept, Status> {
        let Some(header) = header.filter(|header| !header.is_empty()) else { return Ok(Accept::default()) };
        let ranges = parse_accept(header);
        let mut served = ranges.iter().flat_map(Self::served);
        served.find(offered).ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))
    }

    /// What a clause may be answered with, best first.
    fn served(range: &MediaRange) -> impl Iterator<Item = Accept> {
        let transform = requested_transform(range);
        let pretty = range.param("pretty") == Some("1");
        let formats = FORMATS.into_iter().filter(move |format| format.suits(range));
        formats.filter_map(move |format| {
            let transform = transform?;
            // Cells may be anything, which protobuf has no message for.
            let has_form = format != Format::Protobuf || !matches!(transform, Transform::Table(_));
            has_form.then_some(Accept { format, transform, pretty })
        })
    }
}

/// All formats, the preferred first.
pub(crate) const FORMATS: [Format; 3] = [Format::Json, Format::Yaml, Format::Protobuf];

/// What objects are written in.
pub(crate) const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", protobuf::MEDIA_TYPE];

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
        let yaml = Accept { format: Format::Yaml, ..json };
        let cases: [(Option<&str>, Option<Accept>); 28] = [
            (None, Some(json)),
            (Some(""), Some(json)),
            (Some("*/*"), Some(json)),
            (Some("application/*"), Some(json)),
            (Some("application/json, */*"), Some(json)),
            (Some("application/yaml"), Some(yaml)),
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
            (Some("application/json;as=Other;as=Table;v=v1;g=meta.k8s.io"), Some(table("v1"))),
            (Some("application/yaml;q=0.5,application/json;q=0.9"), Some(json)),
            (Some("application/json;q=x,application/yaml;q=0.1"), Some(yaml)),
            // The more special clause comes first whatever its quality, unless it stands before the other.
            (Some("*/*,application/yaml;q=0.5"), Some(yaml)),
            (Some("application/yaml;q=0.5,*/*"), Some(json)),
            (Some("json, application/yaml"), Some(yaml)),
            (Some("application/json/x, application/yaml"), Some(yaml)),
            (Some("*"), Some(json)),
            (Some("*/*;stream=watch"), Some(json)),
            (Some("application/yaml;stream=watch,application/json;sv=v1"), Some(json)),
            (Some("application/json;sv=v2"), None),
            (Some("Application/JSON"), None),
            (Some("application/vnd.kubernetes.protobuf"), Some(protobuf)),
            (Some("*/*,application/yaml"), Some(yaml)),
            (Some("application/json;stream=watch"), Some(json)),
            (Some("application/cbor"), None),
            (Some("text/html"), None),
        ];
        for (header, expected) in cases {
            assert_eq!(Accept::negotiate(header, Offer::ALL).ok(), expected, "{header:?}");
        }
    }

    #[test]
    fn refusals_say_what_there_is() {
        let all = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        for header in [
            "text/html",
            "application/json;as=Other;v=v1;g=meta.k8s.io",
            "application/json;as=Table;v=v2;g=meta.k8s.io",
            "application/json;v=v1",
            "application/json;stream=other",
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        ] {
            let refused =
                Accept::negotiate(Some(header), Offer::ALL).map_err(|status| (status.code, status.message));
            assert_eq!(refused, Err((406, all.to_owned())), "{header}");
        }
    }

    #[test]
    fn custom_objects_are_not_written_as_protobuf() {
        let text = Offer { protobuf: false, ..Offer::ALL };
        let negotiated = |header| Accept::negotiate(Some(header), text).ok();
        let both = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(negotiated(both), Some(Accept::default()));
        assert_eq!(negotiated("application/vnd.kubernetes.protobuf"), None);
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        assert_eq!(negotiated(metadata).map(|accept| accept.format), Some(Format::Protobuf));
    }

    #[test]
    fn not_everything_has_a_table() {
        let negotiated = |header| Accept::negotiate(Some(header), Offer::NO_TABLES).ok();
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(negotiated(table), None);
        assert_eq!(negotiated(&format!("{table},application/json")), Some(Accept::default()));
    }

    #[test]
    fn refusals_are_written_plainly() {
        let people = Accept { pretty: true, ..Accept::default() };
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        for (header, want) in [
            ("text/html".to_owned(), people),
            (metadata.to_owned(), people),
            (format!("{metadata},application/json"), Accept::default()),
            (
                "application/vnd.kubernetes.protobuf".to_owned(),
                Accept { format: Format::Protobuf, ..Accept::default() },
            ),
        ] {
            assert_eq!(Accept::of_refusals(Some(&header)), want, "{header}");
        }
    }

    #[test]
    fn partial_metadata_is_recognised() {
        let header = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let accept = Accept::negotiate(Some(header), Offer::ALL);
        assert_eq!(accept.ok().map(|a| a.transform), Some(Transform::PartialObjectMetadataList("v1")));
    }
}
