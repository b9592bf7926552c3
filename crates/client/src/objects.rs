//! Typed reads and writes whose (de)serialisation is compiled once, in `api`.

use api::Kind;
use http::{Method, Request, header};
use kube::api::{DeleteParams, ListParams};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::marker::PhantomData;

/// The version part of the user agent; the part before the slash is the field manager upstream derives from it.
const AGENT_SUFFIX: &str = "/v1.37.0 (linux) kubernetes/knarr";

/// Raw requests under one identity and one user agent.
#[derive(Clone)]
pub struct Rest {
    client: kube::Client,
    agent: &'static str,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Rest {
    /// Requests through `client`; `agent` is the program's name, e.g. `kube-controller-manager`, and becomes the field manager.
    #[must_use]
    pub fn new(client: kube::Client, agent: &'static str) -> Self {
        Self { client, agent }
    }

    /// The transport.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Sends one request and returns the body of its success.
    ///
    /// # Errors
    /// When the transport fails or the answer is a `Status` failure.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<String, kube::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::USER_AGENT, format!("{}{AGENT_SUFFIX}", self.agent))
            .header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await
    }

    /// GET of a path.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn get(&self, path: &str) -> Result<String, kube::Error> {
        self.send(Method::GET, path, "", Vec::new()).await
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<String, kube::Error> {
        self.send(Method::POST, path, "application/json", body).await
    }

    /// PUT of JSON.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn put(&self, path: &str, body: Vec<u8>) -> Result<String, kube::Error> {
        self.send(Method::PUT, path, "application/json", body).await
    }

    /// JSON merge patch.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn merge_patch(&self, path: &str, patch: &Value) -> Result<String, kube::Error> {
        let body = patch.to_string().into_bytes();
        self.send(Method::PATCH, path, "application/merge-patch+json", body).await
    }

    /// Strategic merge patch.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn strategic_patch(&self, path: &str, patch: &Value) -> Result<String, kube::Error> {
        let body = patch.to_string().into_bytes();
        self.send(Method::PATCH, path, "application/strategic-merge-patch+json", body).await
    }

    /// Metadata of the objects of a collection.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn list_metadata(&self, path: &str) -> Result<Vec<crate::ObjectHeader>, kube::Error> {
        let request = kube::core::Request::new(path).list_metadata(&ListParams::default());
        let text = self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        let list: RawList<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        let header =
            |raw: &&RawValue| crate::ObjectHeader::decode(raw.get()).map_err(kube::Error::SerdeError);
        list.items.iter().map(header).collect()
    }

    /// Metadata of one object, `None` when it is not there.
    ///
    /// # Errors
    /// As [`Rest::send`], 404 excepted.
    pub async fn get_metadata(&self, path: &str) -> Result<Option<crate::ObjectHeader>, kube::Error> {
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let request = Request::get(path)
            .header(header::USER_AGENT, format!("{}{AGENT_SUFFIX}", self.agent))
            .header(header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        match self.client.request_text(request).await {
            Ok(text) => crate::ObjectHeader::decode(&text).map(Some).map_err(kube::Error::SerdeError),
            Err(error) if crate::is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// DELETE with options.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn delete(&self, path: &str, options: &DeleteParams) -> Result<String, kube::Error> {
        let body = serde_json::to_vec(options).map_err(kube::Error::SerdeError)?;
        self.send(Method::DELETE, path, "application/json", body).await
    }
}

/// The items of a list, not decoded yet.
#[derive(Deserialize)]
pub(crate) struct RawList<'a> {
    #[serde(default)]
    pub metadata: api::ListMeta,
    #[serde(borrow, default = "Vec::new", deserialize_with = "null_is_empty")]
    pub items: Vec<&'a RawValue>,
}

/// Go writes an empty slice that was never made as `null`.
fn null_is_empty<'de: 'a, 'a, D: serde::Deserializer<'de>>(de: D) -> Result<Vec<&'a RawValue>, D::Error> {
    Option::<Vec<&'a RawValue>>::deserialize(de).map(Option::unwrap_or_default)
}

/// Reads and writes of one kind. Objects name their own namespace; an empty namespace stands for cluster scope.
pub struct Objects<K> {
    rest: Rest,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self { rest: self.rest.clone(), kind: PhantomData }
    }
}

impl<K> std::fmt::Debug for Objects<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rest.fmt(f)
    }
}

impl<K: Kind> Objects<K> {
    /// Access to kind `K`; `agent` as in [`Rest::new`].
    #[must_use]
    pub fn new(client: kube::Client, agent: &'static str) -> Self {
        Self::over(Rest::new(client, agent))
    }

    /// Access to kind `K` over existing raw access.
    #[must_use]
    pub fn over(rest: Rest) -> Self {
        Self { rest, kind: PhantomData }
    }

    fn path(namespace: &str, name: &str) -> String {
        format!("{}/{name}", K::collection(Some(namespace)))
    }

    fn path_of(object: &K) -> String {
        let meta = object.metadata();
        Self::path(meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
    }

    fn decode(text: &str) -> Result<K, kube::Error> {
        K::decode(text.as_bytes()).map_err(kube::Error::SerdeError)
    }

    /// One object.
    ///
    /// # Errors
    /// As [`Rest::send`]; 404 when it is not there.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<K, kube::Error> {
        Self::decode(&self.rest.get(&Self::path(namespace, name)).await?)
    }

    /// One object, `None` when it is not there.
    ///
    /// # Errors
    /// As [`Rest::send`], 404 excepted.
    pub async fn get_opt(&self, namespace: &str, name: &str) -> Result<Option<K>, kube::Error> {
        match self.get(namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if crate::is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Objects of a namespace, or of all.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn list(&self, namespace: Option<&str>, params: &ListParams) -> Result<Vec<K>, kube::Error> {
        let request = kube::core::Request::new(K::collection(namespace))
            .list(params)
            .map_err(kube::Error::BuildRequest)?;
        let text = self.rest.client.request_text(request).await?;
        let list: RawList<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        let decode = |raw: &&RawValue| K::decode(raw.get().as_bytes()).map_err(kube::Error::SerdeError);
        list.items.iter().map(decode).collect()
    }

    /// Creates an object in the namespace its metadata names.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn create(&self, object: &K) -> Result<K, kube::Error> {
        let namespace = object.metadata().namespace.as_deref();
        Self::decode(&self.rest.post(&K::collection(namespace), object.encode()).await?)
    }

    /// Replaces an object; a `resourceVersion` in it makes the write conditional.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn replace(&self, object: &K) -> Result<K, kube::Error> {
        Self::decode(&self.rest.put(&Self::path_of(object), object.encode()).await?)
    }

    /// Replaces the status of an object.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn replace_status(&self, object: &K) -> Result<K, kube::Error> {
        let path = format!("{}/status", Self::path_of(object));
        Self::decode(&self.rest.put(&path, object.encode()).await?)
    }

    /// Merge patch of an object.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn patch(&self, namespace: &str, name: &str, patch: &Value) -> Result<K, kube::Error> {
        Self::decode(&self.rest.merge_patch(&Self::path(namespace, name), patch).await?)
    }

    /// Strategic merge patch of an object.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn strategic_patch(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<K, kube::Error> {
        Self::decode(&self.rest.strategic_patch(&Self::path(namespace, name), patch).await?)
    }

    /// Strategic merge patch of an object's status.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn patch_status(&self, namespace: &str, name: &str, patch: &Value) -> Result<K, kube::Error> {
        let path = format!("{}/status", Self::path(namespace, name));
        Self::decode(&self.rest.strategic_patch(&path, patch).await?)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn delete(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteParams,
    ) -> Result<(), kube::Error> {
        self.rest.delete(&Self::path(namespace, name), options).await.map(drop)
    }

    /// Posts JSON to a subresource, e.g. a `Binding` to `pods/binding`.
    ///
    /// # Errors
    /// As [`Rest::send`].
    pub async fn post_subresource(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: Vec<u8>,
    ) -> Result<String, kube::Error> {
        self.rest.post(&format!("{}/{subresource}", Self::path(namespace, name)), body).await
    }
}
