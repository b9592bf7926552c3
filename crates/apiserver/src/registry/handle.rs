//! What the engine knows of a served resource: its names, its schema, where its objects are kept and what is special
//! about its kind. Built-in resources and custom ones differ only in who makes the handle.

use std::borrow::Cow;
use std::sync::Arc;

use machinery::resources::Resource;
use machinery::schema::TypeId;
use machinery::status::Status;
use serde_json::Value;
use store::Cache;

use super::list_counts::ListCounts;
use super::meta::Meta;
use super::strategy::Strategy;

/// Where the objects of one (group, plural) are kept. All served versions of the resource share it.
pub struct Storage {
    /// Version that the stored bytes are in, as `apiVersion`.
    pub api_version: String,
    /// Kind of the stored objects.
    pub kind: String,
    /// Key prefix of all objects, with a slash at the end.
    pub prefix: String,
    /// Group of the storage version; it differs from the served one only for `events.k8s.io`.
    pub group: String,
    /// Plural name.
    pub plural: String,
    /// Schema of the storage version.
    pub type_id: Option<TypeId>,
    /// What is special about the kind.
    pub strategy: Arc<dyn Strategy>,
    /// Every read is served from here.
    pub cache: Arc<Cache<Meta>>,
    /// Lists that were answered from there.
    pub(crate) cached_lists: ListCounts,
    /// Lists of states of the past, which the store has.
    pub(crate) stored_lists: ListCounts,
}

/// A column of the Table view.
#[derive(Debug, Clone)]
pub struct Column {
    /// Title.
    pub name: Cow<'static, str>,
    /// OpenAPI type.
    pub ty: Cow<'static, str>,
    /// OpenAPI format.
    pub format: Cow<'static, str>,
    /// What it shows.
    pub description: Cow<'static, str>,
    /// 0 is always shown.
    pub priority: i32,
}

impl From<&machinery::resources::Column> for Column {
    fn from(column: &machinery::resources::Column) -> Self {
        Self {
            name: column.name.into(),
            ty: column.ty.into(),
            format: column.format.into(),
            description: column.description.into(),
            priority: column.priority.into(),
        }
    }
}

/// One resource at one served version.
pub struct ResourceHandle {
    /// API group; empty for the core group.
    pub group: String,
    /// Served version.
    pub version: String,
    /// Group and version as objects carry them.
    pub api_version: String,
    /// Plural name.
    pub plural: String,
    /// Kind of the objects.
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs that the resource itself answers.
    pub verbs: Vec<String>,
    /// Subresources by name, with their verbs.
    pub subresources: Vec<(String, Vec<String>)>,
    /// Schema of the served version.
    pub type_id: Option<TypeId>,
    /// Columns of the Table view.
    pub columns: Vec<Column>,
    /// Where the objects are.
    pub storage: Arc<Storage>,
}

impl ResourceHandle {
    /// The handle of a built-in resource.
    pub fn of(resource: &Resource, storage: Arc<Storage>) -> Self {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            api_version: resource.api_version(),
            plural: resource.plural.to_string(),
            kind: resource.kind.to_string(),
            namespaced: resource.namespaced,
            verbs: texts(&resource.verbs),
            subresources: resource
                .subresources
                .iter()
                .map(|s| (s.name.to_string(), texts(&s.verbs)))
                .collect(),
            type_id: resource.type_id,
            columns: resource.columns.iter().map(Column::from).collect(),
            storage,
        }
    }

    /// Whether its objects are stored: nobody creates those that are only looked at.
    pub fn is_kept(&self) -> bool {
        self.answers("", "create")
    }

    /// Whether the resource has this subresource.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|(have, _)| have == name)
    }

    /// Whether the resource (or its subresource, when not empty) answers the verb.
    pub fn answers(&self, subresource: &str, verb: &str) -> bool {
        let verbs = if subresource.is_empty() {
            Some(&self.verbs)
        } else {
            self.subresources.iter().find(|(name, _)| name == subresource).map(|(_, verbs)| verbs)
        };
        verbs.is_some_and(|verbs| verbs.iter().any(|have| have == verb))
    }

    /// Whether objects have to be converted between the served and the stored version.
    pub fn converts(&self) -> bool {
        self.api_version != self.storage.api_version
    }

    /// What is special about the kind.
    pub fn strategy(&self) -> &dyn Strategy {
        self.storage.strategy.as_ref()
    }

    /// What upstream's source calls the type of the objects, which some messages show.
    pub fn go_type(&self) -> String {
        match self.type_id {
            Some(_) => go_type(&self.storage.group, &self.storage.kind),
            None => "*unstructured.Unstructured".to_owned(),
        }
    }

    /// The same for a list of them.
    pub fn go_list_type(&self) -> String {
        self.go_type() + "List"
    }

    /// Key of one object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced && !namespace.is_empty() {
            format!("{}{namespace}/{name}", self.storage.prefix)
        } else {
            format!("{}{name}", self.storage.prefix)
        }
    }

    /// Scope of a list: all objects, or those of one namespace.
    pub fn scope(&self, namespace: &str) -> String {
        if self.namespaced && !namespace.is_empty() {
            format!("{}{namespace}/", self.storage.prefix)
        } else {
            self.storage.prefix.clone()
        }
    }

    /// The 404 for a name.
    pub fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.group, &self.plural, name)
    }

    /// The 409 for an object that is there already.
    pub fn already_exists(&self, name: &str) -> Status {
        Status::already_exists(&self.group, &self.plural, name)
    }

    /// The 409 for a failed precondition.
    pub fn conflict(&self, name: &str, why: &str) -> Status {
        Status::conflict(&self.group, &self.plural, name, why)
    }

    /// The 403 of admission.
    pub fn forbidden(&self, name: &str, why: impl std::fmt::Display) -> Status {
        Status::forbidden(&self.group, &self.plural, name, why)
    }

    /// The 422 for an object, which upstream names as its strategy does: by the group that it is stored in.
    pub fn invalid(&self, name: &str, errors: machinery::field::Errors) -> Status {
        Status::invalid(&self.storage.group, &self.kind, name, errors)
    }

    /// A stored object in the served version.
    pub fn serve(&self, object: Value) -> Value {
        if self.converts() { super::convert::convert(object, &self.api_version, &self.kind) } else { object }
    }

    /// An object of the served version in the version it is stored in.
    pub fn unserve(&self, object: Value) -> Value {
        if self.converts() {
            super::convert::convert(object, &self.storage.api_version, &self.storage.kind)
        } else {
            object
        }
    }
}

/// What upstream's source calls the type of a built-in kind's objects.
pub(crate) fn go_type(group: &str, kind: &str) -> String {
    let package = match group {
        "" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("*{package}.{kind}")
}
