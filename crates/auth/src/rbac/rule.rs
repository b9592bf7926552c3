//! One rule of a role.

use serde::{Deserialize, Deserializer, Serialize};

use crate::Attributes;

/// `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Allowed verbs; `*` allows all.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub verbs: Vec<String>,
    /// API groups; `*` means all.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale` or `*`.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names of single objects; empty means all.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths outside the API, with an optional trailing `*`.
    #[serde(
        default,
        rename = "nonResourceURLs",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

/// Go clients write `null` for lists they did not fill.
pub(crate) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

impl Rule {
    /// Whether this rule alone allows the action.
    #[must_use]
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        if attributes.is_resource {
            has(&self.api_groups, attributes.group)
                && self.names_resource(attributes)
                && (self.resource_names.is_empty()
                    || self.resource_names.iter().any(|name| name == attributes.name))
        } else {
            self.non_resource_urls.iter().any(|pattern| url_matches(pattern, attributes.path))
        }
    }

    fn names_resource(&self, attributes: &Attributes<'_>) -> bool {
        self.resources.iter().any(|rule| {
            if rule == "*" {
                return true;
            }
            match rule.split_once('/') {
                None => attributes.subresource.is_empty() && *rule == attributes.resource,
                Some((resource, subresource)) => {
                    !attributes.subresource.is_empty()
                        && subresource == attributes.subresource
                        && (resource == "*" || resource == attributes.resource)
                }
            }
        })
    }

    /// The rule as error messages print it.
    #[must_use]
    pub fn describe(&self) -> String {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<String> = fields
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| format!("{name}:{}", go_list(values)))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// A list of strings as Go's `%q` prints it.
pub(crate) fn go_list(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

pub(crate) fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|value| value == "*" || value == wanted)
}

pub(crate) fn url_matches(pattern: &str, path: &str) -> bool {
    pattern == "*"
        || pattern == path
        || pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*'))
}
