//! Requests of the server itself: those of a client with all rights, without a network in between.

use std::sync::Arc;

use machinery::meta;
use machinery::resources::Resources;
use machinery::status::Status;
use serde_json::Value;

use super::Registry;
use super::answer::parse;
use super::call::{Call, read_error};
use super::create::Written;
use super::delete_options::DeleteOptions;
use super::options::WriteOptions;
use super::seam::ApiRequest;
use super::update::Change;
use crate::http::{Accept, Query, RequestInfo};

/// A change of the server itself: what the object is to become, or nothing when it is right.
type Edit<'e> = dyn Fn(&Value) -> Option<Value> + Send + Sync + 'e;

impl Registry {
    /// Creates an object unless one of its name is there, and returns what is there.
    ///
    /// # Errors
    /// As a create would be refused.
    pub async fn ensure(&self, object: Value) -> Result<Value, Status> {
        let request = own_request(&object)?;
        let call = self.own_call(&request)?;
        let key = call.handle.key(meta::namespace(&object), meta::name(&object));
        if let Some(entry) = call.current(&key).await? {
            return parse(&entry.bytes);
        }
        let name = meta::name(&object).to_owned();
        match create(&call, object).await {
            Err(status) if status.code == 409 => parse(&call.existing(&key, &name).await?.bytes),
            other => other,
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// 409 when one of its name is there, and as any create would be refused.
    pub async fn create(&self, object: Value) -> Result<Value, Status> {
        let request = own_request(&object)?;
        create(&self.own_call(&request)?, object).await
    }

    /// Creates an object, or changes the one that is there. `subresource` is what the change is about, if not the whole.
    ///
    /// # Errors
    /// As the write would be refused.
    pub async fn settle(&self, object: Value, subresource: &str, edit: &Edit<'_>) -> Result<(), Status> {
        let mut request = own_request(&object)?;
        let name = meta::name(&object).to_owned();
        let old = self.ensure(object).await?;
        if edit(&old).is_none() {
            return Ok(());
        }
        Arc::make_mut(&mut request.info).subresource = subresource.to_owned();
        let call = self.own_call(&request)?;
        // Judged again by the state that is written over: another server may have been faster, and want the same.
        let mut produce = |old: &Value| Ok(edit(old).unwrap_or_else(|| old.clone()));
        let options = WriteOptions::default();
        let change = Change { options: &options, produce: &mut produce };
        call.change_object(&name, change, &mut Vec::new()).await.map(|_| ())
    }

    /// Deletes an object that was read before. One of its name that is another, or none at all, is no error.
    ///
    /// # Errors
    /// As the deletion would be refused.
    pub async fn delete(&self, object: &Value) -> Result<(), Status> {
        let request = own_request(object)?;
        let uid = Some(meta::uid(object).to_owned());
        let options = DeleteOptions { uid, ..DeleteOptions::default() };
        let call = self.own_call(&request)?;
        match call.delete_object(meta::namespace(object), meta::name(object), &options).await {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => Ok(()),
        }
    }

    /// An object of the whole cluster as it is in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn stored(&self, group: &str, plural: &str, name: &str) -> Result<Option<Value>, Status> {
        let handle = self.resource(group, plural).ok_or_else(Status::no_such_resource)?;
        let entry = self.store.get(&handle.key("", name)).await.map_err(|error| read_error(&error))?;
        entry.map(|entry| parse(&entry.bytes)).transpose()
    }

    pub(super) fn own_call<'a>(&'a self, request: &'a ApiRequest) -> Result<Call<'a>, Status> {
        let info = &request.info;
        let handle = self.lookup(&info.group, &info.version, &info.resource);
        Call::new(self, request, handle.ok_or_else(Status::no_such_resource)?)
    }
}

async fn create(call: &Call<'_>, object: Value) -> Result<Value, Status> {
    let wanted = call.handle.unserve(object);
    match call.create_object(wanted, &WriteOptions::default(), &mut Vec::new()).await? {
        Written::Stored(entry) => parse(&entry.bytes),
        Written::DryRun(object) => Ok(object),
    }
}

/// The request that is about this object.
pub(super) fn own_request(object: &Value) -> Result<ApiRequest, Status> {
    let (group, version) = meta::split_api_version(meta::api_version(object));
    let resource = Resources::builtin().by_kind(group, version, meta::kind(object));
    let info = RequestInfo {
        is_resource: true,
        verb: "create".into(),
        group: group.into(),
        version: version.into(),
        resource: resource.ok_or_else(Status::no_such_resource)?.plural.into(),
        namespace: meta::namespace(object).into(),
        name: meta::name(object).into(),
        ..RequestInfo::default()
    };
    Ok(ApiRequest {
        info: Arc::new(info),
        user: Arc::new(auth::UserInfo::new("system:apiserver", &[auth::MASTERS_GROUP]).authenticated()),
        query: Query::default(),
        content_type: None,
        accept: Accept::default(),
        user_agent: Some("kube-apiserver".to_owned()),
    })
}
