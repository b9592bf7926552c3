//! What the columns of tables say of themselves. The table of resources has the texts, or names the field of the API
//! whose description is shown: those are in the API's documents, and the few that are wanted are kept.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use descriptions::Descriptions;
use machinery::resources::Resources;

/// Stands before the name of a field.
const FIELD: char = '@';
/// About the column that every table has.
pub(super) const NAME: &str = "@apimachinery.pkg.apis.meta.v1.ObjectMeta.name";
/// About the age of an object.
pub(super) const CREATED: &str = "@apimachinery.pkg.apis.meta.v1.ObjectMeta.creationTimestamp";

/// About how many instances a scale wants, and how many there are.
pub(super) const SCALE_WANTED: &str = "@api.autoscaling.v1.ScaleSpec.replicas";
pub(super) const SCALE_THERE: &str = "@api.autoscaling.v1.ScaleStatus.replicas";

static FIELDS: LazyLock<HashMap<&'static str, String>> = LazyLock::new(documented);

/// The text of a column as clients see it.
pub(super) fn shown(description: &str) -> Cow<'_, str> {
    match description.strip_prefix(FIELD) {
        Some(field) => Cow::Borrowed(FIELDS.get(field).map_or("", String::as_str)),
        None if description.contains("\\n") => Cow::Owned(description.replace("\\n", "\n")),
        None => Cow::Borrowed(description),
    }
}

/// Descriptions of all fields that columns name.
fn documented() -> HashMap<&'static str, String> {
    let columns = Resources::builtin().iter().flat_map(|resource| &resource.columns);
    let named = columns.map(|column| column.description).chain([NAME, CREATED, SCALE_WANTED, SCALE_THERE]);
    let wanted: HashSet<&'static str> = named.filter_map(|text| text.strip_prefix(FIELD)).collect();
    let Ok(all) = Descriptions::unpack() else { return HashMap::new() };
    let index = all.index();
    let described = |path: &'static str| {
        let (ty, field) = path.rsplit_once('.')?;
        let mut fields = index.of(&format!("io.k8s.{ty}"))?.fields();
        fields.find(|(name, _)| *name == field).map(|(_, text)| (path, text.to_owned()))
    };
    wanted.into_iter().filter_map(described).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_a_column_names_is_described() {
        for resource in Resources::builtin().iter() {
            for column in &resource.columns {
                let (named, text) = (column.description.starts_with(FIELD), shown(column.description));
                assert!(!named || !text.is_empty(), "{} {}", resource.plural, column.description);
            }
        }
    }

    #[test]
    fn columns_say_what_they_show() {
        let text = |plural, title| {
            let resource = Resources::builtin().preferred("", plural).unwrap();
            let column = resource.columns.iter().find(|column| column.name == title).unwrap();
            shown(column.description).into_owned()
        };
        assert!(text("pods", "Name").starts_with("Name must be unique within a namespace. Is required when"));
        assert!(
            text("pods", "Age").starts_with("CreationTimestamp is a timestamp representing the server time")
        );
        assert_eq!(text("pods", "Ready"), "The aggregate readiness state of this pod for accepting traffic.");
        assert!(text("pods", "IP").starts_with("podIP address allocated to the pod."));
        assert_eq!(shown("one\\n two"), "one\n two");
        assert!(shown(SCALE_WANTED).starts_with("replicas is the desired number of instances"));
        assert!(shown(SCALE_THERE).starts_with("replicas is the actual number of observed instances"));
    }
}
